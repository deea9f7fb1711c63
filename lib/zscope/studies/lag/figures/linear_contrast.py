"""Two linear models, slow but without a plateau, beside the transformer's candidate loss."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import marks, style
from zscope.figures.frames import count_seeds, select
from zscope.studies.lag.figures.lookups import SweepView, drawn_from
from zscope.studies.lag.tables import CURVES, LINEAR, METRICS, RUNS

NEEDS = (RUNS, CURVES, LINEAR, METRICS)
SWEEP = "z_order_sweep"

TITLES = {
    "ill_conditioned_regression": "a  ill-conditioned regression",
    "planted_selector": "b  planted linear selector",
}
DECADES = 4  # below the largest loss in every panel, so that slopes can be compared
SELECTOR = ("B alone removes it", "needs z")


@drawn_from(SweepView)
def draw(sweep: SweepView) -> Figure:
    fig = style.figure(style.DOUBLE, 3.3)
    *linear, transformer = fig.subplots(1, 3)
    for ax, (task, title) in zip(linear, TITLES.items(), strict=True):
        style.panel_title(ax, title)
        _linear(ax, task, sweep.tables.get(LINEAR, task=task))
    style.panel_title(transformer, "c  transformer")
    n_conditions = _transformer(transformer, sweep)
    for ax in fig.axes:
        if ax.axison:
            ax.set_yscale("log")
            top = ax.dataLim.y1
            ax.set_ylim(top * 10.0**-DECADES, top * 1.5)
            ax.set_xlim(left=0)
            ax.set_xlabel("steps (linear axis)")
            ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=1)
    seeds = sweep.tables.get(LINEAR, series="total").groupby("task")["seed"].nunique()
    style.note(
        fig,
        f"a, b: {count_seeds(*seeds)}" if len(seeds) else "",
        f"c: {sweep.seeds}" if n_conditions else "",
        sweep.lines,
        f"c: {sweep.examples}" if n_conditions else "",
        "On these axes exponential decay is a straight line from step 0, and a plateau is a level "
        f"stretch before a fall. Every panel ends {DECADES} decades below its largest loss.",
    )
    return fig


def _linear(ax: Axes, task: str, rows: pd.DataFrame) -> None:
    if rows.empty:
        style.not_applicable(ax, f"no {task} in the linear baselines")
        return
    rows = rows.assign(run=rows["seed"], ci_low=float("nan"), ci_high=float("nan"))
    parts = sorted(rows["component"].unique())
    colours = dict(zip(parts, [style.BLACK, *style.gradient(len(parts) - 1)], strict=True))
    for part, colour in colours.items():
        marks.seed_lines(ax, select(rows, component=part), colour)
        if part < 0:
            name = "total"
        else:
            name = SELECTOR[part] if task == "planted_selector" else f"singular direction {part}"
        ax.plot([], [], color=colour, linewidth=1.8, label=name)
    ax.set_ylabel("loss (squared error)")


def _transformer(ax: Axes, sweep: SweepView) -> int:
    """Draw the panel; return the number of conditions in it."""
    shown = {v: sweep.curve(v, "candidate_loss") for v in sweep.labels}
    shown = {v: frame for v, frame in shown.items() if len(frame)}
    if not shown:
        style.not_applicable(ax, "no run of the sweep has several targets of one source")
        return 0
    for (label, frame), colour in zip(shown.items(), style.gradient(len(shown)), strict=True):
        marks.seed_lines(ax, frame, colour)
        ax.plot([], [], color=colour, linewidth=1.8, label=label)
    for level in sorted({float(sweep.fact(v, "log_k")) for v in shown}):
        style.baseline(ax, level, "log K")
    ax.set_ylabel("candidate loss (nats)")
    return len(shown)
