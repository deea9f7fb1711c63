"""One condition: does the prediction depend on z? Patched activations and swapped z."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from zscope.figures import marks, style
from zscope.figures.frames import select
from zscope.studies.lag.figures.lookups import (
    METRIC_COLOURS,
    ConditionView,
    blocks,
    count_examples,
    drawn_from,
)
from zscope.studies.lag.tables import CONDITION_RUNS, PROBE

NEEDS = (PROBE, CONDITION_RUNS)
PROBES = ("causal_patching", "random_z")
FAINT = 0.1  # the colours of the heads' maps span at least this, lest noise look strong


@drawn_from(ConditionView)
def draw(condition: ConditionView) -> Figure:
    if not any(len(condition.probe(p)) for p in PROBES):
        return style.nothing_to_draw(condition.why_not("causal_patching"), condition.seeds)
    fig = style.figure(style.DOUBLE, 5.0)
    upper, lower = style.stacked(fig, 1.25, 1)
    dependence, per_layer, gap = upper.subplots(1, 3)
    why = condition.why_not("causal_patching")
    style.panel_title(dependence, "a  z patched at the input")
    whole = condition.probe("causal_patching", metric="z_dependence")
    _over_steps(dependence, [whole], [METRIC_COLOURS["z_gap"]], "z dependence (share)", why)
    style.panel_title(per_layer, "b  z patched in a layer")
    shift = condition.probe("causal_patching", metric="probability_shift")
    layers = blocks(shift)
    by_layer, colours = [select(shift, layer=i) for i in layers], style.gradient(len(layers))
    _over_steps(per_layer, by_layer, colours, "probability shift (share)", why)
    style.panel_title(gap, "c  another z")
    added, no_other = condition.probe("random_z", metric="z_gap"), condition.why_not("random_z")
    label = "added first-token loss (nats)"
    _over_steps(gap, [added], [METRIC_COLOURS["z_gap"]], label, no_other)
    _heads(lower, condition, why)
    names = [f"entering layer {i}" for i in layers[:-1]] + ["after the last layer"] * bool(layers)
    style.legend(fig, dict(zip(names, colours, strict=True)))
    style.note(
        fig,
        condition.seeds,
        condition.lines,
        count_examples(whole, "a, b, d", of="pairs"),
        count_examples(added, "c", of="pairs"),
        "Dashed: no effect. A patch after the last layer has none by construction. Heads of "
        "different seeds do not correspond, so every seed has its own map.",
    )
    return fig


def _over_steps(ax: Axes, frames: list[pd.DataFrame], colours: list, label: str, why: str) -> None:
    if not frames or frames[0].empty:
        style.not_applicable(ax, why)
        return
    for frame, colour in zip(frames, colours, strict=True):
        marks.seed_lines(ax, frame, colour)
    style.baseline(ax, 0, "")
    style.at_least(ax, -0.03, 1.05)
    style.step_axis(ax, frames[0]["step"])
    ax.set_ylabel(label)


def _heads(fig: SubFigure, condition: ConditionView, why: str) -> None:
    rows = condition.probe("causal_patching", metric="head_probability_shift")
    if rows.empty:
        style.not_applicable(fig.subplots(), why)
        return
    last = rows[rows["step"] == rows.groupby("run")["step"].transform("max")]
    seeds = sorted(last["seed"].unique())
    limit = max(float(np.nanmax(np.abs(last["value"].to_numpy(float)))), FAINT)
    axes = fig.subplots(1, len(seeds), squeeze=False, sharey=True)[0]
    for ax, seed in zip(axes, seeds, strict=True):
        table = select(last, seed=seed).pivot(index="layer", columns="head", values="value")
        mesh = ax.imshow(
            table.to_numpy(float),
            cmap="RdBu_r",
            vmin=-limit,
            vmax=limit,
            aspect="auto",
            interpolation="nearest",
        )
        ax.set_xticks(range(len(table.columns)), [str(h) for h in table.columns])
        ax.set_yticks(range(len(table.index)), [str(i) for i in table.index])
        style.panel_title(ax, f"d  seed {seed}" if seed == seeds[0] else f"seed {seed}")
        ax.set_xlabel("head")
        ax.set_ylabel("layer" if seed == seeds[0] else "")
    bar = fig.colorbar(mesh, ax=axes, pad=0.01)
    bar.set_label(f"probability shift of a head's\npath from z, step {last['step'].max()}")
    bar.outline.set_visible(False)
