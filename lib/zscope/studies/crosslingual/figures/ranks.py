"""Do heads collapse to a common rank? Effective rank of every head's kernel, four definitions."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import marks, style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.crosslingual.figures import model_marks
from zscope.studies.crosslingual.figures.lookups import count, draws_of, layers_of, of_cell
from zscope.studies.crosslingual.tables import WEIGHTS

NEEDS = (WEIGHTS,)

RANKS = {
    "entropy_rank": "entropy rank",
    "energy_rank": "energy rank",
    "participation_ratio": "participation ratio",
    "stable_rank": "stable rank",
}
PROTOCOL_CV = 0.08


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get(WEIGHTS, **of_cell(tables, "kind"))
    rows = rows[rows["metric"].isin([*RANKS, *(f"{r}_cv" for r in RANKS)])]
    if rows.empty:
        return style.nothing_to_draw("no rank was measured", count(tables))
    layers = layers_of(rows)
    fig = style.figure(style.DOUBLE, 4.4)
    axes = fig.subplots(2, len(RANKS), sharex=True, height_ratios=(1.4, 1))
    for (above, below), (metric, name), letter in zip(axes.T, RANKS.items(), "abcd", strict=True):
        style.panel_title(above, f"{letter}  {name}")
        _ranks(above, select(rows, metric=metric))
        _spread(below, select(rows, metric=f"{metric}_cv"), named=metric == "stable_rank")
        model_marks.layer_axis(below, layers)
    axes[0, 0].set_ylabel("effective rank (dimensions)")
    axes[1, 0].set_ylabel("coefficient of\nvariation over heads")
    heads = rows["head"].nunique()
    style.legend(
        fig,
        {"all heads stacked": style.BLUE, "variation over heads": style.PURPLE},
        extra=[
            style.dot("a head", style.SKY),
            model_marks.null_patch("null of a head: Gaussian weights"),
        ],
    )
    style.note(
        fig,
        count(tables),
        f"{heads} heads per layer. Kernel {tables.declared['kind']}. Grey: heads of Gaussian "
        f"random weights of the same shapes, {draws_of(rows)}, {tables.percent}, dotted: their "
        "mean; blue: all heads of those, stacked.",
        model_marks.lines_note(tables, intervals=False),
    )
    return fig


def _ranks(ax: Axes, rows: pd.DataFrame) -> None:
    if rows.empty:
        style.not_applicable(ax, "not measured")
        return
    heads, stacked = rows[rows["head"].notna()], rows[rows["head"].isna()]
    model_marks.null_band(ax, heads, style.GREY, "heads")
    model_marks.null_band(ax, stacked, style.BLUE, "stacked")
    models = list(dict.fromkeys(heads["model"]))
    for model, offset in zip(models, marks.spread(len(models), 0.3), strict=True):
        of = select(heads, model=model)
        ax.scatter(
            numbers(of["layer"]) + offset,
            numbers(of["value"]),
            s=5,
            color=style.SKY,
            linewidths=0,
            alpha=0.8,
            zorder=2,
            label=f"_heads {model}",
        )
    model_marks.model_lines(ax, stacked, style.BLUE)
    ax.set_ylim(bottom=0)


def _spread(ax: Axes, rows: pd.DataFrame, *, named: bool) -> None:
    if rows.empty:
        style.not_applicable(ax, "not measured")
        return
    model_marks.null_band(ax, rows, style.GREY, "variation")
    model_marks.model_lines(ax, rows, style.PURPLE)
    style.baseline(ax, PROTOCOL_CV, "protocol:\n< 0.08" if named else "")
    ax.set_ylim(bottom=0)
