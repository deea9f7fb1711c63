"""Onsets against what a sweep varies: the part that several figures of a sweep share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from zscope.figures import style
from zscope.figures.lag.data import UNITS, SweepTables


def onsets_over(
    ax: Axes, tables: SweepTables, labels: Sequence[str], metrics: Sequence[str], *,
    unit: str = "steps", ylabel: str = "", x: Sequence[float] | None = None,
    colours: Sequence[object] | None = None,
) -> None:
    """Time on y, the points of a sweep on x: seeds as dots, medians with intervals.

    x: place of every label (default: 0, 1, ...); on a logarithmic axis, set before the call, the
    metrics and seeds stand side by side by a factor. colours: one a label (default: by metric).
    """
    places = np.asarray(x if x is not None else np.arange(len(labels)), dtype=float)
    log = ax.get_xscale() == "log"
    moved = (lambda at, by: at * 2.0**by) if log else (lambda at, by: at + by)
    width = 0.62 / len(metrics)
    seen: list[float] = []
    drawn = False
    for j, metric in enumerate(metrics):
        centre = (j - (len(metrics) - 1) / 2) * width
        for i, (label, place) in enumerate(zip(labels, places, strict=True)):
            onsets = tables.onset(label, metric, unit)
            if onsets.empty:
                continue
            drawn = True
            colour = colours[i] if colours else style.METRIC_COLOURS[metric]
            offsets = centre + style.spread(len(onsets), 0.5 * width)
            style.onset_dots(
                ax, moved(place, offsets), onsets["time"], onsets["limit"], colour, name=metric
            )
            limit = float(onsets["limit"].max())
            middle, low, high = tables.median(label, metric, unit)
            ends = (moved(place, centre - 0.4 * width), moved(place, centre + 0.4 * width))
            style.median_mark(
                ax, moved(place, centre), middle, low, high, limit, colour, half_width=ends
            )
            seen += [v for v in (*onsets["time"], *onsets["limit"], high) if np.isfinite(v)]
    if not drawn:
        style.not_applicable(ax, f"no run of the sweep has {' or '.join(metrics)}")
        return
    style.time_axis_y(ax, seen, ylabel or UNITS[unit])
    if not log:
        ax.set_xlim(places.min() - 0.6, places.max() + 0.6)


def count_censored_sweep(tables: SweepTables, labels: Sequence[str], metric: str) -> str:
    """How many seeds of every point never had the onset, in words."""
    counts = []
    for label in labels:
        onsets = tables.onset(label, metric)
        if onsets["time"].isna().any():
            counts.append(f"{int(onsets['time'].isna().sum())} of {len(onsets)} at {label}")
    name = metric.replace("_", " ")
    return f"Censored ({name} never set in): {'; '.join(counts) or 'none'}."
