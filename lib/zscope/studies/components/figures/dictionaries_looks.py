"""What the figures of dictionaries share: colours and names of variants, dots with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from zscope.figures import style
from zscope.figures.frames import numbers

VARIANTS = {
    "l1": ("L1", style.BLUE),
    "topk": ("TopK", style.VERMILLION),
    "batch_topk": ("BatchTopK", style.ORANGE),
    "gated": ("Gated", style.GREEN),
    "jump_relu": ("JumpReLU (tanh)", style.PURPLE),
    "jump_relu_l0": ("JumpReLU (L0)", style.BLACK),
}
"""Names and colours."""


def shown(variants: Iterable[str]) -> dict[str, tuple[str, Any]]:
    """Those of VARIANTS that are there, in their order."""
    there = set(variants)
    return {v: look for v, look in VARIANTS.items() if v in there}


def variant_legend(variants: Iterable[str]) -> dict[str, Any]:
    return dict(shown(variants).values())


def dots(
    ax: Axes,
    rows: pd.DataFrame,
    place: float,
    colour: Any,
    name: str,
    *,
    width: float,
    marker: str = "o",
    filled: bool = True,
) -> None:
    """A dot per row at `place` on x, side by side, with its interval."""
    offsets = _spread(len(rows), width)
    x, value = place + offsets, numbers(rows["value"])
    for at, low, high in zip(x, numbers(rows["ci_low"]), numbers(rows["ci_high"]), strict=True):
        if np.isfinite(low) and np.isfinite(high):
            ax.plot([at, at], [low, high], color=colour, linewidth=0.7, label="_interval")
    ax.scatter(
        x,
        value,
        s=8,
        marker=marker,
        facecolors=colour if filled else "white",
        edgecolors=colour,
        linewidths=0.7,
        zorder=3,
        label=f"_dots {name}",
    )


def _spread(n: int, width: float) -> np.ndarray:
    return np.linspace(-width / 2, width / 2, n) if n > 1 else np.zeros(n)


def names_below(ax: Axes, names: Sequence[str], *, slanted: bool = False) -> None:
    """Names of places 0, 1, ... on x."""
    ax.set_xticks(range(len(names)), names)
    if slanted:
        ax.tick_params(axis="x", labelrotation=90)
    ax.set_xlim(-0.6, len(names) - 0.4)


def codes_axis(ax: Axes, label: str) -> None:
    """Codes on x, on a log scale with powers of two, or of four if there are many."""
    ax.set_xscale("log", base=2)
    low, high = ax.get_xlim()
    ax.xaxis.set_major_locator(LogLocator(base=2 if high < 40 * low else 4))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel(label)


def in_words(subject: str) -> str:
    """A subject's name without its study."""
    return subject.partition("/")[2] or subject
