"""Is the map between the languages inside Z linear, and a rotation? R2 with its nulls."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
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
    models_of,
    of_cell,
)
from zscope.studies.crosslingual.tables import BRIDGE, SIZES

NEEDS = (BRIDGE, SIZES)

METRICS = {
    "protocol_r2": "in sample\n(protocol)",
    "ols_r2": "in sample,\nintercept",
    "loo_r2": "left out\n(LOO)",
    "ridge_loo_r2": "ridge,\nleft out",
    "procrustes_r2": "rotation\n(Procrustes)",
}
SPACES = {"z": style.BLUE, "random": style.GREY, "energy": style.ORANGE}
NAMES = {"z": "Z", "random": "random spaces", "energy": "energy-matched spaces"}
LOWEST = -1.0  # leave-one-out R2 can be far below 0: no better than the mean is what matters


@style.styled
def draw(tables: Tables) -> Figure:
    rows = bridge_rows(tables)
    if rows.empty:
        return style.nothing_to_draw("no bridge was fitted", count(tables))
    sizes = ks_of(rows)
    fig = style.figure(style.DOUBLE, 2.0 * len(sizes) + 1.3)
    axes = fig.subplots(len(sizes), 2, width_ratios=(1.8, 1), squeeze=False)
    for (left, right), k, letters in zip(axes, sizes, ("ab", "cd", "ef", "gh"), strict=False):
        style.panel_title(left, f"{letters[0]}  k = {k}")
        panel(left, tables, select(rows, k=k), METRICS)
        style.panel_title(right, f"{letters[1]}  singular values, k = {k}")
        _singular_values(right, select(rows, k=k, metric="singular_value"))
    style.legend(
        fig,
        {NAMES[s]: SPACES[s] for s in SPACES if s in set(rows["space"])},
        extra=[model_marks.null_patch("null: pairing permuted in a category")],
    )
    style.note(
        fig,
        count(tables, rows, of="pairs"),
        f"{in_words(tables, 'layer', 'kind').capitalize()}, mean over tokens, "
        f"{tables.declared['direction']}. Random and energy-matched (on the pooled vectors): mean "
        f"and {tables.percent} of {draws_of(select(rows, component=None, null=None))}; pairings: "
        f"{draws_of(select(rows, null='permutation'))}. Dashed: 0, no better than the mean (values "
        f"below {LOWEST:g} are drawn there); "
        "in b a rotation, all singular values 1. In sample, least squares is perfect on noise as "
        "soon as there are no more pairs than dimensions.",
        model_marks.dots_note(tables, "interval, if it has one"),
    )
    return fig


def bridge_rows(tables: Tables) -> pd.DataFrame:
    """Rows of the declared layer, kernel and direction, of means over tokens."""
    return tables.get(BRIDGE, pooling="mean", **of_cell(tables, "layer", "kind", "direction"))


def panel(ax: Axes, tables: Tables, rows: pd.DataFrame, metrics: Mapping[str, str]) -> None:
    """R2 by estimator (name -> label) and space, one dot per model, over the permutation null."""
    found = rows[rows["metric"].isin(metrics)]
    if found.empty:
        style.not_applicable(ax, "not fitted")
        return
    values = ["value", "ci_low", "ci_high", "null_low", "null_high"]
    shown = found.assign(**{c: numbers(found[c]).clip(LOWEST) for c in values})
    width = 0.8 / len(SPACES)
    for place, metric in enumerate(metrics):
        for j, (space, colour) in enumerate(SPACES.items()):
            of = select(shown, metric=metric, space=space)
            at = place + (j - 1) * width
            model_marks.null_bar(ax, at, of, width=0.9 * width, horizontal=False)
            model_marks.model_dots(
                ax,
                at,
                of.drop_duplicates("model"),
                models_of(tables),
                colour,
                name=space,
                width=0.8 * width,
                horizontal=False,
            )
    style.baseline(ax, 0.0, "")
    lowest = float(np.nanmin(shown[["value", "ci_low", "null_low"]].to_numpy(float), initial=0.0))
    ax.set_ylim(lowest - 0.08, 1.08)
    ax.set_ylabel("R2 (share)")
    ax.set_xticks(range(len(metrics)), list(metrics.values()))
    ax.set_xlim(-0.5, len(metrics) - 0.5)


def _singular_values(ax: Axes, rows: pd.DataFrame) -> None:
    rows = rows[rows["component"].notna()]
    if rows.empty:
        style.not_applicable(ax, "no singular value was measured")
        return
    for space, colour in SPACES.items():
        of = select(rows, space=space).drop_duplicates(["model", "component"])
        model_marks.model_lines(ax, of, colour, x="component")
    style.baseline(ax, 1.0, "rotation")
    ax.set_ylim(bottom=0)
    ax.set_xlim(-0.5, float(np.max(numbers(rows["component"]))) + 0.5)
    ax.set_ylabel("singular value of W")
    ax.set_xlabel("component, largest first")
