"""One condition at a glance, over training: losses, knowing B, attention to z, and use of z."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import marks, style
from zscope.figures.frames import select
from zscope.studies.lag.figures.lookups import (
    METRIC_COLOURS,
    NAMES,
    PHASE_COLOURS,
    ConditionView,
    attention_onset,
    blocks,
    constant,
    count_censored,
    count_examples,
    drawn_from,
    largest_head,
)
from zscope.studies.lag.tables import CONDITION_ONSETS, CONDITION_RUNS, METRICS, PROBE
from zscope.studies.lag.untrained import largest_untrained_head

NEEDS = (PROBE, METRICS, CONDITION_RUNS, CONDITION_ONSETS)
PROBES = ("attention_to_z", "logit_lens", "causal_patching")
MARKS = ("set_mass", "z_gap")


@drawn_from(ConditionView)
def draw(condition: ConditionView) -> Figure:
    fig = style.figure(style.DOUBLE, 5.6)
    grids: Any = fig.subfigures(2, 2)
    (losses, shares), (attention, use) = grids
    layers = _attention(attention.subplots(), condition)
    _losses(losses.subplots(), condition)
    _shares(shares.subplots(), condition)
    gap, dependence = use.subplots(2, 1)
    style.panel_title(gap, "d  loss added by another z")
    _use(gap, condition.metric("z_gap"), "z gap\n(nats)", condition.why_not())
    shift = condition.probe("causal_patching", metric="z_dependence")
    _use(dependence, shift, "z dependence\n(share)", condition.why_not("causal_patching"))
    for ax in fig.axes:
        if ax.axison:
            style.step_axis(ax, condition.metric("loss")["step"])
            _onsets(ax, condition)
    onsets = {m: found for m in MARKS if len(found := condition.onset(m))}
    shown = ("loss", "first_loss", "set_mass", "candidate_accuracy")
    style.legend(
        fig,
        {NAMES[m]: METRIC_COLOURS[m] for m in shown if len(condition.metric(m))},
        extra=[
            *(style.line(f"onset of {NAMES[m]}", METRIC_COLOURS[m], linestyle=":") for m in onsets),
            *(style.patch(n, c) for n, c in PHASE_COLOURS.items() if "z_gap" in onsets),
            *(style.line(f"c: layer {i}", c, linewidth=1.8) for i, c in layers.items()),
        ],
        columns=5,
    )
    censored = ", ".join(f"{NAMES[m]} in {count_censored(o)}" for m, o in onsets.items())
    style.note(
        fig,
        condition.seeds,
        condition.lines,
        count_examples(condition.metric("loss"), "a, b, d above"),
        count_examples(condition.probe("attention_to_z", metric="attention"), "c"),
        count_examples(shift, "d below", of="pairs"),
        f"Censored (never within training): {censored}." if censored else "",
        "Shading: phases of the seed with the median onset of the z gap." * ("z_gap" in onsets),
        attention_onset(condition),
    )
    return fig


def _losses(ax: Axes, condition: ConditionView) -> None:
    style.panel_title(ax, "a  loss")
    for metric in ("loss", "first_loss"):
        marks.seed_lines(ax, condition.metric(metric), METRIC_COLOURS[metric])
    style.baseline(ax, condition.fact("uniform_first_loss"), "uniform\nguess")
    floor = condition.fact("log_k")
    style.baseline(ax, floor, "log K" if floor else "log K = 0")
    ax.set_ylabel("loss (nats)")


def _shares(ax: Axes, condition: ConditionView) -> None:
    style.panel_title(ax, "b  is B known?")
    for metric in ("set_mass", "candidate_accuracy"):
        marks.seed_lines(ax, condition.metric(metric), METRIC_COLOURS[metric])
    style.baseline(ax, condition.fact("chance_set_mass"), "chance\nset mass", above=False)
    if condition.fact("n_candidates") > 1:
        style.baseline(ax, 1 / condition.fact("n_candidates"), "1/K")
    style.share_axis(ax, "share")


def _attention(ax: Axes, condition: ConditionView) -> dict[int, object]:
    """Draw the panel; return the colours of the layers."""
    style.panel_title(ax, "c  attention to z")
    heads = condition.probe("attention_to_z", metric="attention")
    if heads.empty:
        style.not_applicable(ax, condition.why_not("attention_to_z"))
        return {}
    largest, layers = largest_head(heads), blocks(heads)
    colours = dict(zip(layers, style.gradient(len(layers)), strict=True))
    for layer, colour in colours.items():
        marks.seed_lines(ax, select(largest, layer=layer), colour)
    uniform = condition.probe("attention_to_z", metric="uniform_attention")
    style.baseline(ax, constant(uniform), "uniform", above=False)
    style.baseline(ax, largest_untrained_head(heads), "largest\nuntrained")
    style.share_axis(ax, "largest head of a layer (share)")
    return colours


def _use(ax: Axes, frame: pd.DataFrame, label: str, why: str) -> None:
    if frame.empty:
        style.not_applicable(ax, why)
        return
    marks.seed_lines(ax, frame, METRIC_COLOURS["z_gap"])
    style.baseline(ax, 0, "z ignored")
    style.at_least(ax, -0.03, 1.05)
    ax.set_ylabel(label)


def _onsets(ax: Axes, condition: ConditionView) -> None:
    """Every seed's onsets, and the phases of the seed in the middle (censored ones come last)."""
    for metric in MARKS:
        marks.onset_marks(ax, condition.onset(metric), METRIC_COLOURS[metric], metric)
    used, known = (condition.onset(m).fillna(np.inf) for m in ("z_gap", "set_mass"))
    if used.empty or known.empty:
        return
    run = used.sort_values(kind="stable").index[(len(used) - 1) // 2]
    last = float(condition.metric("loss")["step"].max())
    ends = [0.0, min(known[run], used[run], last), min(used[run], last), last]
    for left, right, colour in zip(ends, ends[1:], PHASE_COLOURS.values(), strict=False):
        if right > left:
            ax.axvspan(left, right, color=colour, linewidth=0, zorder=0, label="_phase")
