"""The language: how often each primitive governs, its floor, and the known answer for it."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.studies.toylang.figures import squares
from zscope.studies.toylang.figures.lookups import NAMES, Tables, labels_of, numbers

Z95 = 1.96  # half width of a normal 95 % interval, in standard errors


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get("toylang_floors")
    if rows.empty:
        return style.nothing_to_draw("no floor was measured")
    names = labels_of(rows)
    rows = rows.set_index("primitive").loc[names]
    fig = style.figure(style.DOUBLE, 0.2 * len(names) + 1.4)
    often, floor, known = fig.subplots(1, 3, sharey=True)
    style.panel_title(often, "a  frequency")
    frequency = numbers(rows["frequency"])
    _dots(often, frequency, Z95 * numbers(rows["frequency_se"]), style.BLUE)
    squares.log_x(often, frequency, 0.01, 1.0)
    often.set_xlabel("share of tokens")
    often.set_yticks(range(len(names)), [NAMES.get(n, n) for n in names])
    often.set_ylim(len(names) - 0.5, -0.5)
    often.set_ylabel("primitive")
    style.panel_title(floor, "b  floor")
    entropy = numbers(rows["floor"])
    _dots(floor, entropy, Z95 * numbers(rows["floor_se"]), style.BLUE)
    for place, value in enumerate(entropy):
        text = f"{value:.3f}"
        floor.annotate(text, (value, place), (5, 0), textcoords="offset points", va="center")
    floor.set_xlim(0, 1.25 * np.nanmax(entropy))
    floor.set_xlabel("mean entropy (nats)")
    style.panel_title(known, "c  sampled NLL less the floor")
    gap, se = numbers(rows["nll"]) - entropy, numbers(rows["nll_se"])
    for place, width in enumerate(3 * se):
        known.plot([-width, width], [place] * 2, color=style.GREY, alpha=0.25, linewidth=6,
                   solid_capstyle="butt", label="_null", zorder=0.8)  # fmt: skip
    _dots(known, gap, Z95 * se, style.VERMILLION)
    style.vertical(known, 0.0)
    known.set_xlabel("difference (nats)")
    worst = np.nanmax(np.abs(gap[se > 0] / se[se > 0]), initial=0.0)
    tokens = int(rows["n"].max())
    style.note(
        fig,
        f"Measured on {tokens:,} tokens. Lines: 95 % intervals over sequences.",
        "Floor: mean entropy of the exact conditionals, the least loss of any model.",
        f"c: a right generator has 0; grey: 3 standard errors (largest here: {worst:.1f}).",
    )
    return fig


def _dots(ax: Axes, values: np.ndarray, half: np.ndarray, colour: str) -> None:
    places = np.arange(len(values))
    ax.errorbar(
        values, places, xerr=half, fmt="o", color=colour, elinewidth=0.9, label="_dots", zorder=3
    )
