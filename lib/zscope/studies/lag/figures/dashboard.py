"""One condition at a glance: losses, knowing B, attention to z, and use of z, over training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import marks, style
from zscope.figures.frames import select
from zscope.studies.lag.figures.lookups import (
    ConditionTables,
    blocks,
    constant,
    count_censored,
    largest_head,
)

MARKS = ("set_mass", "z_gap")


@style.styled
def draw(tables: ConditionTables) -> Figure:
    fig = style.figure(style.DOUBLE, 5.6)
    grids: Any = fig.subfigures(2, 2)
    (losses, shares), (attention, use) = grids
    layers = _attention(attention.subplots(), tables)
    _losses(losses.subplots(), tables)
    _shares(shares.subplots(), tables)
    gap, dependence = use.subplots(2, 1)
    _use(
        gap,
        tables,
        "d  loss added by another z",
        tables.metric("z_gap"),
        "z gap\n(nats)",
        tables.why_not(),
    )
    _use(
        dependence,
        tables,
        "",
        tables.probe("causal_patching", "z_dependence"),
        "z dependence\n(share)",
        tables.why_not("causal_patching"),
    )
    for ax in fig.axes:
        if ax.axison:
            style.step_axis(ax, tables.metrics["step"])
            _onsets(ax, tables)
    used = tables.onset("z_gap")
    shown = ("loss", "first_loss", "set_mass", "candidate_accuracy")
    style.legend(
        fig,
        {_name(m): style.METRIC_COLOURS[m] for m in shown if len(tables.metric(m))},
        extra=[
            *(
                style.line(f"onset of {_name(m)}", style.METRIC_COLOURS[m], linestyle=":")
                for m in MARKS
                if len(tables.onset(m))
            ),
            *(style.patch(n, c) for n, c in style.PHASE_COLOURS.items() if len(used)),
            *(style.line(f"c: layer {i}", c, linewidth=1.8) for i, c in layers.items()),
        ],
        columns=5,
    )
    censored = ", ".join(
        f"{_name(m)} in {count_censored(tables.onsets, m)}" for m in MARKS if len(tables.onset(m))
    )
    style.note(
        fig,
        tables.seeds(),
        style.LINES,
        f"Censored (never within training): {censored}." if censored else "",
        "Shading: phases of the seed with the median onset of the z gap." if len(used) else "",
    )
    return fig


def _name(metric: str) -> str:
    return metric.replace("_", " ").replace("first loss", "first-token loss")


def _losses(ax: Axes, tables: ConditionTables) -> None:
    style.panel_title(ax, "a  loss")
    for metric in ("loss", "first_loss"):
        marks.seed_lines(ax, tables.metric(metric), style.METRIC_COLOURS[metric])
    style.baseline(ax, tables.fact("uniform_first_loss"), "uniform\nguess")
    style.baseline(ax, tables.fact("log_k"), "log K" if tables.fact("log_k") else "log K = 0")
    ax.set_ylabel("loss (nats)")


def _shares(ax: Axes, tables: ConditionTables) -> None:
    style.panel_title(ax, "b  is B known?")
    for metric in ("set_mass", "candidate_accuracy"):
        marks.seed_lines(ax, tables.metric(metric), style.METRIC_COLOURS[metric])
    style.baseline(ax, tables.fact("chance_set_mass"), "chance\nset mass", above=False)
    if tables.fact("n_candidates") > 1:
        style.baseline(ax, 1 / tables.fact("n_candidates"), "1/K")
    style.share_axis(ax, "share")


def _attention(ax: Axes, tables: ConditionTables) -> dict[int, object]:
    """Draws the panel; returns the colours of the layers."""
    style.panel_title(ax, "c  attention to z")
    heads = tables.probe("attention_to_z", "attention")
    if heads.empty:
        style.not_applicable(ax, tables.why_not("attention_to_z"))
        return {}
    largest, layers = largest_head(heads), blocks(heads)
    colours = dict(zip(layers, style.gradient(len(layers)), strict=True))
    for layer, colour in colours.items():
        marks.seed_lines(ax, select(largest, layer=layer), colour)
    style.baseline(ax, constant(tables.probe("attention_to_z", "uniform_attention")), "uniform")
    style.share_axis(ax, "largest head of a layer (share)")
    return colours


def _use(
    ax: Axes, tables: ConditionTables, title: str, frame: pd.DataFrame, label: str, why: str
) -> None:
    style.panel_title(ax, title)
    if frame.empty:
        style.not_applicable(ax, why)
        return
    marks.seed_lines(ax, frame, style.METRIC_COLOURS["z_gap"])
    style.baseline(ax, 0, "z ignored")
    style.at_least(ax, -0.03, 1.05)
    ax.set_ylabel(label)


def _onsets(ax: Axes, tables: ConditionTables) -> None:
    """Every seed's onsets, and the phases of the seed in the middle (censored ones come last)."""
    for metric in MARKS:
        marks.onset_marks(ax, tables.onset(metric), style.METRIC_COLOURS[metric], metric)
    used, known = tables.onset("z_gap").fillna(np.inf), tables.onset("set_mass").fillna(np.inf)
    if used.empty or known.empty:
        return
    run = used.sort_values(kind="stable").index[(len(used) - 1) // 2]
    last = float(tables.metrics["step"].max())
    ends = [0.0, min(known[run], used[run], last), min(used[run], last), last]
    for left, right, colour in zip(ends, ends[1:], style.PHASE_COLOURS.values(), strict=False):
        if right > left:
            ax.axvspan(left, right, color=colour, linewidth=0, zorder=0, label="_phase")
