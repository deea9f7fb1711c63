"""One condition: the logit lens at every stage of the residual stream, over training."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from zscope.figures import marks, style
from zscope.figures.frames import select
from zscope.studies.lag.figures.lookups import (
    ConditionView,
    blocks,
    count_examples,
    drawn_from,
)
from zscope.studies.lag.tables import CONDITION_RUNS, PROBE

NEEDS = (PROBE, CONDITION_RUNS)
PROBES = ("logit_lens",)
PLACES = {"resid_pre": "input", "resid_mid": "attention", "resid_post": "MLP"}
PANELS = (
    ("accuracy", "accuracy (share)"),
    ("rank", "rank of the right token"),
    ("set_mass", "set mass (share)"),
)


@drawn_from(ConditionView)
def draw(condition: ConditionView) -> Figure:
    rows = condition.probe("logit_lens")
    if rows.empty:
        why = "the config does not ask for probe logit_lens"
        return style.nothing_to_draw(why, condition.seeds)
    stages = residual_stages(rows)
    fig = style.figure(style.DOUBLE, 4.4 + 0.1 * len(stages))
    upper, lower = style.stacked(fig, 1.4 + 0.1 * len(stages), 2)
    _heat_map(upper.subplots(), rows, stages)
    colours = style.gradient(len(stages))
    for ax, (metric, _) in zip(lower.subplots(1, 3), PANELS, strict=True):
        for (layer, place, _), colour in zip(stages, colours, strict=True):
            marks.seed_lines(ax, _at(rows, metric, layer, place), colour)
        _baselines(ax, metric, condition)
        style.step_axis(ax, rows["step"])
    style.legend(fig, {n: c for (*_, n), c in zip(stages, colours, strict=True)})
    style.note(
        fig,
        condition.seeds,
        "Above: median over seeds.",
        condition.lines,
        count_examples(rows),
        "Uniform: a uniform guess of the first character; 1/K: a guess among the targets of B.",
    )
    return fig


def residual_stages(rows: pd.DataFrame) -> list[tuple[int, str, str]]:
    """(layer, place, name) in the order of the computation. The input of a later block is left out
    where the output of the block before, which is the same, is shown."""
    found = {(i, p) for p in PLACES for i in blocks(select(rows, metric=f"probability_{p}"))}
    return [
        (i, p, "embedding" if (i, p) == (0, "resid_pre") else f"{i} {PLACES[p]}")
        for i in sorted({i for i, _ in found})
        for p in PLACES
        if (i, p) in found and not (p == "resid_pre" and (i - 1, "resid_post") in found)
    ]


def _at(rows: pd.DataFrame, metric: str, layer: int, place: str) -> pd.DataFrame:
    return select(rows, metric=f"{metric}_{place}", layer=layer)


def _heat_map(ax: Axes, rows: pd.DataFrame, stages: list[tuple[int, str, str]]) -> None:
    table = pd.DataFrame(
        {
            name: _at(rows, "probability", layer, place).groupby("step")["value"].median()
            for layer, place, name in stages
        }
    )
    steps = table.index.to_numpy(float)
    edges = np.concatenate([[0.0], (steps[1:] + steps[:-1]) / 2, [steps[-1]]])
    mesh = ax.pcolormesh(edges, np.arange(len(stages) + 1), table.to_numpy().T, vmin=0, vmax=1)
    ax.set_yticks(np.arange(len(stages)) + 0.5, [name for *_, name in stages])
    ax.set_ylabel("residual stream after")
    style.step_axis(ax, steps)
    ax.set_xlim(0, steps[-1])
    bar = ax.figure.colorbar(mesh, ax=ax, pad=0.01, aspect=14)
    bar.set_label("probability of\nthe right token")
    bar.outline.set_visible(False)


def _baselines(ax: Axes, metric: str, condition: ConditionView) -> None:
    label = dict(PANELS)[metric]
    if metric == "rank":
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda rank, _: style.short_number(rank)))
        ax.yaxis.set_minor_locator(NullLocator())
        ax.set_ylabel(f"{label} (lower is better)")
        return
    if metric == "accuracy":
        style.baseline(ax, math.exp(-condition.fact("uniform_first_loss")), "uniform", above=False)
        if condition.fact("n_candidates") > 1:
            style.baseline(ax, 1 / condition.fact("n_candidates"), "1/K")
    else:
        style.baseline(ax, condition.fact("chance_set_mass"), "chance")
    style.share_axis(ax, label)
