"""Compositional reuse: which primitives a path from a head of layer 0 serves."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from zscope.figures import marks, style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.toylang.figures import looks, squares
from zscope.studies.toylang.figures.lookups import conditions_of, matrices_of_runs, seeds_text
from zscope.studies.toylang.tables import PHENOMENA
from zscope.studies.toylang.targets import EXCESS

NEEDS = (PHENOMENA,)
READS = {
    "keys": style.BLUE,
    "queries": style.VERMILLION,
    "values": style.GREEN,
    "direct": style.BLACK,
}
READ_AS = {"direct": "direct to the logits"}
PLACEBO = " placebo"


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get(PHENOMENA, experiment="reuse")
    if rows.empty:
        return style.nothing_to_draw("reuse was not measured")
    placebo = rows["case"].str.endswith(PLACEBO)
    changes = rows[rows["metric"].str.startswith("change_")]
    changes = changes.assign(
        row=changes["case"], column=changes["metric"].str.removeprefix("change_")
    )
    matrices = matrices_of_runs(changes[~placebo.loc[changes.index]])
    conditions = conditions_of(rows)
    shown = max(min(len(m), squares.LARGEST) for m in matrices.values())
    n_rows = len(squares.square_rows(matrices))
    heights = [(0.125 * shown + 0.25) * n_rows + 0.85, 1.7]
    fig = style.figure(style.DOUBLE, sum(heights) + 0.9)
    upper, lower = style.stacked(fig, *heights)
    squares.small_squares(upper, matrices, "rise of excess (nats)", ("path", "primitive"))
    axes = lower.subplots(1, 2 * len(conditions), squeeze=False)[0]
    for (rise, count), condition in zip(axes.reshape(-1, 2), conditions, strict=True):
        style.panel_title(rise, f"{condition}: rise")
        _rises(rise, select(changes, condition=condition))
        style.panel_title(count, f"{condition}: serves")
        _counts(count, select(rows, condition=condition, metric="n_primitives"))
    style.legend(fig, {READ_AS.get(read, f"read as {read}"): c for read, c in READS.items()})
    style.note(
        fig,
        f"{seeds_text(rows)} A path runs from a head of layer 0 to the keys, "
        "queries or values of later heads, or directly to the logits; it is cut by replacing the "
        "head's output with its mean for that reader alone.",
        "Left: one dot per path, single primitive and seed, against its placebo, the same change "
        "rotated at random; dashed: no difference.",
        "Right: primitives that a path serves (one dot per head and seed): the whole "
        f"{tables.percent} interval of their rise is above {EXCESS} nats and above the placebo's. "
        "Two or more (dashed): the path is reused.",
        squares.cut(*matrices.values()),
    )
    return fig


def pairs(changes: pd.DataFrame) -> pd.DataFrame:
    """Rise of the excess of every seed, path and single primitive (columns path, cut, placebo)."""
    single = changes[changes["column"] != "all"]
    end = single["case"].str.endswith(PLACEBO)
    wide = single.assign(
        path=single["case"].str.removesuffix(PLACEBO), which=np.where(end, "placebo", "cut")
    ).pivot(index=["seed", "path", "column"], columns="which", values="value")
    return wide.reindex(columns=["cut", "placebo"]).reset_index()


def _rises(ax: Axes, changes: pd.DataFrame) -> None:
    found = pairs(changes)
    ends = [0.1, -0.02]
    for read, colour in READS.items():
        of = found[found["path"].str.endswith(f":{read}")]
        x, y = numbers(of["placebo"]), numbers(of["cut"])
        ax.scatter(x, y, s=4, color=colour, alpha=0.7, linewidths=0, label=f"_dots {read}")
        ends += [v for v in (*x, *y) if np.isfinite(v)]
    low, high = 1.05 * min(ends), 1.05 * max(ends)
    looks.diagonal(ax, low, high)
    ax.set_xlabel("rise, placebo (nats)")
    ax.set_ylabel("rise, cut (nats)")


def _counts(ax: Axes, rows: pd.DataFrame) -> None:
    most = 2.0
    for place, (read, colour) in enumerate(READS.items()):
        values = numbers(rows[rows["case"].str.endswith(f":{read}")]["value"])
        # Counts tie, so equal ones are spread vertically.
        at = place + marks.spread(len(values), 0.6)
        ax.scatter(values, at, s=6, color=colour, linewidths=0, label=f"_counts {read}")
        most = max(most, float(np.nanmax(values, initial=0.0)))
    style.vertical(ax, 1.5)
    ax.set_xlim(-0.5, most + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    looks.named_rows(ax, [*READS], "read as")
    ax.set_xlabel("primitives")
