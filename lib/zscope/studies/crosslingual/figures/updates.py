"""Is there a Z-dominated layer? R(l), what a layer adds inside Z over what it adds outside."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import select
from zscope.figures.tables import Tables
from zscope.studies.crosslingual.figures import model_marks
from zscope.studies.crosslingual.figures.lookups import count, in_words, ks_of, layers_of, of_cell
from zscope.studies.crosslingual.tables import SIZES, UPDATES

NEEDS = (UPDATES, SIZES)


@style.styled
def draw(tables: Tables) -> Figure:
    rows = update_rows(tables)
    if rows.empty:
        return style.nothing_to_draw("no residual update was measured", count(tables))
    layers, sizes = layers_of(rows), ks_of(rows)
    languages = [name for name in model_marks.LANGUAGES if name in set(rows["language"])]
    fig = style.figure(style.DOUBLE, 5.6)
    axes = fig.subplots(3, len(sizes), sharex=True, sharey="row", squeeze=False)
    for column, k, letter in zip(axes.T, sizes, "abcdefgh", strict=False):
        of, last = select(rows, k=k), k == sizes[-1]
        style.panel_title(column[0], f"{letter}  k = {k}")
        ratio(column[0], of, languages, named=last)
        _over_null(column[1], of, languages, named=last)
        asymmetry = select(of, metric="asymmetry")
        model_marks.difference(column[2], asymmetry, style.BLUE, "no\nasymmetry" if last else "")
        model_marks.layer_axis(column[2], layers, "layer that adds")
    # The axes of a row are one: its limits are set when all of it is drawn.
    style.at_least(axes[0, 0], 0.0, 1.1)
    style.at_least(axes[1, 0], 0.0, 1.1)
    style.at_least(axes[2, 0], -0.05, 0.05)
    axes[0, 0].set_ylabel("R, norm in Z over norm\noutside (ratio)")
    axes[1, 0].set_ylabel("R over its null\n(ratio)")
    axes[2, 0].set_ylabel("R of zh minus R of en")
    style.legend(
        fig,
        {f"prompts in {n}": model_marks.LANGUAGES[n] for n in languages}
        | {"difference": style.BLUE},
        extra=model_marks.null_patches(rows),
    )
    style.note(
        fig,
        count(tables, rows),
        f"Z of {in_words(tables, 'layer', 'kind')}; mean over tokens, first token "
        f"{tables.declared['position_0']}d. The protocol asks for R above 1; chance is "
        "sqrt(k/(d-k)). Shaded: random and energy-matched spaces, "
        f"{tables.percent}.",
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
    """R over layers by language, with chance, 1, and the bands of the nulls."""
    of = select(rows, metric="ratio")
    model_marks.null_bands(ax, _any_language(of))
    for language in languages:
        own = model_marks.once(select(of, language=language), "layer")
        model_marks.model_lines(ax, own, model_marks.LANGUAGES[language])
    style.baseline(ax, 1.0, "equal" if named else "")
    style.baseline(ax, chance(rows), "chance" if named else "", above=False)


def _over_null(ax: Axes, rows: pd.DataFrame, languages: list[str], *, named: bool) -> None:
    level = chance(rows)
    of = select(rows, metric="ratio")
    for null, against in model_marks.by_null(_any_language(of)).items():
        model_marks.null_band(
            ax, against.assign(level=level), model_marks.COLOURS[null], null, over="level"
        )
    over = select(rows, metric="ratio_over_null")
    for language in languages:
        model_marks.model_lines(
            ax,
            model_marks.once(select(over, language=language), "layer"),
            model_marks.LANGUAGES[language],
        )
    style.baseline(ax, 1.0, "chance" if named else "")


def _any_language(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of both languages together, whose null is drawn; of each where there are none."""
    both = select(rows, language="both")
    return both if len(both) else rows
