"""When a primitive appears in the weights, beside its excess in behaviour, seed by seed."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import marks, style
from zscope.studies.toylang.figures import learning, squares
from zscope.studies.toylang.figures.lookups import NAMES, Tables, count_seeds, numbers, select
from zscope.studies.toylang.targets import DIRECT_R, EXCESS, FIRST

READ = {  # primitive -> readout, metric, label
    "bigram": ("direct", "r", "direct path: r"),
    "skip": ("rules", "rank_all_paths", "worst rank of a rule"),
    "suppress": ("suppression", "below", "top verb lowest\n(share of names)"),
    "induction": ("induction", "hits", "diagonal of M\n(share of objects)"),
}


@style.styled
def draw(tables: Tables) -> Figure:
    read = {p: measured(tables, *of[:2]) for p, of in READ.items()}
    names = [p for p in READ if len(read[p])]
    if not names:
        return style.nothing_to_draw("no checkpoint was read")
    fig = style.figure(style.DOUBLE, 3.6)
    rows = fig.subplots(2, len(names), sharex=True, squeeze=False)
    for column, name in enumerate(names):
        top, bottom = rows[:, column]
        style.panel_title(top, f"{'abcd'[column]}  {NAMES[name]}")
        weights(top, tables, *READ[name][:2])
        top.set_ylabel(READ[name][2])
        top.set_xlabel("")
        behaviour(bottom, tables, name)
        bottom.set_ylabel("excess (nats)")
    style.legend(fig, {"read from the weights": squares.WEIGHTS, "behaviour": squares.BEHAVIOUR})
    style.note(
        fig,
        f"{count_seeds(*read.values())} {style.LINES}",
        "Step 0 of the readouts is left out: there U is zero, and all is tied. Ranks run upwards: "
        "1 is the top.",
        f"Dashed: targets (r {DIRECT_R}; rank {FIRST}; {EXCESS:g} nats) and what a random choice "
        "would have.",
    )
    return fig


def measured(tables: Tables, readout: str, metric: str) -> pd.DataFrame:
    """A row a (run, step): shares for counts, the worst rule for ranks, from step 1 on."""
    if metric == "rank_all_paths":
        rows = tables.readout(readout, metric)
        if rows.empty:
            return rows
        keys = ["run", "condition", "seed", "step"]
        rows = rows.groupby(keys, as_index=False).agg(value=("value", _worst), n=("n", "max"))
        rows = rows.assign(ci_low=np.nan, ci_high=np.nan)
    else:
        rows = tables.readout(readout, metric, "all")
    if metric in ("hits", "below"):
        rows = rows.assign(value=numbers(rows["value"]) / numbers(rows["n"]))
    return rows[rows["step"] > 0]


def _worst(ranks: pd.Series) -> float:
    """The largest; NaN if one is missing."""
    return float(numbers(ranks).max())


def weights(ax: Axes, tables: Tables, readout: str, metric: str) -> None:
    """A readout at every checkpoint, with its chance or target."""
    rows = measured(tables, readout, metric)
    if rows.empty:
        style.not_applicable(ax, "it was not read")
        return
    marks.seed_lines(ax, rows, squares.WEIGHTS)
    if metric == "rank_all_paths":
        ax.set_yscale("log")
        ax.set_ylim(float(rows["n"].max()), 0.7)  # up is better
        _dashed(ax, FIRST)
        _dashed(ax, (float(rows["n"].max()) + 1) / 2)
    elif metric == "r":
        ax.set_ylim(min(-0.1, np.nanmin(numbers(rows["value"]), initial=0) - 0.05), 1.05)
        _dashed(ax, DIRECT_R)
    elif metric in ("hits", "below"):
        style.share_axis(ax, "share")
        chance = {"hits": 1 / float(rows["n"].max())}.get(metric)
        if chance is not None:
            _dashed(ax, chance)
    else:
        _dashed(ax, 0.0)
        style.at_least(ax, -0.5, 1.0)
    style.step_axis(ax, [0, *rows["step"]])


def behaviour(ax: Axes, tables: Tables, primitive: str) -> None:
    """The excess of a primitive at every evaluation."""
    rows = select(tables.excess(), primitive=primitive)
    if rows.empty:
        style.not_applicable(ax, "it was not measured")
        return
    learning.panel(ax, rows, squares.BEHAVIOUR)
    _dashed(ax, EXCESS)
    style.step_axis(ax, rows["step"])


def _dashed(ax: Axes, y: float) -> None:
    ax.axhline(
        y, color=style.GREY, linestyle=(0, (4, 2)), linewidth=0.8, zorder=1.5, label="_baseline"
    )
