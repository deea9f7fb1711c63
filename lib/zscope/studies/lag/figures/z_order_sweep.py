"""The headline: the same facts and K, with z's that are harder and harder to decode."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import marks, style
from zscope.studies.lag.figures.lookups import METRIC_COLOURS, NAMES, SweepView, drawn_from
from zscope.studies.lag.figures.onset_plots import count_censored_sweep, onsets_over
from zscope.studies.lag.tables import CURVES, METRICS, ONSETS, RUNS, SUMMARY

NEEDS = (RUNS, CURVES, ONSETS, SUMMARY, METRICS)
SWEEP = "z_order_sweep"
SHOWN = ("set_mass", "candidate_loss", "z_gap")
UNITS = {
    "set_mass": "set mass\n(share)",
    "candidate_loss": "candidate loss\n(nats)",
    "z_gap": "z gap\n(nats)",
}


@drawn_from(SweepView)
def draw(sweep: SweepView) -> Figure:
    labels = sorted(sweep.labels, key=lambda label: sweep.fact(label, "z_order"))
    fig = style.figure(style.DOUBLE, 6.6)
    upper, lower = style.stacked(fig, 3.3, 2.2)
    axes = upper.subplots(3, len(labels), squeeze=False, sharey="row", sharex=True)
    for column, label in zip(axes.T, labels, strict=True):
        for ax, metric in zip(column, SHOWN, strict=True):
            _curves(ax, sweep, label, metric, named=label == labels[-1])
        style.panel_title(column[0], f"z order {sweep.fact(label, 'z_order')}")
        column[-1].set_xlabel("steps")
    for ax, metric in zip(axes[:, 0], SHOWN, strict=True):
        ax.set_ylabel(UNITS[metric])
        # Once all curves of the row are drawn, which share this axis.
        highest = 1.1 * max(sweep.facts("log_k")) if metric == "candidate_loss" else 1.05
        style.at_least(ax, -0.03, highest)
    onset, lag = lower.subplots(1, 2)
    style.panel_title(onset, "onset of every seed")
    onsets_over(onset, sweep, labels, ("set_mass", "z_gap"), ylabel="onset (optimizer steps)")
    style.panel_title(lag, "lag = onset of z gap - onset of set mass")
    onsets_over(lag, sweep, labels, ("lag",), ylabel="lag (optimizer steps)")
    for ax in (onset, lag):
        _orders(ax, sweep, labels)
    style.legend(
        fig,
        {NAMES[m]: METRIC_COLOURS[m] for m in (*SHOWN, "lag")},
        extra=[style.dot("a seed's onset"), style.arrow()],
        columns=6,
    )
    style.note(
        fig,
        sweep.seeds,
        "Order of z: the number of its characters that decide one bit of the target's index. "
        "log K: the lowest candidate loss without z.",
        sweep.lines,
        sweep.examples,
        sweep.bars,
        count_censored_sweep(sweep, labels, ("set_mass", "z_gap")),
    )
    return fig


def _curves(ax: Axes, sweep: SweepView, label: str, metric: str, *, named: bool) -> None:
    frame = sweep.curve(label, metric)
    if frame.empty:
        style.not_applicable(ax, "the task has no z, or one target")
        return
    marks.seed_lines(ax, frame, METRIC_COLOURS[metric])
    level, name = {
        "set_mass": (sweep.fact(label, "chance_set_mass"), "chance"),
        "candidate_loss": (sweep.fact(label, "log_k"), "log K"),
        "z_gap": (0.0, "z ignored"),
    }[metric]
    style.baseline(ax, level, name if named else "")
    style.step_axis(ax, frame["step"], "")


def _orders(ax: Axes, sweep: SweepView, labels: list[str]) -> None:
    orders = [sweep.fact(label, "z_order") for label in labels]
    ticks = orders if len(set(orders)) == len(orders) else labels
    ax.set_xticks(np.arange(len(labels)), [str(t) for t in ticks])
    ax.set_xlabel("order of z (characters)")
