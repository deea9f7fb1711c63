"""Which effects does each method miss, by the primitive that the prompts are about?"""

from __future__ import annotations

from matplotlib.figure import Figure

from zscope.figures import marks, style
from zscope.figures.frames import count_seeds, numbers, select
from zscope.figures.tables import Tables
from zscope.studies.components.attribution.tables import (
    SCORES as ATTRIBUTION_SCORES,
)
from zscope.studies.components.figures.attribution_looks import (
    COLOURS,
    methods_in,
    names,
    subjects_in,
)

NEEDS = (ATTRIBUTION_SCORES,)


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get(ATTRIBUTION_SCORES, kind="all", metric="false_negatives")
    rows = rows[rows["value"].notna()]
    if rows.empty:
        return style.nothing_to_draw("no method was scored")
    subjects, methods = subjects_in(rows), methods_in(rows)
    primitives = [str(p) for p in rows["primitive"].unique()]
    runs = sorted(rows["model"].unique())
    fig = style.figure(style.DOUBLE, 1.9 * len(subjects) + 0.9)
    axes = fig.subplots(len(subjects), 1, sharex=True, squeeze=False)[:, 0]
    width = 0.8 / len(methods)
    for ax, subject in zip(axes, subjects, strict=True):
        for x, primitive in enumerate(primitives):
            for i, method in enumerate(methods):
                here = select(rows, subject=subject, primitive=primitive, method=method)
                at = x + (i - (len(methods) - 1) / 2) * width
                null = numbers(here["null"])
                ax.hlines(
                    null, at - width / 2, at + width / 2, color=style.GREY, linewidth=0.6,
                    label="_null",
                )  # fmt: skip
                marks.group_dots(
                    ax, at, here, runs, COLOURS[method], by="model", name=method,
                    width=0.8 * width, horizontal=False,
                )  # fmt: skip
        style.panel_title(ax, subject)
        ax.set_ylabel("false negatives (share)")
        style.at_least(ax, -0.02, 0.5)
    axes[-1].set_xticks(range(len(primitives)), [p.replace("_", " ") for p in primitives])
    axes[-1].set_xlim(-0.5, len(primitives) - 0.5)
    axes[-1].set_xlabel("primitive that governs the answer")
    style.legend(
        fig,
        {},
        extra=[
            *(style.dot(n, c) for n, c in names(methods).items()),
            style.line("permuted estimates"),
        ],
        columns=3,
    )
    style.note(
        fig,
        f"{count_seeds(*rows.groupby('subject')['model'].nunique(), of='condition')} Nodes of all "
        "kinds and layers with a large effect whose estimate is small. A dot is one training with "
        f"its {tables.percent} Wilson interval; bars: medians.",
    )
    return fig
