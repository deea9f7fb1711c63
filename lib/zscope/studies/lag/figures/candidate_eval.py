"""The right target among the targets of its B, over training, at every point of a sweep."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import marks, style
from zscope.studies.lag.figures.lookups import METRIC_COLOURS, NAMES, SweepView, drawn_from
from zscope.studies.lag.tables import CURVES, METRICS, RUNS

NEEDS = (RUNS, CURVES, METRICS)
SWEEP = "k_sweep"

SHOWN = ("candidate_loss", "candidate_accuracy", "candidate_top3", "set_mass")


@drawn_from(SweepView)
def draw(sweep: SweepView) -> Figure:
    labels = sweep.labels
    fig = style.figure(style.DOUBLE, 1.35 * len(labels) + 0.7)
    axes = fig.subplots(len(labels), len(SHOWN), squeeze=False)
    for row, label in zip(axes, labels, strict=True):
        for ax, metric in zip(row, SHOWN, strict=True):
            _panel(ax, sweep, label, metric)
        style.panel_title(row[0], label)
    style.legend(fig, {NAMES[m]: METRIC_COLOURS[m] for m in SHOWN})
    style.note(
        fig,
        sweep.seeds,
        sweep.lines,
        sweep.examples,
        "Dashed: log K and 1/K (3/K for top-3), a guess among the K targets of B; and the set mass "
        "of a uniform guess of the first character.",
    )
    return fig


def _panel(ax: Axes, sweep: SweepView, label: str, metric: str) -> None:
    frame = sweep.curve(label, metric)
    if frame.empty:
        style.not_applicable(ax, "a source has one target")
        return
    marks.seed_lines(ax, frame, METRIC_COLOURS[metric])
    k = sweep.fact(label, "n_candidates")
    if metric == "candidate_loss":
        style.baseline(ax, sweep.fact(label, "log_k"), "log K")
        ax.set_ylim(0, 1.15 * max(frame["value"].max(), sweep.fact(label, "log_k")))
        ax.set_ylabel("loss (nats)")
    else:
        level, name, what = {
            "candidate_accuracy": (1 / k, "1/K", "accuracy"),
            "candidate_top3": (min(3 / k, 1), "3/K" if k > 3 else "all K", "top-3"),
            "set_mass": (sweep.fact(label, "chance_set_mass"), "chance", "set mass"),
        }[metric]
        style.baseline(ax, level, name)
        style.share_axis(ax, f"{what} (share)")
    style.step_axis(ax, frame["step"], "steps")
