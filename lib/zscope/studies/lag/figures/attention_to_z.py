"""One condition: every head's attention from the predicting position to z, over training."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from zscope.figures import marks, style
from zscope.figures.frames import select
from zscope.studies.lag.figures.lookups import (
    ConditionView,
    attention_onset,
    blocks,
    constant,
    count_examples,
    drawn_from,
    largest_head,
)
from zscope.studies.lag.tables import CONDITION_ONSETS, CONDITION_RUNS, PROBE
from zscope.studies.lag.untrained import largest_untrained_head

NEEDS = (PROBE, CONDITION_RUNS, CONDITION_ONSETS)
PROBES = ("attention_to_z",)
ACROSS = 4
ROWS = {"attention": "attention to z (share)", "entropy": "entropy (nats)"}


@drawn_from(ConditionView)
def draw(condition: ConditionView) -> Figure:
    heads = condition.probe("attention_to_z", metric="attention")
    if heads.empty:
        return style.nothing_to_draw(condition.why_not("attention_to_z"), condition.seeds)
    layers = blocks(heads)
    columns, bands = min(len(layers), ACROSS), math.ceil(len(layers) / ACROSS)
    fig = style.figure(style.DOUBLE, 3.1 * bands + 0.9)
    axes = fig.subplots(2 * bands, columns, squeeze=False, sharey="row")
    runs = sorted(heads["run"].unique())
    colours = dict(zip(runs, style.gradient(len(runs)), strict=True))
    for i in range(bands * columns):
        for j, (metric, label) in enumerate(ROWS.items()):
            ax = axes[2 * (i // columns) + j, i % columns]
            if i >= len(layers):
                ax.set_axis_off()
                continue
            rows = condition.probe("attention_to_z", metric=metric)
            of_layer = select(rows, layer=layers[i])
            for (run, _), of_head in of_layer.groupby(["run", "head"]):
                marks.seed_lines(ax, of_head, colours[run])
            last = (i + 1) % columns == 0 or i + 1 == len(layers)
            if j == 0:
                middle = marks.median_over_runs(largest_head(of_layer))
                ax.plot(middle.index, middle, color=style.BLACK, linewidth=1.8, label="_median")
                style.share_axis(ax, "")
                null = largest_untrained_head(heads)
                style.baseline(ax, null, "largest\nuntrained" if last else "")
                style.panel_title(ax, f"layer {layers[i]}")
            else:
                ax.set_ylim(0, 1.08 * rows["ci_high"].fillna(rows["value"]).max())
            base = constant(condition.probe("attention_to_z", metric=f"uniform_{metric}"))
            style.baseline(ax, base, "uniform" if last else "", above=False)
            ax.set_ylabel("" if i % columns else label)  # one scale per row
            style.step_axis(ax, heads["step"], "steps")
    seeds = condition.runs.set_index("run")["seed"]
    style.legend(
        fig,
        {f"seed {seeds[r]}": c for r, c in colours.items()},
        extra=[style.line("largest head, median over seeds", style.BLACK, linewidth=1.8)],
    )
    style.note(
        fig,
        condition.seeds,
        f"A thin line is one head of one seed, with its {condition.tables.percent} interval over "
        "examples. Heads of different seeds do not correspond, so they are not averaged by index.",
        count_examples(heads),
        attention_onset(condition),
    )
    return fig
