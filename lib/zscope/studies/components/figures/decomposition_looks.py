"""Colours, names and panels that the figures of the decomposition share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.ticker import NullFormatter

from zscope.figures import style

FIRST = "stochastic"
PHASES = {"stochastic": style.BLUE, "adversarial": style.VERMILLION}
PHASE_NAMES = {"stochastic": "random masks alone", "adversarial": "and an adversary"}
RULES = {"strict": style.BLUE, "loose": style.ORANGE}
MASKS = {
    "unmasked": "all components",
    "random": "random masks",
    "importance": "g as masks",
    "rounded_0": "g above 0",
    "rounded_0.1": "g above 0.1",
    "none": "no component",
}


def seeds_of(frame: pd.DataFrame) -> list[int]:
    return sorted(frame["seed"].unique().tolist())


def primitives_of(frame: pd.DataFrame, column: str = "primitive") -> list[str]:
    """The primitives of a frame, without `all` and `none`, in alphabetical order."""
    return sorted(set(frame[column]) - {"all", "none"})


def first_model(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the first model: decompositions of others are other objects."""
    return frame[frame["model"] == frame["model"].min()]


def named_rows(ax: Axes, names: Sequence[str], label: str = "") -> None:
    """One row per name from the top."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_ylabel(label)


def log_x(ax: Axes, low: float, high: float) -> None:
    """A logarithmic x from low to high with numbers at powers of ten alone."""
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    ax.xaxis.set_minor_formatter(NullFormatter())


def log_y(ax: Axes, low: float, high: float) -> None:
    """The same on y."""
    ax.set_yscale("log")
    ax.set_ylim(low, high)
    ax.yaxis.set_minor_formatter(NullFormatter())


def heat(
    ax: Axes,
    values: pd.DataFrame,
    norm: Any,
    cmap: str,
    *,
    text: bool = True,
    ticks: bool = True,
) -> AxesImage:
    """A matrix as coloured squares; a null is grey."""
    shades = values.to_numpy(float)
    colours = matplotlib.colormaps[cmap].with_extremes(bad="#DDDDDD")
    image = ax.imshow(shades, cmap=colours, norm=norm, aspect="auto", interpolation="nearest")
    ax.tick_params(length=0)
    if ticks:
        ax.set_xticks(range(values.shape[1]), list(map(str, values.columns)), rotation=90)
        ax.set_yticks(range(values.shape[0]), list(map(str, values.index)))
    for side in ax.spines.values():
        side.set_visible(False)
    if text:
        for (i, j), value in np.ndenumerate(shades):
            if np.isfinite(value):
                red, green, blue, _ = colours(norm(value))
                dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
                words = f"{value:.1f}" if abs(value) >= 0.05 else "0"
                ax.text(j, i, words, ha="center", va="center", color="white" if dark else "black")
    return image
