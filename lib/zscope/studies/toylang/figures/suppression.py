"""Suppression in behaviour: the top verb with and without `never` before, and which heads."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from zscope.figures import marks, style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.toylang.figures import looks
from zscope.studies.toylang.figures.lookups import conditions_of, of_runs, seeds_of, seeds_text
from zscope.studies.toylang.tables import PHENOMENA

NEEDS = (PHENOMENA,)
LINES = {"without never": style.BLUE, "with never": style.VERMILLION}
DROPS = {
    "within window": "within the window",
    "beyond window": "beyond the window",
    "placebo": "placebo: another word",
}


@style.styled
def draw(tables: Tables) -> Figure:
    rows = of_runs(tables.get(PHENOMENA, experiment="suppression"))
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
            style.line("the program", looks.TRUTH),
            style.dot("head that the weights name", looks.WEIGHTS),
            style.dot("any other head"),
        ],
    )
    style.note(
        fig,
        f"{seeds_text(rows)} Prefixes that end in a name, with never at a distance, "
        "and the same prefixes with another possible word in its place. Intervals: "
        f"{tables.percent} over prefixes.",
        "a: probability of the name's top verb; thin: a seed; thick: median over seeds (from 3 "
        "on); at the top: prefixes at the distance, the fewest of any seed.",
        "b: its drop by never, and between two other words (placebo). c: change of the drop "
        "within the window when one head is ablated (below 0: the head suppresses), against how "
        "far, by its weights, never lowers the top verb's logit.",
    )
    return fig


def _distance(ax: Axes, rows: pd.DataFrame) -> None:
    rows = select(rows, metric="p_top")
    if rows.empty:
        style.not_applicable(ax, "no prefix has it")
        return
    for case, colour in LINES.items():
        of = select(rows, case=case)
        marks.seed_lines(ax, of, colour, x="x")
        looks.truth_line(ax, of)
    style.share_axis(ax, "p of the top verb")
    ax.set_ylim(top=1.3)
    fewest = rows.groupby("x", as_index=False)["n"].min()
    for i, (x, n) in enumerate(zip(numbers(fewest["x"]), fewest["n"], strict=True)):
        height = 1.2 if i % 2 else 1.08  # two rows, so that neighbours do not touch
        ax.text(x, height, f"{n}", ha="center", va="center", label="_n")
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    ax.set_xlabel("distance of never (tokens)")


def _drops(ax: Axes, rows: pd.DataFrame) -> None:
    rows = select(rows, metric="drop")
    seeds = seeds_of(rows)
    for place, case in enumerate(DROPS):
        of = select(rows, case=case)
        looks.seed_dots(ax, place, of, seeds, style.BLUE, name=case)
        truth = numbers(of["truth"])
        if np.isfinite(truth).any():
            ax.vlines(np.nanmean(truth), place - 0.4, place + 0.4, color=looks.TRUTH,
                      linewidth=1.0, label="_truth", zorder=4)  # fmt: skip
    style.vertical(ax, 0.0)
    looks.at_least_x(ax, -0.1, 0.8)
    names = [name.replace(": ", ":\n") for name in DROPS.values()]
    looks.named_rows(ax, names, "where never stands")
    ax.set_xlabel("drop of p (share)")


def _heads(ax: Axes, rows: pd.DataFrame) -> None:
    """Change of the drop by ablating each head, against its drop by the weights where they are
    read, else by seed."""
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
    for kept, colour, size, order, name in (
        (~named, style.GREY, 10, 2, "_heads other"),
        (named, looks.WEIGHTS, 16, 3, "_heads named"),
    ):
        if kept.any():
            x, y = place[kept], value[kept]
            ax.scatter(x, y, s=size, color=colour, linewidths=0, zorder=order, label=name)
    ax.axhline(0, **style.DASHED)
    low, high = ax.get_ylim()
    style.at_least(ax, min(1.1 * low, -0.12), max(1.1 * high, 0.12))
    ax.set_ylabel("change of the drop (share)")
    if len(said):
        ax.set_xlabel("drop by the weights (nats)")
    else:
        ax.set_xticks(range(len(seeds)), [str(s) for s in seeds])
        ax.set_xlim(-0.5, len(seeds) - 0.5)
        ax.set_xlabel("seed (weights are not read)")
