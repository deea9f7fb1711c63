"""The headline: the same facts and the same K, with a z that is harder and harder to decode."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import marks, style
from zscope.studies.lag.figures.lookups import NAMES, SweepTables
from zscope.studies.lag.figures.onset_plots import count_censored_sweep, onsets_over

CURVES = ("set_mass", "candidate_loss", "z_gap")
UNITS = {
    "set_mass": "set mass\n(share)",
    "candidate_loss": "candidate loss\n(nats)",
    "z_gap": "z gap\n(nats)",
}


@style.styled
def draw(tables: SweepTables) -> Figure:
    labels = sorted(tables.labels, key=lambda label: tables.fact(label, "z_order"))
    fig = style.figure(style.DOUBLE, 6.6)
    upper, lower = style.stacked(fig, 3.3, 2.2)
    axes = upper.subplots(3, len(labels), squeeze=False, sharey="row", sharex=True)
    for column, label in zip(axes.T, labels, strict=True):
        for ax, metric in zip(column, CURVES, strict=True):
            _curves(ax, tables, label, metric, named=label == labels[-1])
        style.panel_title(column[0], f"z order {tables.fact(label, 'z_order')}")
        column[-1].set_xlabel("steps")
    for ax, metric in zip(axes[:, 0], CURVES, strict=True):
        ax.set_ylabel(UNITS[metric])
    onset, lag = lower.subplots(1, 2)
    style.panel_title(onset, "onset of every seed")
    onsets_over(onset, tables, labels, ("set_mass", "z_gap"), ylabel="onset (optimizer steps)")
    style.panel_title(lag, "lag = onset of z gap - onset of set mass")
    onsets_over(lag, tables, labels, ("lag",), ylabel="lag (optimizer steps)")
    for ax in (onset, lag):
        _orders(ax, tables, labels)
    style.legend(
        fig,
        {NAMES.get(m, m): style.METRIC_COLOURS[m] for m in (*CURVES, "lag")},
        extra=[style.dot("a seed's onset"), style.arrow()],
        columns=6,
    )
    style.note(
        fig,
        tables.seeds(),
        "Order of z: how many of its characters decide a bit of the target's index.",
        style.LINES,
        "Bars: "
        "Kaplan-Meier median and bootstrap interval over seeds; an end with an arrow lies beyond "
        "the last step, and so does a median without a bar.",
        count_censored_sweep(tables, labels, "z_gap"),
    )
    return fig


def _curves(ax: Axes, tables: SweepTables, label: str, metric: str, *, named: bool) -> None:
    frame = tables.curve(label, metric)
    if frame.empty:
        style.not_applicable(ax, "the task has no z, or one target")
        return
    marks.seed_lines(ax, frame, style.METRIC_COLOURS[metric])
    level, name = {
        "set_mass": (tables.fact(label, "chance_set_mass"), "chance"),
        "candidate_loss": (tables.fact(label, "log_k"), "log K"),
        "z_gap": (0.0, "z ignored"),
    }[metric]
    style.baseline(ax, level, name if named else "")
    style.step_axis(ax, frame["step"], "")
    style.at_least(ax, -0.03, {"candidate_loss": 1.1 * level}.get(metric, 1.05))


def _orders(ax: Axes, tables: SweepTables, labels: list[str]) -> None:
    orders = [tables.fact(label, "z_order") for label in labels]
    ticks = orders if len(set(orders)) == len(orders) else labels
    ax.set_xticks(np.arange(len(labels)), [str(t) for t in ticks])
    ax.set_xlabel("order of z (characters)")
