"""Suppression in behaviour: the top verb with and without `never` before, and which heads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from zscope.figures import marks, style
from zscope.studies.toylang.figures import squares
from zscope.studies.toylang.figures.lookups import (
    Tables,
    conditions_of,
    count_seeds,
    numbers,
    of_runs,
    seeds_of,
    select,
)

LINES = {"without never": style.BLUE, "with never": style.VERMILLION}
DROPS = {
    "within window": "within the window",
    "beyond window": "beyond the window",
    "placebo": "placebo: another word",
}


@style.styled
def draw(tables: Tables) -> Figure:
    rows = of_runs(tables.get("toylang_phenomena", experiment="suppression"))
    if rows.empty:
        return style.nothing_to_draw("suppression was not measured")
    conditions = conditions_of(rows)
    fig = style.figure(style.DOUBLE, 2.0 * len(conditions) + 1.3)
    axes = fig.subplots(len(conditions), 3, squeeze=False, width_ratios=[1.15, 1, 1])
    for row, condition in zip(axes, conditions, strict=True):
        of = select(rows, condition=condition)
        for ax, letter, part in zip(row, "abc", (_distance, _drops, _heads), strict=True):
            style.panel_title(ax, f"{letter}  {condition}")
            part(ax, of)
    style.legend(
        fig,
        LINES,
        extra=[
            style.line("the program", squares.TRUTH),
            style.dot("head that the weights name", squares.WEIGHTS),
            style.dot("any other head"),
        ],
    )
    style.note(
        fig,
        f"{count_seeds(rows)} Prefixes that end in a name, with never at a distance, and the same "
        "with another possible word in its place. Intervals: 95 % over prefixes.",
        "a: probability of the name's top verb; thin: a seed; thick: median over seeds (from 3 "
        "on).",
        "b: drop of it by never, and between two other words (placebo). c: change of the drop "
        "within the window as one head of a seed is ablated, below 0: the head suppresses; against "
        "how far its weights let never lower the top verb's logit.",
    )
    return fig


def truth_line(ax: Axes, rows: pd.DataFrame) -> None:
    """The truth against x, its mean over seeds (whose prefixes differ)."""
    known = rows.assign(truth=numbers(rows["truth"])).groupby("x")["truth"].mean().dropna()
    ax.plot(
        known.index.to_numpy(float),
        known.to_numpy(),
        color=squares.TRUTH,
        linewidth=0.9,
        linestyle=(0, (1, 1)),
        marker="_",
        markersize=5,
        label="_truth",
        zorder=3,
    )


def _distance(ax: Axes, rows: pd.DataFrame) -> None:
    rows = select(rows, metric="p_top")
    if rows.empty:
        style.not_applicable(ax, "no prefix has it")
        return
    for case, colour in LINES.items():
        of = select(rows, case=case)
        marks.seed_lines(ax, of, colour, x="x")
        truth_line(ax, of)
    style.share_axis(ax, "p of the top verb")
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    ax.set_xlabel("distance of never (tokens)")


def _drops(ax: Axes, rows: pd.DataFrame) -> None:
    rows = select(rows, metric="drop")
    seeds = seeds_of(rows)
    for place, case in enumerate(DROPS):
        of = select(rows, case=case)
        squares.seed_dots(ax, place, of, seeds, style.BLUE, name=case)
        truth = numbers(of["truth"])
        if np.isfinite(truth).any():
            ax.vlines(np.nanmean(truth), place - 0.4, place + 0.4, color=squares.TRUTH,
                      linewidth=1.0, label="_truth", zorder=4)  # fmt: skip
    style.vertical(ax, 0.0)
    low, high = ax.get_xlim()
    ax.set_xlim(min(low, -0.1), max(high, 0.8))
    ax.set_yticks(range(len(DROPS)), [name.replace(": ", ":\n") for name in DROPS.values()])
    ax.set_ylim(len(DROPS) - 0.5, -0.5)
    ax.set_xlabel("drop of p (share)")
    ax.set_ylabel("where never stands")


def _heads(ax: Axes, rows: pd.DataFrame) -> None:
    """Change of the drop by ablating each head, against what the weights say of it, if they are
    read; else seed by seed."""
    change = select(rows, metric="change")
    if change.empty:
        style.not_applicable(ax, "no head was ablated")
        return
    keys = ["run", "case"]
    said = select(rows, metric="by_weights").set_index(keys)["value"]
    seeds = seeds_of(change)
    if len(said):
        place = numbers(said.reindex(pd.MultiIndex.from_frame(change[keys])))
    else:
        place = np.array([seeds.index(int(s)) for s in change["seed"]], dtype=float)
    value = numbers(change["value"])
    named = change["case"].str.startswith("named ").to_numpy(bool)
    for kept, colour, size, name in (
        (~named, style.GREY, 10, "other"),
        (named, squares.WEIGHTS, 16, "named"),
    ):
        if kept.any():
            look: dict[str, Any] = {
                "color": colour,
                "s": size,
                "linewidths": 0,
                "zorder": 2 + (name == "named"),
            }
            ax.scatter(place[kept], value[kept], label=f"_heads {name}", **look)
    ax.axhline(0, color=style.GREY, linestyle=(0, (4, 2)), linewidth=0.8, label="_baseline")
    low, high = ax.get_ylim()
    ax.set_ylim(min(1.1 * low, -0.12), max(1.1 * high, 0.12))
    ax.set_ylabel("change of the drop (share)")
    if len(said):
        ax.set_xlabel("drop by the weights (nats)")
    else:
        ax.set_xticks(range(len(seeds)), [str(s) for s in seeds])
        ax.set_xlim(-0.5, len(seeds) - 0.5)
        ax.set_xlabel("seed (weights are not read)")
