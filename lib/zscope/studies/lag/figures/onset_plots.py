"""Onsets against what a sweep varies: the part that several figures of a sweep share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from zscope.figures import marks, style
from zscope.studies.lag.figures.lookups import UNITS, SweepTables


def onsets_over(
    ax: Axes,
    tables: SweepTables,
    labels: Sequence[str],
    metrics: Sequence[str],
    *,
    unit: str = "steps",
    ylabel: str = "",
    x: Sequence[float] | None = None,
    colours: Sequence[object] | None = None,
) -> list[float]:
    """Time on y, the points of a sweep on x: seeds as dots, medians with intervals.

    x: place of every label (default: 0, 1, ...); on a logarithmic axis, set before the call, the
    metrics and seeds stand side by side by a factor. colours: one a label (default: by metric).
    Returns the times that are drawn.
    """
    places = np.asarray(x if x is not None else np.arange(len(labels)), dtype=float)
    log = ax.get_xscale() == "log"
    gaps = np.diff(np.unique(np.log(places) if log else places))
    room = float(gaps.min()) if gaps.size else 1.0

    def beside(place: float, share: Any) -> Any:
        """`place` moved by a share of the room that a point of the sweep has."""
        return place * np.exp(share * room) if log else place + share * room

    width = 0.7 / len(metrics)
    seen: list[float] = []
    for j, metric in enumerate(metrics):
        centre = (j - (len(metrics) - 1) / 2) * width
        for i, (label, place) in enumerate(zip(labels, places, strict=True)):
            onsets = tables.onset(label, metric, unit)
            if onsets.empty:
                continue
            colour = colours[i] if colours else style.METRIC_COLOURS[metric]
            offsets = centre + marks.spread(len(onsets), 0.6 * width)
            marks.onset_dots(
                ax, beside(place, offsets), onsets["time"], onsets["limit"], colour, name=metric
            )
            limit = float(onsets["limit"].max())
            middle, low, high = tables.median(label, metric, unit)
            left, right = (beside(place, centre + s * 0.42 * width) for s in (-1, 1))
            marks.median_mark(ax, left, right, middle, low, high, limit, colour)
            seen += [v for v in (*onsets["time"], *onsets["limit"], high) if np.isfinite(v)]
    if not seen:
        style.not_applicable(ax, f"no run of the sweep has {' or '.join(metrics)}")
        return []
    style.time_axis_y(ax, seen, ylabel or UNITS[unit])
    if not log:
        ax.set_xlim(places.min() - 0.6, places.max() + 0.6)
    return seen


def count_censored_sweep(tables: SweepTables, labels: Sequence[str], metric: str) -> str:
    """How many seeds of every point never had the onset, in words."""
    counts = []
    for label in labels:
        onsets = tables.onset(label, metric)
        if onsets["time"].isna().any():
            counts.append(f"{int(onsets['time'].isna().sum())} of {len(onsets)} at {label}")
    name = metric.replace("_", " ")
    return f"Censored ({name} never set in): {'; '.join(counts) or 'none'}."
