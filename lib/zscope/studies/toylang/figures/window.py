"""How far each skip rule reaches: its boost in the weights against the distance of its anchor."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import marks, style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.toylang.figures import looks
from zscope.studies.toylang.figures.lookups import last_readout, matrix, of_runs, seeds_text
from zscope.studies.toylang.tables import MATRICES, READOUTS

NEEDS = (MATRICES, READOUTS)
COLUMNS, MOST = 4, 12


@style.styled
def draw(tables: Tables) -> Figure:
    cells = matrix(tables, "window")
    if cells.empty:
        return style.nothing_to_draw("no window was read")
    rows = of_runs(cells).assign(
        distance=cells["column"].astype(int), ci_low=np.nan, ci_high=np.nan
    )
    rules = list(dict.fromkeys(rows["row"]))
    shown = rules[:MOST]
    edges = last_readout(tables, "window", "edge")
    columns = min(COLUMNS, len(shown))
    height = math.ceil(len(shown) / columns)
    fig = style.figure(style.DOUBLE, 1.6 * height + 1.2)
    axes = fig.subplots(height, columns, sharex=True, sharey=True, squeeze=False)
    for ax, rule in zip(axes.flat, shown, strict=False):
        style.panel_title(ax, rule)
        _panel(ax, select(rows, row=rule), select(edges, item=rule))
    boosts = numbers(rows["value"]), numbers(rows["truth"])
    low, high = (float(f([f(b) for b in boosts])) for f in (np.nanmin, np.nanmax))
    axes[0, 0].set_ylim(min(-0.5, 1.1 * low), 1.25 * max(0.8, high))  # room for the edges
    for ax in axes.flat[len(shown) :]:
        ax.set_axis_off()
    for ax in axes[:, 0]:
        ax.set_ylabel("boost (nats)")
    for ax in axes[-1]:
        ax.set_xlabel("distance (tokens)")
    style.legend(
        fig,
        {"from the weights": looks.WEIGHTS},
        extra=[
            style.line("true change of log-odds", looks.TRUTH),
            style.line("reach of the rule (max_skip)", linestyle=(0, (4, 2))),
            style.dot("edge read from a seed", looks.WEIGHTS),
        ],
    )
    style.note(
        fig,
        f"{seeds_text(cells)} Thin: a seed; thick: median over seeds (from 3 on).",
        "Boost: what the anchor adds to the logit of the rule's output, against the mean of all "
        "outputs. Edge (dots at the top): the last distance with at least half of the largest "
        "boost; none: no boost at all.",
        f"The first {MOST} of {len(rules)} rules." if len(rules) > MOST else "",
    )
    return fig


def reach(rows: pd.DataFrame) -> float:
    """The largest distance at which the truth is not 0; NaN if there is none, or it is unknown."""
    truth = numbers(rows["truth"])
    with np.errstate(invalid="ignore"):
        far = rows["distance"].to_numpy(float)[np.isfinite(truth) & (np.abs(truth) > 1e-9)]
    return float(far.max()) if far.size else float("nan")


def _panel(ax: Axes, rows: pd.DataFrame, edges: pd.DataFrame) -> None:
    marks.seed_lines(ax, rows, looks.WEIGHTS, x="distance")
    first = rows.drop_duplicates("distance").sort_values("distance")
    ax.plot(
        first["distance"],
        numbers(first["truth"]),
        color=looks.TRUTH,
        linewidth=1.0,
        drawstyle="steps-mid",
        label="_truth",
    )
    style.vertical(ax, reach(rows) + 0.5)
    ax.axhline(0, color=style.GREY, linewidth=0.5, zorder=0.5)
    ax.set_xlim(0.5, float(first["distance"].max()) + 0.5)
    found = numbers(edges["value"])
    known = np.isfinite(found)
    # Seeds share whole distances, so their dots are spread vertically.
    ax.scatter(
        found[known],
        (0.9 + marks.spread(len(found), 0.16))[known],
        s=7,
        color=looks.WEIGHTS,
        transform=ax.get_xaxis_transform(),
        label="_edge",
        zorder=3,
    )
