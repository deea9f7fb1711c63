"""Is there a Z-dominated layer? R(l), what a layer adds inside Z over what it adds outside."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.crosslingual.figures import model_marks
from zscope.studies.crosslingual.figures.lookups import (
    count,
    draws_of,
    in_words,
    ks_of,
    layers_of,
    of_cell,
)
from zscope.studies.crosslingual.tables import SIZES, UPDATES, UPDATES_NULL

NEEDS = (UPDATES, SIZES)

MATCHED = dict(zip(model_marks.UPDATE_NULLS, ("input", "output", "Z's layer"), strict=True))
"""The matched nulls, by the states whose energy they hold as Z does: titles of panels."""


@style.styled
def draw(tables: Tables) -> Figure:
    rows = update_rows(tables)
    if rows.empty:
        return style.nothing_to_draw("no residual update was measured", count(tables))
    layers, sizes = layers_of(rows), ks_of(rows)
    fig = style.figure(style.DOUBLE, 1.8 * len(sizes) + 1.5)
    axes = fig.subplots(len(sizes), len(MATCHED) + 1, sharex=True, squeeze=False)
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    for line, k in zip(axes, sizes, strict=True):
        of = select(rows, k=k)
        for ax, (null, words) in zip(line, MATCHED.items(), strict=False):
            style.panel_title(ax, f"{next(letters)}  {words}, k = {k}")
            _against(ax, of, null, named=null == [*MATCHED][-1])
            if ax is not line[0]:
                ax.sharey(line[0])
                ax.tick_params(labelleft=False)
        style.at_least(line[0], 0.0, 1.1)
        line[0].set_ylabel("R, norm in Z over\nnorm outside (ratio)")
        style.panel_title(line[-1], f"{next(letters)}  languages, k = {k}")
        _asymmetry(line[-1], of, named=k == sizes[-1])
    for ax in axes[-1]:
        model_marks.layer_axis(ax, layers, "layer that adds")
    orange = model_marks.COLOURS["energy"]
    style.legend(
        fig,
        {"R of Z, both languages": style.BLUE, "R of zh minus R of en": style.PURPLE},
        extra=[
            model_marks.null_patch("random spaces", model_marks.COLOURS["random"]),
            model_marks.null_patch("energy-matched spaces", orange),
        ],
    )
    style.note(
        fig,
        count(tables, rows),
        f"Z of {in_words(tables, 'layer', 'kind')}; mean over tokens, first token "
        f"{tables.declared['position_0']}d. The protocol asks for R above 1; chance is "
        f"sqrt(k/(d-k)). Shaded: {draws_of(rows)} of each null, {tables.percent}: spaces that hold "
        "Z's share of the layer's input, of its output, or of the input of the layer that Z is of.",
        "The verdict reads the layer's output, because the update becomes a part of it; so do the "
        "panels of languages. Largest R over layers, its rank among each draw's own largest: "
        f"{_places(rows)}.",
        model_marks.lines_note(tables),
    )
    return fig


def update_rows(tables: Tables) -> pd.DataFrame:
    """Rows against the declared layer's Z, of pooled updates."""
    return tables.get(
        UPDATES,
        basis_layer=of_cell(tables, "layer")["layer"],
        pooling="mean",
        **of_cell(tables, "kind", "position_0"),
    )


def chance(rows: pd.DataFrame) -> float:
    """sqrt(k/(d-k)), of the rows of one k; NaN without them."""
    return model_marks.constant(select(rows, metric="ratio", null="chance"), "null_mean")


def ratio(ax: Axes, rows: pd.DataFrame, languages: list[str], *, named: bool) -> None:
    """R over layers by language, with chance, 1, and the bands of the verdict's nulls."""
    of = select(rows, metric="ratio")
    model_marks.null_bands(ax, _beside(_any_language(of), UPDATES_NULL))
    for language in languages:
        own = model_marks.once(select(of, language=language), "layer")
        model_marks.model_lines(ax, own, model_marks.LANGUAGES[language])
    _baselines(ax, rows, named=named)


def _against(ax: Axes, rows: pd.DataFrame, null: str, *, named: bool) -> None:
    """R of both languages over layers, with one of the matched nulls."""
    of = _any_language(select(rows, metric="ratio"))
    model_marks.null_bands(ax, _beside(of, null))
    model_marks.model_lines(ax, model_marks.once(of, "layer"), style.BLUE)
    _baselines(ax, rows, named=named)


def _asymmetry(ax: Axes, rows: pd.DataFrame, *, named: bool) -> None:
    of = _beside(select(rows, metric="asymmetry"), UPDATES_NULL)
    model_marks.difference(ax, of, style.PURPLE, "no\nasymmetry" if named else "")
    style.at_least(ax, -0.05, 0.05)


def _beside(rows: pd.DataFrame, matched: str) -> pd.DataFrame:
    """The rows against random spaces and against one of the matched nulls."""
    return rows[rows["null"].isin(("random", matched))]


def _baselines(ax: Axes, rows: pd.DataFrame, *, named: bool) -> None:
    style.baseline(ax, 1.0, "equal" if named else "")
    style.baseline(ax, chance(rows), "chance" if named else "", above=False)


def _places(rows: pd.DataFrame) -> str:
    """p of the largest ratio of every model under the verdict's null, by k."""
    of = select(rows, metric="largest_ratio", null=UPDATES_NULL)
    by_k = {
        k: ", ".join(f"{p:.2g}" for p in numbers(select(of, k=k)["p"]) if p == p) for k in ks_of(of)
    }
    return "; ".join(f"k = {k}: p = {p or 'unknown'}" for k, p in by_k.items()) or "not measured"


def _any_language(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of both languages together, whose null is drawn; of each where there are none."""
    both = select(rows, language="both")
    return both if len(both) else rows
