"""Matrices as coloured squares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, SymLogNorm
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from zscope.figures import style

DIVERGING, SEQUENTIAL = "PuOr", "cividis"  # both are told apart with every common colour vision
LARGEST = 16  # rows or columns of a matrix that can be read
SEEDS = 5  # small squares in a row
LEAST = 0.5  # nats that the colours of small squares reach, however small the values


def square(
    ax: Axes,
    values: pd.DataFrame,
    norm: Normalize,
    cmap: str,
    *,
    text: bool = True,
    digits: int = 2,
) -> AxesImage:
    """The first LARGEST rows and columns of a matrix as coloured squares; a null is grey.

    text: write the value into every square.
    """
    shown = values.iloc[:LARGEST, :LARGEST]
    colours = matplotlib.colormaps[cmap].with_extremes(bad="#DDDDDD")
    shades = shown.to_numpy(float)
    image = ax.imshow(shades, cmap=colours, norm=norm, aspect="auto", interpolation="nearest")
    ax.set_xticks(range(shown.shape[1]), list(map(str, shown.columns)), rotation=90)
    ax.set_yticks(range(shown.shape[0]), list(map(str, shown.index)))
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(False)
    if text:
        for (i, j), value in np.ndenumerate(shades):
            if np.isfinite(value):
                dark = _luminance(colours(norm(value))) < 0.45
                ax.text(
                    j,
                    i,
                    number_text(value, digits),
                    ha="center",
                    va="center",
                    color="white" if dark else "black",
                )
    return image


def square_rows(found: Iterable[tuple[str, int]]) -> list[tuple[str, list[int]]]:
    """The rows of `small_squares`: a condition and up to SEEDS of its seeds."""
    of: dict[str, list[int]] = {}
    for condition, seed in found:
        of.setdefault(condition, []).append(seed)
    return [
        (condition, seeds[start : start + SEEDS])
        for condition, seeds in of.items()
        for start in range(0, len(seeds), SEEDS)
    ]


def small_squares(
    band: Any, found: Mapping[tuple[str, int], pd.DataFrame], label: str, names: tuple[str, str]
) -> None:
    """One small square per (condition, seed), in the rows of `square_rows`.

    names: labels of y and x. All share one colour scale, linear up to a 50th of the largest size
    and logarithmic beyond, so that small effects show too. The largest size is at least LEAST, so
    that noise stays pale.
    """
    rows = square_rows(found)
    axes = band.subplots(len(rows), max(len(seeds) for _, seeds in rows), squeeze=False)
    sizes = [np.nanmax(np.abs(m.to_numpy(float)), initial=0.0) for m in found.values()]
    largest = max(float(max(sizes)), LEAST)
    norm = SymLogNorm(largest / 50, vmin=-largest, vmax=largest)
    image = None
    for i, (condition, seeds) in enumerate(rows):
        same_rows = len({tuple(found[condition, seed].index) for seed in seeds}) == 1
        for j, seed in enumerate(seeds):
            ax = axes[i, j]
            image = square(ax, found[condition, seed], norm, DIVERGING, text=False)
            ax.set_title(f"{condition if j == 0 else ''} s{seed}".strip(), loc="left")
            if j and same_rows:
                ax.tick_params(labelleft=False)
            if i < len(rows) - 1 and j < len(rows[i + 1][1]):
                ax.tick_params(labelbottom=False)
            else:
                ax.set_xlabel(names[1])
        axes[i, 0].set_ylabel(names[0])
        for ax in axes[i, len(seeds) :]:
            ax.set_axis_off()
    if image is not None:
        powers = [p for p in 10.0 ** np.arange(-9, 9) if largest / 40 <= p <= largest / 2.5]
        ticks = [-largest, *(-p for p in reversed(powers)), 0.0, *powers, largest]
        colour_bar(axes[0, 0], image, label, list(axes.flat), ticks)


def outline(ax: Axes, row: int, column: int, colour: Any = style.VERMILLION) -> None:
    """A frame around a square, to mark the truth."""
    ax.add_patch(
        Rectangle(
            (column - 0.5, row - 0.5),
            1,
            1,
            fill=False,
            edgecolor=colour,
            linewidth=1.5,
            label="_truth",
            zorder=4,
        )
    )


def cut(*matrices: pd.DataFrame) -> str:
    """A note saying how much of the first cropped matrix is shown, or an empty string."""
    for m in matrices:
        if max(m.shape) > LARGEST:
            return f"The first {LARGEST} rows and columns of {m.shape[0]} x {m.shape[1]}."
    return ""


def symmetric(*matrices: Any, least: float = 0.0) -> Normalize:
    """Colours around 0 that reach the largest size of all values, and at least `least`."""
    sizes = [np.abs(np.asarray(m, dtype=float)).ravel() for m in matrices]
    known = np.concatenate(sizes) if sizes else np.array([])
    known = known[np.isfinite(known)]
    largest = float(known.max(initial=least)) or 1.0
    return Normalize(-largest, largest)


def number_text(value: float, digits: int = 2) -> str:
    """0.7 as .70, -1.25 as -1.25: short enough for a square."""
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        return "0"
    return text.replace("0.", ".", 1) if abs(float(text)) < 1 else text


def colour_bar(
    ax: Axes, image: ScalarMappable, label: str, axes: Any = None, ticks: Any = None
) -> None:
    """A colour bar beside `axes` (default: ax), with these ticks (default: round numbers)."""
    figure: Any = ax.figure
    bar = figure.colorbar(image, ax=ax if axes is None else axes, fraction=0.05, pad=0.02)
    if ticks is not None:
        bar.set_ticks(ticks, labels=[f"{t:.2g}" for t in ticks])
        bar.minorticks_off()
    bar.set_label(label)
    bar.outline.set_linewidth(0.4)


def _luminance(colour: Any) -> float:
    red, green, blue, _ = matplotlib.colors.to_rgba(colour)
    return float(0.2126 * red + 0.7152 * green + 0.0722 * blue)
