"""The language: how often each primitive governs, its floor, and a check with a known answer."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.toylang.figures import looks
from zscope.studies.toylang.figures.lookups import labels_of
from zscope.studies.toylang.tables import FLOORS

NEEDS = (FLOORS,)


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get(FLOORS)
    if rows.empty:
        return style.nothing_to_draw("no floor was measured")
    names = labels_of(rows)
    frequency, floor, gap = (
        select(rows, metric=metric).set_index("primitive").loc[names]
        for metric in ("frequency", "floor", "gap")
    )
    fig = style.figure(style.DOUBLE, 0.2 * len(names) + 1.4)
    often, least, known = fig.subplots(1, 3, sharey=True)
    style.panel_title(often, "a  frequency")
    _dots(often, frequency, style.BLUE)
    looks.log_x(often, numbers(frequency["value"]), 0.01, 1.0)
    often.set_xlabel("share of tokens")
    looks.named_rows(often, names, "primitive")
    style.panel_title(least, "b  floor")
    _dots(least, floor, style.BLUE)
    entropy = numbers(floor["value"])
    for place, value in enumerate(entropy):
        text = f"{value:.3f}"
        least.annotate(text, (value, place), (5, 0), textcoords="offset points", va="center")
    least.set_xlim(0, 1.25 * np.nanmax(entropy))
    least.set_xlabel("mean entropy (nats)")
    style.panel_title(known, "c  sampled NLL minus the floor")
    difference, se = numbers(gap["value"]), numbers(gap["se"])
    null = {"color": style.GREY, "alpha": 0.25, "linewidth": 6, "capstyle": "butt"}
    known.hlines(range(len(se)), -3 * se, 3 * se, label="_null", zorder=0.8, **null)
    _dots(known, gap, style.VERMILLION)
    style.vertical(known, 0.0)
    known.set_xlabel("difference (nats)")
    largest = np.nanmax(np.abs(difference[se > 0] / se[se > 0]), initial=0.0)
    style.note(
        fig,
        f"Measured on {int(rows['n'].max()):,} tokens. Lines: {tables.percent} intervals over "
        "sequences.",
        "Floor: mean entropy of the exact conditionals, the least loss of any model.",
        f"c: a correct generator has 0; grey: 3 standard errors (largest here: {largest:.1f}).",
    )
    return fig


def _dots(ax: Axes, rows: pd.DataFrame, colour: str) -> None:
    places = np.arange(len(rows))
    low, high = (numbers(rows[end]) for end in ("ci_low", "ci_high"))
    ax.hlines(places, low, high, color=colour, linewidth=0.9, label="_interval", zorder=2.5)
    value = numbers(rows["value"])
    ax.plot(value, places, linestyle="", marker="o", color=colour, label="_dots", zorder=3)
