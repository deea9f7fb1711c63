"""Compositional reuse: which primitives a path from a head of layer 0 serves."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from zscope.figures import marks, style
from zscope.studies.toylang.figures.lookups import (
    NAMES,
    Tables,
    conditions_of,
    count_seeds,
    grid,
    labels_of,
    numbers,
    seeds_of,
    select,
)
from zscope.studies.toylang.targets import EXCESS

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
    rows = tables.get("toylang_phenomena", experiment="reuse")
    if rows.empty:
        return style.nothing_to_draw("reuse was not measured")
    placebo = rows["case"].str.endswith(PLACEBO)
    changes = rows[rows["metric"].str.startswith("change_")]
    changes = changes.assign(
        row=changes["case"], column=changes["metric"].str.removeprefix("change_")
    )
    squares = {
        (c, s): _matrix(select(changes[~placebo.loc[changes.index]], condition=c, seed=s))
        for c in conditions_of(changes)
        for s in seeds_of(select(changes, condition=c))
    }
    conditions = conditions_of(rows)
    shown = max(min(len(m), squares.LARGEST) for m in squares.values())
    n_rows = len(squares.square_rows(squares))
    heights = [(0.125 * shown + 0.25) * n_rows + 0.85, 1.7]
    fig = style.figure(style.DOUBLE, sum(heights) + 0.9)
    upper, lower = style.stacked(fig, *heights)
    squares.small_squares(upper, squares, "rise of excess (nats)", ("path", "primitive"))
    axes = lower.subplots(1, 2 * len(conditions), squeeze=False)[0]
    for (rise, count), condition in zip(axes.reshape(-1, 2), conditions, strict=True):
        style.panel_title(rise, f"{condition}: rise")
        _rises(rise, select(changes, condition=condition))
        style.panel_title(count, f"{condition}: serves")
        _counts(count, select(rows, condition=condition, metric="n_primitives"))
    style.legend(fig, {READ_AS.get(read, f"read as {read}"): c for read, c in READS.items()})
    style.note(
        fig,
        f"{count_seeds(rows)} A path is from a head of layer 0 to what later heads read of it as "
        "keys, queries or values, or directly to the logits; it is cut by replacing the head's "
        "output with its mean there alone.",
        "Left: a dot a path, single primitive and seed, against its placebo, the same change "
        "rotated at random; dashed: no difference.",
        f"Right: primitives that a path serves (a dot a head and seed): their rise is above "
        f"{EXCESS} nats and above the placebo's, with all of the 95 % interval. Two or more "
        "(dashed): the path is reused.",
        squares.cut(*squares.values()),
    )
    return fig


def _matrix(rows: pd.DataFrame) -> pd.DataFrame:
    matrix = grid(rows)
    return matrix[labels_of(rows, "column")].rename(columns=NAMES)


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
    ax.plot([low, high], [low, high], color=style.GREY, linestyle=(0, (4, 2)), linewidth=0.8,
            label="_baseline", zorder=1.5)  # fmt: skip
    ax.set_xlim(low, high)
    ax.set_ylim(low, high)
    ax.set_xlabel("rise, placebo (nats)")
    ax.set_ylabel("rise, cut (nats)")


def _counts(ax: Axes, rows: pd.DataFrame) -> None:
    most = 2.0
    for place, (read, colour) in enumerate(READS.items()):
        values = numbers(rows[rows["case"].str.endswith(f":{read}")]["value"])
        # Counts tie: dots of one count stand above each other.
        at = place + marks.spread(len(values), 0.6)
        ax.scatter(values, at, s=6, color=colour, linewidths=0, label=f"_counts {read}")
        most = max(most, float(np.nanmax(values, initial=0.0)))
    style.vertical(ax, 1.5)
    ax.set_xlim(-0.5, most + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    ax.set_yticks(range(len(READS)), READS)
    ax.set_ylim(len(READS) - 0.5, -0.5)
    ax.set_xlabel("primitives")
    ax.set_ylabel("read as")
