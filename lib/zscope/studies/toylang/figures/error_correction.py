"""Error correction: after a wrong repeat of a colour, and after the loss of a head."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import marks, style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.toylang.figures import looks
from zscope.studies.toylang.figures.lookups import conditions_of, of_runs, seeds_text
from zscope.studies.toylang.tables import PHENOMENA

NEEDS = (PHENOMENA,)
COLOURS = {"p_first": style.BLUE, "p_last": style.VERMILLION}
WORDS = {"p_first": "the first colour", "p_last": "the wrong colour, the latest"}
CASES = ("third occurrence", "fourth occurrence")


@style.styled
def draw(tables: Tables) -> Figure:
    rows = of_runs(tables.get(PHENOMENA, experiment="error_correction"))
    if rows.empty:
        return style.nothing_to_draw("error correction was not measured")
    conditions = conditions_of(rows)
    fig = style.figure(style.DOUBLE, 1.85 * len(conditions) + 1.4)
    axes = fig.subplots(len(conditions), 4, squeeze=False)
    for row, condition in zip(axes, conditions, strict=True):
        of = select(rows, condition=condition)
        for ax, letter, case in zip(row, "ab", CASES, strict=False):
            style.panel_title(ax, f"{letter}  {condition}")
            _colours(ax, select(of, case=case), case)
        style.panel_title(row[2], f"c  {condition}")
        _corrects(row[2], of)
        style.panel_title(row[3], f"d  {condition}")
        _repair(row[3], of)
    style.legend(
        fig,
        {WORDS[m]: c for m, c in COLOURS.items()},
        extra=[style.line("the program", looks.TRUTH)],
    )
    style.note(
        fig,
        f"{seeds_text(rows)} a to c: prefixes that end in the third or fourth occurrence of an "
        "object; its last repeats have the same wrong colour (x: how many). Intervals: "
        f"{tables.percent} over prefixes. Thin: a seed; thick: median over seeds (from 3 on).",
        "c: share of prefixes in which the first colour is likelier than the wrong one (green: "
        "third occurrence; orange: fourth).",
        "d: rise of the excess when a head of layer 0 is ablated, with later heads as in the "
        "intact model (direct) and free (total); dots: heads of all seeds. Below the dashed line "
        "later heads repair the loss, above it they pass it on.",
    )
    return fig


def _colours(ax: Axes, rows: pd.DataFrame, case: str) -> None:
    if rows.empty:
        style.not_applicable(ax, f"no prefix has a {case}")
        return
    for metric, colour in COLOURS.items():
        of = select(rows, metric=metric)
        marks.seed_lines(ax, of, colour, x="x")
        looks.truth_line(ax, of)
    style.share_axis(ax, "p (share)")
    _repeats(ax, rows)
    ax.set_xlabel(f"wrong repeats\n({case})")


def _corrects(ax: Axes, rows: pd.DataFrame) -> None:
    rows = select(rows, metric="corrects")
    if rows.empty:
        style.not_applicable(ax, "no prefix has it")
        return
    for case, colour in zip(CASES, (style.GREEN, style.ORANGE), strict=True):
        marks.seed_lines(ax, select(rows, case=case), colour, x="x")
    looks.truth_line(ax, rows)
    style.share_axis(ax, "first colour wins (share)")
    _repeats(ax, rows)
    ax.set_xlabel("wrong repeats")


def _repair(ax: Axes, rows: pd.DataFrame) -> None:
    parts = [
        select(rows, metric=metric).set_index(["seed", "case"]) for metric in ("direct", "total")
    ]
    if any(p.empty for p in parts):
        style.not_applicable(ax, "the model has one layer")
        return
    parts[1] = parts[1].reindex(parts[0].index)
    (x, x_low, x_high), (y, y_low, y_high) = (
        tuple(numbers(p[c]) for c in ("value", "ci_low", "ci_high")) for p in parts
    )
    ax.hlines(y, x_low, x_high, color=style.PURPLE, linewidth=0.6, alpha=0.6, label="_interval")
    ax.vlines(x, y_low, y_high, color=style.PURPLE, linewidth=0.6, alpha=0.6, label="_interval")
    ax.scatter(x, y, s=9, color=style.PURPLE, linewidths=0, label="_heads", zorder=3)
    most = max(0.05, float(np.nanmax([x_high, y_high, x, y]))) * 1.1
    least = min(0.0, float(np.nanmin([x_low, y_low, x, y]))) * 1.1 - 0.02 * most
    looks.diagonal(ax, least, most)
    ax.set_xlabel("direct (nats)")
    ax.set_ylabel("total (nats)")


def _repeats(ax: Axes, rows: pd.DataFrame) -> None:
    most = int(rows["x"].max())
    ax.set_xticks(range(most + 1))
    ax.set_xlim(-0.2, most + 0.2)
