"""Marks that mean the same in every figure: seeds and their medians, onsets, groups of dots.

A thin line is one seed, a faint band its interval, a thick line the median over seeds. A dot is an
onset, and an open arrow an onset that was not reached by the last step (right-censored).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from zscope.figures.frames import numbers


def seed_lines(
    ax: Axes, frame: pd.DataFrame, colour: Any, *, x: str = "step", y: str = "value"
) -> None:
    """One thin line per run, its interval as a faint band, and the median over runs as a thick one.

    frame: one row per (run, x), with columns run, x, y, ci_low, ci_high. The median is drawn at the
    steps that all runs have, and only over 3 runs or more.
    """
    for run, of_run in frame.sort_values(x).groupby("run", sort=True):
        steps, values, low, high = (numbers(of_run[c]) for c in (x, y, "ci_low", "ci_high"))
        ax.plot(steps, values, color=colour, linewidth=0.7, alpha=0.55, label=f"_seed {run}")
        if np.isfinite(low).any():
            ax.fill_between(steps, low, high, color=colour, alpha=0.12, linewidth=0)
    middle = median_over_runs(frame, x, y)
    if len(middle):
        ax.plot(middle.index, middle.to_numpy(float), color=colour, linewidth=1.8, label="_median")


def median_over_runs(frame: pd.DataFrame, x: str = "step", y: str = "value") -> pd.Series:
    """The median over runs at every x that all runs have; empty if there are fewer than 3 runs."""
    runs = frame["run"].nunique()
    grouped = frame.dropna(subset=[y]).groupby(x)[y]
    middle = grouped.median()
    return middle[grouped.size() == runs] if runs >= 3 else middle.iloc[:0]


def onset_marks(ax: Axes, onsets: Iterable[float], colour: Any, name: str) -> None:
    """A thin dotted vertical line at the onset of every seed; NaN (censored) is not drawn."""
    for step in onsets:
        if np.isfinite(step):
            ax.axvline(
                step,
                color=colour,
                linestyle=":",
                linewidth=0.8,
                alpha=0.8,
                zorder=1,
                label=f"_onset {name}",
            )


def onset_dots(
    ax: Axes,
    x: Iterable[float],
    times: Iterable[float],
    limits: Iterable[float],
    colour: Any,
    *,
    name: str,
    horizontal: bool = False,
) -> None:
    """One dot per onset, or an open arrow at `limits`, the last time seen, where the time is NaN.

    horizontal: time runs along x, so the arrow points to the right.
    """
    place, time, limit = (np.asarray(list(v), dtype=float) for v in (x, times, limits))
    came = np.isfinite(time)
    for kept, values, marker, face, label in (
        (came, time, "o", colour, "_onset"),
        (~came & np.isfinite(limit), limit, ">" if horizontal else "^", "none", "_censored"),
    ):
        if kept.any():
            pair = (values[kept], place[kept]) if horizontal else (place[kept], values[kept])
            ax.scatter(
                *pair,
                s=13,
                marker=marker,
                facecolors=face,
                edgecolors=colour,
                linewidths=0.8,
                alpha=0.85,
                zorder=3,
                label=f"{label} {name}",
                clip_on=False,
            )


def median_mark(
    ax: Axes,
    left: float,
    right: float,
    median: float,
    low: float,
    high: float,
    limit: float,
    colour: Any,
    *,
    horizontal: bool = False,
) -> None:
    """A median as a bar from left to right, its interval as a line at the right end.

    An end that is NaN lies beyond `limit`, the last time seen; the line ends there in an arrow. A
    median beyond it is not drawn, because the open arrows of the runs show this. horizontal: time
    runs along x, and left and right are places on y.
    """
    across = ax.vlines if horizontal else ax.hlines
    along = ax.hlines if horizontal else ax.vlines
    if np.isfinite(median):
        across(median, left, right, color=colour, linewidth=2.0, zorder=4, label="_median")
    if not np.isfinite(low):
        return
    end = high if np.isfinite(high) else limit
    along(right, low, end, color=colour, linewidth=1.0, zorder=2, label="_interval")
    if not np.isfinite(high):
        point = (end, right) if horizontal else (right, end)
        ax.plot(
            *point,
            marker=">" if horizontal else "^",
            color=colour,
            markersize=3.5,
            label="_beyond",
            clip_on=False,
        )


def group_dots(
    ax: Axes,
    place: float,
    frame: pd.DataFrame,
    groups: Sequence[Any],
    colour: Any,
    *,
    by: str,
    name: str,
    width: float = 0.6,
    horizontal: bool = True,
    marker: str = "o",
    filled: bool = True,
) -> None:
    """One dot per row at `place`, its interval as a line, and the median over 3 groups or more as a
    bar.

    frame: columns `by` and value, and ci_low and ci_high if there are intervals. groups: all values
    of `by` in order; each keeps its place within `width` in every panel. horizontal: values run
    along x.
    """
    offsets = dict(zip(groups, spread(len(groups), 0.7 * width), strict=True))
    values = numbers(frame["value"])
    where = np.array([place + offsets[group] for group in frame[by]])
    kept = np.isfinite(values)
    if "ci_low" in frame:
        interval = (numbers(frame[end])[kept] for end in ("ci_low", "ci_high"))
        for at, low, high in zip(where[kept], *interval, strict=True):
            if np.isfinite(low) and np.isfinite(high):
                ends = ([low, high], [at, at]) if horizontal else ([at, at], [low, high])
                ax.plot(*ends, color=colour, linewidth=0.8, alpha=0.6, zorder=2, label="_interval")
    if not kept.any():
        return
    pair = (values[kept], where[kept]) if horizontal else (where[kept], values[kept])
    ax.scatter(
        *pair,
        s=9,
        marker=marker,
        facecolors=colour if filled else "white",
        edgecolors=colour,
        linewidths=0.8,
        zorder=3,
        clip_on=False,
        label=f"_dots {name}",
    )
    if kept.sum() >= 3 and len({*frame[by][kept]}) >= 3:
        draw = ax.vlines if horizontal else ax.hlines
        draw(
            float(np.median(values[kept])),
            place - width / 2,
            place + width / 2,
            color=colour,
            linewidth=1.8,
            zorder=2.5,
            label="_median",
        )


def spread(n: int, width: float) -> np.ndarray:
    """Offsets that put n dots side by side, evenly over `width` around 0."""
    return np.linspace(-width / 2, width / 2, n) if n > 1 else np.zeros(n)
