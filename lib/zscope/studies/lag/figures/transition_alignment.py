"""Do all metrics set in at the same time? Every onset of a run, relative to that of its z gap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from zscope.figures import marks, style
from zscope.figures.frames import numbers, select
from zscope.studies.lag.figures.lookups import NAMES, SweepView, drawn_from
from zscope.studies.lag.tables import ALIGNMENT, ONSETS, RUNS

NEEDS = (RUNS, ONSETS, ALIGNMENT)
SWEEP = "z_order_sweep"


@drawn_from(SweepView)
def draw(sweep: SweepView) -> Figure:
    medians = sweep.tables.get(ALIGNMENT).sort_values(["median", "source", "metric"])
    if medians.empty:
        why = "no run has an onset of the z gap to compare with"
        return style.nothing_to_draw(why, sweep.seeds)
    onsets = sweep.tables.get(ONSETS)
    fig = style.figure(style.DOUBLE, 0.38 * len(medians) + 1.6)
    ax = fig.subplots()
    colours = dict(zip(sweep.labels, style.gradient(len(sweep.labels)), strict=True))
    records: list[Any] = medians.to_dict("records")
    for y, row in enumerate(records):
        here = select(onsets, source=row["source"], metric=row["metric"])
        times, limits = (numbers(here[c]) for c in ("after_z_gap", "last_after_z_gap"))
        heights = y + marks.spread(len(here), 0.5)
        for label, colour in colours.items():
            kept = (here["label"] == label).to_numpy()
            marks.onset_dots(
                ax,
                heights[kept],
                times[kept],
                limits[kept],
                colour,
                name=row["metric"],
                horizontal=True,
            )
        middle, low, high = (row[c] for c in ("median", "ci_low", "ci_high"))
        limit = float(limits.max())
        ends = (y - 0.36, y + 0.36)
        marks.median_mark(ax, *ends, middle, low, high, limit, style.BLACK, horizontal=True)
    style.vertical(ax, 0)
    seen = numbers(onsets["after_z_gap"].fillna(onsets["last_after_z_gap"]))
    style.step_axis(ax, seen, "onset - onset of the z gap\n(optimizer steps; dashed: together)")
    ax.set_yticks(range(len(records)), [_name(row) for row in records])
    ax.set_ylim(-0.7, len(records) - 0.3)
    ax.invert_yaxis()
    ax.set_ylabel("metric, earliest first")
    style.legend(fig, colours, extra=[style.arrow("censored", ">")])
    style.note(
        fig,
        sweep.seeds,
        f"Black: median over runs and its order-statistic interval ({sweep.tables.percent} or "
        "more, or the range of the runs if they are too few for that); an end with an arrow lies "
        "beyond the last step. Training metrics are timed by evaluations, probes by checkpoints, "
        "which lie further apart.",
        "Attention is counted from the largest head of untrained weights.",
        f"Left out: {medians['n_left_out'].max()} runs whose z gap never set in.",
    )
    return fig


def _name(row: Mapping[str, Any]) -> str:
    """The metric, its source if it is a probe, and how many of its runs are censored."""
    source, metric = row["source"], row["metric"]
    name = NAMES.get(metric, metric.replace("_", " "))
    name = name if source == "training" else f"{source.replace('_', ' ')}: {name} (probe)"
    return f"{name}\n{row['n_censored']} of {row['n']} censored"
