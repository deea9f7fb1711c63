"""How well does each method find what exhaustive patching finds, by kind of node and layer?"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import marks, style
from zscope.figures.frames import count_seeds, numbers, select
from zscope.figures.tables import Tables
from zscope.studies.components.attribution.tables import (
    SCORES as ATTRIBUTION_SCORES,
)
from zscope.studies.components.figures.attribution_looks import (
    COLOURS,
    KINDS,
    methods_in,
    names,
    subjects_in,
)

NEEDS = (ATTRIBUTION_SCORES,)
METRICS = {"pearson": "correlation with the effect", "false_negatives": "false negatives (share)"}


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get(ATTRIBUTION_SCORES, primitive="all")
    rows = rows[rows["layer"].notna()]
    if rows.empty:
        return style.nothing_to_draw("no method was scored")
    subjects, methods = subjects_in(rows), methods_in(rows)
    fig = style.figure(style.DOUBLE, 1.7 * len(METRICS) * len(subjects) + 1.0)
    axes = fig.subplots(len(METRICS) * len(subjects), 1, sharex=True, squeeze=False)[:, 0]
    cells = [(kind, int(layer)) for layer in sorted(rows["layer"].unique()) for kind in KINDS]
    runs = sorted(rows["model"].unique())
    panels = [(subject, metric) for subject in subjects for metric in METRICS]
    for ax, (subject, metric) in zip(axes, panels, strict=True):
        _panel(ax, select(rows, subject=subject, metric=metric), cells, methods, runs)
        style.panel_title(ax, subject)
        ax.set_ylabel(METRICS[metric])
    axes[-1].set_xticks(range(len(cells)), [f"{kind}, layer {layer}" for kind, layer in cells])
    axes[-1].set_xlim(-0.5, len(cells) - 0.5)
    axes[-1].set_xlabel("nodes")
    style.legend(
        fig,
        {},
        extra=[
            *(style.dot(n, c) for n, c in names(methods).items()),
            style.patch("permuted estimates", "#D9D9D9"),
        ],
        columns=3,
    )
    style.note(
        fig,
        f"{count_seeds(*rows.groupby('subject')['model'].nunique(), of='condition')} A dot is one "
        f"training with its {tables.percent} interval (correlation: over pairs of prompts; false "
        "negatives: Wilson, over nodes); bars: medians. Grey: the widest band of permuted "
        "estimates. GradDrop has no sign and is compared with the size of the effect.",
    )
    return fig


def _panel(
    ax: Axes,
    rows: pd.DataFrame,
    cells: list[tuple[str, int]],
    methods: list[str],
    runs: list[str],
) -> None:
    width = 0.8 / len(methods)
    for x, (kind, layer) in enumerate(cells):
        here = select(rows, kind=kind, layer=layer)
        low, high = numbers(here["null_low"]), numbers(here["null_high"])
        if len(here) and here["null_low"].notna().any():
            ax.fill_between(
                [x - 0.45, x + 0.45], [low.min()] * 2, [high.max()] * 2, color="#D9D9D9",
                linewidth=0, zorder=0, label="_null",
            )  # fmt: skip
        for i, method in enumerate(methods):
            marks.group_dots(
                ax,
                x + (i - (len(methods) - 1) / 2) * width,
                select(here, method=method),
                runs,
                COLOURS[method],
                by="model",
                name=method,
                width=0.8 * width,
                horizontal=False,
            )
    bottom, top = ax.get_ylim()
    ax.set_ylim(min(bottom, -0.05), max(top, 1.05))
