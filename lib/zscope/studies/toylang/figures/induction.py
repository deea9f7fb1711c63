"""Induction through one virtual head: its matrix in every seed, and when it appears."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from zscope.figures import style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.toylang.figures import squares, timeline
from zscope.studies.toylang.figures.lookups import grid, last_readout, matrix, seeds_of, seeds_text
from zscope.studies.toylang.tables import MATRICES, READOUTS, TRAINING
from zscope.studies.toylang.targets import EXCESS

NEEDS = (MATRICES, READOUTS, TRAINING)
COLUMNS, MOST = 5, 10


@style.styled
def draw(tables: Tables) -> Figure:
    cells = matrix(tables, "induction")
    if cells.empty:
        return style.nothing_to_draw("no virtual head was read")
    seeds = seeds_of(cells)
    shown = seeds[:MOST]
    height = math.ceil(len(shown) / COLUMNS)
    fig = style.figure(style.DOUBLE, 1.75 * height + 2.9)
    upper, lower = style.stacked(fig, 1.75 * height, 1.7)
    axes = upper.subplots(height, COLUMNS, squeeze=False, sharey=True)
    norm = squares.symmetric(numbers(cells["value"]), numbers(cells["truth"]))
    image = None
    for ax, seed in zip(axes.flat, shown, strict=False):
        of = select(cells, seed=seed)
        image = panel(ax, of, norm, title=f"s{seed} {_hits(tables, seed)}\n{of['item'].iloc[0]}")
        ax.set_ylabel("query" if ax in axes[:, 0] else "")
    for ax in axes.flat[len(shown) :]:
        ax.set_axis_off()
    if image is not None:
        squares.colour_bar(axes[0, 0], image, "M (nats)", list(axes.flat))
    panels = lower.subplots(1, 3, sharex=True)
    for ax, letter, (title, metric, label) in zip(
        panels,
        "abc",
        (
            ("behaviour", "", "excess (nats)"),
            ("contrast", "contrast", "contrast of M (nats)"),
            ("diagonal", "hits", "rows (share)"),
        ),
        strict=True,
    ):
        style.panel_title(ax, f"{letter}  {title}")
        if metric:
            timeline.weights(ax, tables, "induction", metric)
        else:
            timeline.behaviour(ax, tables, "induction")
        ax.set_ylabel(label)
    style.note(
        fig,
        f"{seeds_text(cells)} M: what a query object adds to the logit of the colour that "
        "followed the object of the column, against the other colours, through the pair of heads "
        "with the largest contrast alone. In brackets: rows whose largest entry is on the "
        "diagonal, which is induction.",
        _most_hits(tables),
        style.LINES,
        "b, c: the pair with the largest contrast at each checkpoint, which need not be the last "
        "one's; contrast: mean of the diagonal minus that of the rest. Dashed in a: "
        f"{EXCESS:g} nats, the target; in c: what a random choice would hit.",
        f"The first {MOST} of {len(seeds)} seeds." if len(seeds) > MOST else "",
        squares.cut(grid(select(cells, seed=seeds[0]))),
    )
    return fig


def panel(ax: Axes, cells: pd.DataFrame, norm: Normalize, *, title: str) -> AxesImage:
    """M of one seed as colours."""
    style.panel_title(ax, title)
    image = squares.square(ax, grid(cells), norm, squares.DIVERGING, text=False)
    ax.set_xlabel("object before")
    return image


def _most_hits(tables: Tables) -> str:
    """The most hits of any pair, which is what the claim is about, and the null of this maximum."""
    most, null = (
        last_readout(tables, "induction", metric, item="all")
        for metric in ("most_hits", "most_hits_p")
    )
    if most.empty or null.empty:
        return ""
    hits = ", ".join(f"{value:.0f}" for value in most.sort_values("seed")["value"])
    return (
        f"The most hits of any pair, by seed: {hits} of {most['n'].max()}. Of "
        f"{null['n'].max():,} orders of the objects, at most {null['value'].max():.2g} (share) "
        "give some pair as many."
    )


def _hits(tables: Tables, seed: int) -> str:
    rows = select(last_readout(tables, "induction", "hits", item="all"), seed=seed)
    if rows.empty:
        return ""
    return f"({int(rows['value'].iloc[0])} of {int(rows['n'].iloc[0])})"
