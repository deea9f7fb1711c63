"""Do layers share their Z? tr(P_i P_j)/k for all pairs of layers, and for neighbours."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import numbers
from zscope.figures.tables import Tables
from zscope.studies.crosslingual.figures import model_marks
from zscope.studies.crosslingual.figures.lookups import (
    count,
    draws_of,
    in_words,
    layers_of,
    of_cell,
)
from zscope.studies.crosslingual.tables import SIZES, WEIGHTS

NEEDS = (WEIGHTS, SIZES)

MOST_NUMBERS = 12  # layers: more of them, and numbers in the cells cannot be read


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get(WEIGHTS, metric="layer_similarity", **of_cell(tables, "k", "kind"))
    if rows.empty:
        why = f"no similarity of layers was measured at {in_words(tables, 'k', 'kind')}"
        return style.nothing_to_draw(why, count(tables))
    fig = style.figure(style.DOUBLE, 3.3)
    heat, neighbours = fig.subplots(1, 2, width_ratios=(1.15, 1))
    style.panel_title(heat, "a  all pairs of layers")
    _heat_map(heat, rows)
    style.panel_title(neighbours, "b  neighbours")
    near = rows[numbers(rows["layer_2"]) - numbers(rows["layer"]) == 1]
    if near.empty:
        style.not_applicable(neighbours, "there is one layer")
    else:
        model_marks.null_band(neighbours, near, style.GREY, "random")
        model_marks.model_lines(neighbours, near, style.BLUE)
        style.baseline(neighbours, model_marks.constant(near, "null_mean"), "chance")
        style.share_axis(neighbours, "similarity of a layer's Z\nto the next layer's (share)")
        model_marks.layer_axis(neighbours, layers_of(near))
    style.legend(
        fig,
        {"neighbouring layers": style.BLUE},
        extra=[model_marks.null_patch("null: random spaces")],
    )
    null = ("null_low", "null_mean", "null_high")
    low, mean, high = (model_marks.constant(rows, column) for column in null)
    style.note(
        fig,
        count(tables),
        f"{in_words(tables, 'kind', 'k').capitalize()}. "
        f"Chance: {mean:.3g} (all pairs of {draws_of(rows)} of random spaces, {tables.percent}: "
        f"{low:.3g} to {high:.3g}). "
        "a: median over models.",
        f"b: {model_marks.lines_note(tables, intervals=False)}",
    )
    return fig


def _heat_map(ax: Axes, rows: pd.DataFrame) -> None:
    pairs = rows.assign(value=numbers(rows["value"]))
    median = pairs.groupby(["layer", "layer_2"])["value"].median().unstack()
    layers = sorted({*median.index, *median.columns})
    table = median.reindex(index=layers, columns=layers).to_numpy(float)
    table = np.where(np.isnan(table), table.T, table)  # a pair may be given once
    np.fill_diagonal(table, 1.0)  # by definition
    mesh = ax.imshow(table, vmin=0, vmax=1, aspect="equal", interpolation="nearest", origin="lower")
    if len(layers) <= MOST_NUMBERS:
        for (i, j), value in np.ndenumerate(table):
            if np.isfinite(value):
                shade = "white" if value < 0.6 else "black"
                ax.text(j, i, f"{value:.2f}".lstrip("0"), ha="center", va="center", color=shade)
    step = -(-len(layers) // 8)
    shown = list(range(0, len(layers), step))
    ax.set_xticks(shown, [str(layers[i]) for i in shown])
    ax.set_yticks(shown, [str(layers[i]) for i in shown])
    ax.set_xlabel("layer i")
    ax.set_ylabel("layer j")
    bar = ax.figure.colorbar(mesh, ax=ax, pad=0.02, aspect=18)
    bar.set_label("tr(P_i P_j) / k (share)")
    bar.outline.set_visible(False)
    chance = model_marks.constant(rows, "null_mean")
    if np.isfinite(chance):
        bar.ax.axhline(chance, color="white", linewidth=1.2, label="_baseline")
