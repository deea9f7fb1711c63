"""The four tasks: where z disambiguates, where it is redundant, and where there is none."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import marks, style
from zscope.studies.lag.figures.lookups import SweepTables

TITLES = {
    "bz_to_a": "(B, z) to A\nz disambiguates",
    "az_to_b": "(A, z) to B\nz is redundant",
    "b_to_a": "B to A\nno z, ambiguous",
    "a_to_b": "A to B\nno z, deterministic",
}


@style.styled
def draw(tables: SweepTables) -> Figure:
    labels = tables.labels
    names = [tables.fact(v, "task") for v in labels]
    fig = style.figure(style.DOUBLE, 4.1)
    axes = fig.subplots(2, len(labels), squeeze=False, sharey="row")
    for (loss, gap), label, task in zip(axes.T, labels, names, strict=True):
        title = TITLES[task] if names.count(task) == 1 else f"{TITLES[task]}\n{label}"
        style.panel_title(loss, title)
        _loss(loss, tables, label, uniform="uniform" if label == labels[-1] else "")
        _gap(gap, tables, label)
    for ax in axes[:, 1:].flat:
        ax.set_ylabel("")
    style.legend(
        fig,
        {
            "first-token loss": style.METRIC_COLOURS["first_loss"],
            "z gap": style.METRIC_COLOURS["z_gap"],
        },
    )
    style.note(
        fig,
        tables.seeds(),
        style.LINES,
        "log K: the "
        "floor of the first-token loss when z is not read (0 where a source has one target).",
    )
    return fig


def _loss(ax: Axes, tables: SweepTables, label: str, *, uniform: str) -> None:
    frame = tables.curve(label, "first_loss")
    marks.seed_lines(ax, frame, style.METRIC_COLOURS["first_loss"])
    floor = float(tables.fact(label, "log_k"))
    style.baseline(ax, floor, "log K" if floor else "0")
    style.baseline(ax, tables.fact(label, "uniform_first_loss"), uniform)
    style.step_axis(ax, frame["step"], "steps")
    ax.set_ylim(bottom=-0.1)
    ax.set_ylabel("first-token loss (nats)")


def _gap(ax: Axes, tables: SweepTables, label: str) -> None:
    frame = tables.curve(label, "z_gap")
    if frame.empty:
        why = "there is no other z" if tables.fact(label, "has_z") else "the task has no z"
        style.not_applicable(ax, why)
        return
    marks.seed_lines(ax, frame, style.METRIC_COLOURS["z_gap"])
    style.baseline(ax, 0.0, "z not\nused")
    style.at_least(ax, -0.05, 1.05)
    style.step_axis(ax, frame["step"], "steps")
    ax.set_ylabel("z gap (nats)")
