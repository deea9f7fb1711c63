"""Do all metrics turn at the same time? Every onset of a run, relative to that of its z gap."""

from __future__ import annotations

from math import comb

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from zscope.figures import marks, style
from zscope.figures.frames import numbers, select
from zscope.studies.lag.figures.lookups import NAMES, SweepTables


@style.styled
def draw(tables: SweepTables) -> Figure:
    found, left_out = relative_onsets(tables)
    if found.empty:
        why = "no run has an onset of the z gap to compare with"
        return style.nothing_to_draw(why, tables.seeds())
    rows = {str(name): of_row for name, of_row in found.groupby("row")}
    order = sorted(rows, key=lambda name: (median_interval(rows[name]["time"])[0], name))
    fig = style.figure(style.DOUBLE, 0.33 * len(order) + 1.5)
    ax = fig.subplots()
    colours = dict(zip(tables.labels, style.gradient(len(tables.labels)), strict=True))
    for y, name in enumerate(order):
        of_row = rows[name]
        heights = y + marks.spread(len(of_row), 0.5)
        for label, colour in colours.items():
            here = (of_row["label"] == label).to_numpy()
            marks.onset_dots(
                ax,
                heights[here],
                of_row["time"][here],
                of_row["limit"][here],
                colour,
                name=name,
                horizontal=True,
            )
        middle, low, high = (
            v if np.isfinite(v) else np.nan for v in median_interval(of_row["time"])
        )
        marks.median_mark(
            ax,
            y - 0.36,
            y + 0.36,
            middle,
            low,
            high,
            float(of_row["limit"].max()),
            style.BLACK,
            horizontal=True,
        )
    ax.axvline(0, color=style.GREY, linestyle=(0, (4, 2)), linewidth=0.8, label="_baseline")
    seen = np.concatenate([numbers(found["time"]), numbers(found["limit"][found["time"].isna()])])
    style.step_axis(ax, seen, "onset - onset of the z gap (optimizer steps; dashed: together)")
    ax.set_yticks(range(len(order)), order)
    ax.set_ylim(-0.7, len(order) - 0.3)
    ax.invert_yaxis()
    ax.set_ylabel("metric, earliest first")
    style.legend(fig, colours, extra=[style.arrow("censored", ">")])
    style.note(
        fig,
        tables.seeds(),
        "Black: median over runs and its order-statistic interval (at least "
        "90 %; the range below 6 runs); an end with an arrow lies beyond the last step. Training "
        "metrics are timed by evaluations, probes by checkpoints, which lie further apart.",
        f"Left out: {left_out} runs whose z gap never set in.",
    )
    return fig


def relative_onsets(tables: SweepTables) -> tuple[pd.DataFrame, int]:
    """A row a (run, metric): row name, label, time and limit from the onset of the run's z gap.

    Also the number of runs without that onset, which are left out.
    """
    reference = select(tables.onsets, source="training", metric="z_gap")
    steps = reference.set_index(["run", "label"])["onset_step"].astype("Float64")
    others = tables.onsets[~tables.onsets["metric"].isin(["lag"])]
    others = others[~((others["metric"] == "z_gap") & (others["source"] == "training"))]
    start = steps.reindex(pd.MultiIndex.from_frame(others[["run", "label"]]))
    frame = pd.DataFrame(
        {
            "row": [
                _row_name(s, m) for s, m in zip(others["source"], others["metric"], strict=True)
            ],
            "label": others["label"].to_numpy(),
            "time": numbers(others["onset_step"]) - numbers(start),
            "limit": numbers(others["last_step"]) - numbers(start),
        }
    )
    return frame[frame["limit"].notna()].reset_index(drop=True), int(steps.isna().sum())


def _row_name(source: str, metric: str) -> str:
    name = NAMES.get(metric, metric.replace("_", " "))
    return name if source == "training" else f"{source.replace('_', ' ')}: {name} (probe)"


def median_interval(times: pd.Series, coverage: float = 0.9) -> tuple[float, float, float]:
    """Median and distribution-free interval of it; inf lies beyond the last step (NaN: censored).

    The interval runs from the r-th smallest to the r-th largest, with the largest r for which the
    binomial coverage 1 - 2 P(Bin(n, 1/2) < r) is at least `coverage`, else the range (David and
    Nagaraja 2003, sec. 7.1).
    """
    ordered = np.sort(np.where(np.isnan(numbers(times)), np.inf, numbers(times)))
    n = len(ordered)
    r = 1
    while 1 - 2 * sum(comb(n, i) for i in range(r + 1)) / 2**n >= coverage:
        r += 1
    return (
        float(
            ordered[(n - 1) // 2]
            if n % 2 or not np.isfinite(ordered[n // 2])
            else np.mean(ordered[n // 2 - 1 : n // 2 + 1])
        ),
        float(ordered[r - 1]),
        float(ordered[n - r]),
    )
