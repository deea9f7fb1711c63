"""Slow without a plateau: two linear models beside the transformer's candidate loss."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import marks, style
from zscope.figures.frames import select
from zscope.studies.lag.figures.lookups import SweepTables, count_seeds

TITLES = {
    "ill_conditioned_regression": "a  ill-conditioned regression",
    "planted_selector": "b  planted linear selector",
}
DECADES = 4  # shown below the largest loss, in every panel: equal slopes mean equal decay a panel
SELECTOR = ("B alone removes it", "needs z")


@style.styled
def draw(tables: SweepTables) -> Figure:
    fig = style.figure(style.DOUBLE, 3.3)
    *linear, transformer = fig.subplots(1, 3)
    for ax, (task, title) in zip(linear, TITLES.items(), strict=True):
        style.panel_title(ax, title)
        _linear(ax, task, select(_linear_table(tables), task=task))
    style.panel_title(transformer, "c  transformer")
    n_conditions = _transformer(transformer, tables)
    for ax in fig.axes:
        if ax.axison:
            ax.set_yscale("log")
            top = ax.dataLim.y1
            ax.set_ylim(top * 10.0**-DECADES, top * 1.5)
            ax.set_xlim(left=0)
            ax.set_xlabel("steps (linear axis)")
            ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=1)
    seeds = select(_linear_table(tables), series="total").groupby("task")["seed"].nunique()
    style.note(
        fig,
        f"a, b: {count_seeds(seeds)}" if len(seeds) else "",
        f"c: {tables.seeds()}" if n_conditions else "",
        style.LINES,
        "With these axes a straight line from step 0 is "
        "exponential decay; a level stretch before a fall is a plateau. "
        f"Every panel ends {DECADES} decades below its largest loss.",
    )
    return fig


def _linear_table(tables: SweepTables) -> pd.DataFrame:
    if tables.linear is None:
        raise ValueError("linear_contrast needs the lag_linear table")
    return tables.linear


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


def _transformer(ax: Axes, tables: SweepTables) -> int:
    """Draws the panel; returns how many conditions it shows."""
    shown = {v: tables.curve(v, "candidate_loss") for v in tables.labels}
    shown = {v: frame for v, frame in shown.items() if len(frame)}
    if not shown:
        style.not_applicable(ax, "no run of the sweep has several targets of one source")
        return 0
    for (label, frame), colour in zip(shown.items(), style.gradient(len(shown)), strict=True):
        marks.seed_lines(ax, frame, colour)
        ax.plot([], [], color=colour, linewidth=1.8, label=label)
    for level in sorted({float(tables.fact(v, "log_k")) for v in shown}):
        style.baseline(ax, level, "log K")
    ax.set_ylabel("candidate loss (nats)")
    return len(shown)
