"""Onsets over the points of a sweep: the panel that several figures share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from zscope.figures import marks, style
from zscope.studies.lag.figures.lookups import (
    METRIC_COLOURS,
    NAMES,
    UNITS,
    SweepView,
    count_censored,
)


def onsets_over(
    ax: Axes,
    sweep: SweepView,
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
    metrics and seeds are set apart by a factor. colours: one per label (default: by metric).
    Returns the times that are drawn.
    """
    places = np.asarray(x if x is not None else np.arange(len(labels)), dtype=float)
    log = ax.get_xscale() == "log"
    gaps = np.diff(np.unique(np.log(places) if log else places))
    room = float(gaps.min()) if gaps.size else 1.0

    def beside(place: float, share: Any) -> Any:
        """`place`, moved by a share of the room of a point of the sweep."""
        return place * np.exp(share * room) if log else place + share * room

    width = 0.7 / len(metrics)
    seen: list[float] = []
    for j, metric in enumerate(metrics):
        centre = (j - (len(metrics) - 1) / 2) * width
        for i, (label, place) in enumerate(zip(labels, places, strict=True)):
            onsets = sweep.onset(label, metric, unit)
            if onsets.empty:
                continue
            colour = colours[i] if colours else METRIC_COLOURS[metric]
            offsets = centre + marks.spread(len(onsets), 0.6 * width)
            marks.onset_dots(
                ax, beside(place, offsets), onsets["time"], onsets["limit"], colour, name=metric
            )
            limit = float(onsets["limit"].max())
            middle, low, high = sweep.median(label, metric, unit)
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


def count_censored_sweep(sweep: SweepView, labels: Sequence[str], metrics: Sequence[str]) -> str:
    """The number of seeds at every point that never had the onset of each metric, in words."""
    parts = []
    for metric in metrics:
        times = {label: sweep.onset(label, metric)["time"] for label in labels}
        counts = [f"{count_censored(t)} at {v}" for v, t in times.items() if t.isna().any()]
        parts.append(f"{NAMES[metric]}: {'; '.join(counts) or 'none'}")
    return f"Censored (never set in): {'. '.join(parts)}."
