"""Colours and marks that the figures of the toy language study share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from zscope.figures import marks, style
from zscope.figures.frames import numbers
from zscope.studies.toylang.figures.lookups import NAMES

BEHAVIOUR, WEIGHTS = style.BLUE, style.VERMILLION
TRUTH = style.BLACK
SERIES = (style.BLUE, style.VERMILLION, style.GREEN, style.PURPLE, style.ORANGE, style.SKY)
DOTS = "Dots: seeds; bars: median over seeds (from 3 on)."
seed_dots = partial(marks.group_dots, by="seed")


def random_dots(ax: Axes, place: float, rows: pd.DataFrame, width: float, name: str) -> None:
    """A small grey dot per random set of heads, spread over `width` around `place`."""
    ax.scatter(
        numbers(rows["value"]),
        place + np.resize(marks.spread(7, width), len(rows)),
        s=3,
        color=style.GREY,
        alpha=0.6,
        linewidths=0,
        zorder=2,
        label=f"_random {name}",
    )


def truth_line(ax: Axes, rows: pd.DataFrame) -> None:
    """The truth against x, its mean over seeds (whose prefixes differ)."""
    known = rows.assign(truth=numbers(rows["truth"])).groupby("x")["truth"].mean().dropna()
    ax.plot(
        known.index.to_numpy(float),
        known.to_numpy(),
        color=TRUTH,
        linewidth=0.9,
        linestyle=(0, (1, 1)),
        marker="_",
        markersize=5,
        label="_truth",
        zorder=3,
    )


def named_rows(ax: Axes, names: Sequence[str], label: str = "", *, shown: bool = True) -> None:
    """One row per name from the top; primitives as words. shown: write the names."""
    ax.set_yticks(range(len(names)), [NAMES.get(n, n) if shown else "" for n in names])
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_ylabel(label)


def beside(ax: Axes, y: float, text: str, **look: Any) -> None:
    """A text at the right of the axes, at the height y."""
    coordinates: Any = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    look |= {"va": "center", "annotation_clip": False}
    ax.annotate(text, (1.0, y), (6, 0), **coordinates, **look)


def diagonal(ax: Axes, low: float, high: float) -> None:
    """Equal x and y from low to high, and a dashed line where they are equal."""
    ax.plot([low, high], [low, high], **style.DASHED)
    ax.set_xlim(low, high)
    ax.set_ylim(low, high)


def at_least_x(ax: Axes, low: float, high: float) -> None:
    """Widen x to show low to high, so that noise around 0 does not fill the panel."""
    left, right = ax.get_xlim()
    ax.set_xlim(min(left, low), max(right, high))


def change_axes(ax: Axes, names: Sequence[str]) -> None:
    """One row per name, with changes of the excess along x."""
    style.vertical(ax, 0.0)
    at_least_x(ax, -0.02, 0.1)
    named_rows(ax, names)
    ax.set_xlabel("change of excess (nats)")


def log_x(ax: Axes, values: Iterable[float], low: float, high: float) -> None:
    """A logarithmic x that shows the values and at least low to high."""
    known = np.array([v for v in values if np.isfinite(v) and v > 0], dtype=float)
    ax.set_xscale("log")
    ax.set_xlim(min(low, known.min(initial=low)) / 1.4, max(high, known.max(initial=high)) * 1.4)
