"""A sweep: how the right target fares among the targets of its B, over training."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import marks, style
from zscope.studies.lag.figures.lookups import NAMES, SweepTables

METRICS = ("candidate_loss", "candidate_accuracy", "candidate_top3", "set_mass")


@style.styled
def draw(tables: SweepTables) -> Figure:
    labels = tables.labels
    fig = style.figure(style.DOUBLE, 1.35 * len(labels) + 0.7)
    axes = fig.subplots(len(labels), len(METRICS), squeeze=False)
    for row, label in zip(axes, labels, strict=True):
        for ax, metric in zip(row, METRICS, strict=True):
            _panel(ax, tables, label, metric)
        style.panel_title(row[0], label)
    style.legend(fig, {NAMES[m]: style.METRIC_COLOURS[m] for m in METRICS})
    style.note(
        fig,
        tables.seeds(),
        style.LINES,
        "Dashed: "
        "log K and 1/K (3/K for top-3), a guess among the K targets of B; and the set mass of a "
        "uniform guess of the first character.",
    )
    return fig


def _panel(ax: Axes, tables: SweepTables, label: str, metric: str) -> None:
    frame = tables.curve(label, metric)
    if frame.empty:
        style.not_applicable(ax, "a source has one target")
        return
    marks.seed_lines(ax, frame, style.METRIC_COLOURS[metric])
    k = tables.fact(label, "n_candidates")
    if metric == "candidate_loss":
        style.baseline(ax, tables.fact(label, "log_k"), "log K")
        ax.set_ylim(0, 1.15 * max(frame["value"].max(), tables.fact(label, "log_k")))
        ax.set_ylabel("loss (nats)")
    else:
        level, name = {
            "candidate_accuracy": (1 / k, "1/K"),
            "candidate_top3": (min(3 / k, 1), "3/K" if k > 3 else "all K"),
            "set_mass": (tables.fact(label, "chance_set_mass"), "chance"),
        }[metric]
        style.baseline(ax, level, name)
        style.share_axis(
            ax,
            {"candidate_accuracy": "accuracy", "candidate_top3": "top-3", "set_mass": "set mass"}[
                metric
            ]
            + " (share)",
        )
    style.step_axis(ax, frame["step"], "steps")
