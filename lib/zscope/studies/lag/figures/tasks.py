"""The four tasks: z disambiguates, z is redundant, or there is no z."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import marks, style
from zscope.studies.lag.figures.lookups import METRIC_COLOURS, NAMES, SweepView, drawn_from
from zscope.studies.lag.tables import CURVES, METRICS, RUNS

NEEDS = (RUNS, CURVES, METRICS)
SWEEP = "tasks"

TITLES = {
    "bz_to_a": "(B, z) to A\nz disambiguates",
    "az_to_b": "(A, z) to B\nz is redundant",
    "b_to_a": "B to A\nno z, ambiguous",
    "a_to_b": "A to B\nno z, deterministic",
}


@drawn_from(SweepView)
def draw(sweep: SweepView) -> Figure:
    labels = sweep.labels
    names = sweep.facts("task")
    fig = style.figure(style.DOUBLE, 4.1)
    axes = fig.subplots(2, len(labels), squeeze=False, sharey="row")
    for (loss, gap), label, task in zip(axes.T, labels, names, strict=True):
        title = TITLES[task] if names.count(task) == 1 else f"{TITLES[task]}\n{label}"
        style.panel_title(loss, title)
        _loss(loss, sweep, label, uniform="uniform" if label == labels[-1] else "")
        _gap(gap, sweep, label)
    for ax in axes[:, 1:].flat:
        ax.set_ylabel("")
    # Once all curves of a row are drawn, which share its axis.
    style.at_least(axes[0, 0], -0.1, 0)
    style.at_least(axes[1, 0], -0.05, 1.05)
    style.legend(fig, {NAMES[m]: METRIC_COLOURS[m] for m in ("first_loss", "z_gap")})
    style.note(
        fig,
        sweep.seeds,
        sweep.lines,
        sweep.examples,
        "log K: the lowest first-token loss without reading z (0 if a source has one target).",
    )
    return fig


def _loss(ax: Axes, sweep: SweepView, label: str, *, uniform: str) -> None:
    frame = sweep.curve(label, "first_loss")
    marks.seed_lines(ax, frame, METRIC_COLOURS["first_loss"])
    floor = float(sweep.fact(label, "log_k"))
    style.baseline(ax, floor, "log K" if floor else "0")
    style.baseline(ax, sweep.fact(label, "uniform_first_loss"), uniform)
    style.step_axis(ax, frame["step"], "steps")
    ax.set_ylabel("first-token loss (nats)")


def _gap(ax: Axes, sweep: SweepView, label: str) -> None:
    frame = sweep.curve(label, "z_gap")
    if frame.empty:
        why = "there is no other z" if sweep.fact(label, "has_z") else "the task has no z"
        style.not_applicable(ax, why)
        return
    marks.seed_lines(ax, frame, METRIC_COLOURS["z_gap"])
    style.baseline(ax, 0.0, "z not\nused")
    style.step_axis(ax, frame["step"], "steps")
    ax.set_ylabel("z gap (nats)")
