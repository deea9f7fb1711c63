"""Are the components of one decomposition found again in another of the same model?"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.components.decomposition.tables import (
    SIMILARITY as DECOMPOSITION_SIMILARITY,
)
from zscope.studies.components.figures import decomposition_looks as looks

NEEDS = (DECOMPOSITION_SIMILARITY,)


@style.styled
def draw(tables: Tables) -> Figure:
    rows = looks.first_model(tables.get(DECOMPOSITION_SIMILARITY))
    if rows.empty:
        return style.nothing_to_draw("fewer than two decompositions of a model")
    matrices = list(dict.fromkeys(rows["matrix"]))
    fig = style.figure(style.COLUMN, 2.9)
    ax = fig.subplots()
    for place, matrix in enumerate(matrices):
        of = select(rows, matrix=matrix)
        low, high = numbers(of["null_low"]), numbers(of["null_high"])
        ax.fill_between(
            [place - 0.35, place + 0.35], low.min(), high.max(), color="#D0D0D0", linewidth=0
        )
        for shift, (phase, colour) in zip((-0.15, 0.15), looks.PHASES.items(), strict=True):
            values = numbers(select(of, phase=phase)["value"])
            x = place + shift + 0.15 * (np.arange(len(values)) % 7 / 6 - 0.5)
            ax.scatter(x, values, s=8, color=colour, linewidths=0, label=f"_dots {phase}")
    ax.set_xticks(range(len(matrices)), matrices, rotation=90)
    ax.set_ylim(0, 1.03)
    ax.set_xlabel("matrix")
    ax.set_ylabel("best |cosine| of U V$^T$, mean")
    style.legend(
        fig,
        {},
        extra=[
            *(style.dot(looks.PHASE_NAMES[p], c) for p, c in looks.PHASES.items()),
            style.patch("random components", "#D0D0D0"),
        ],
        columns=2,
    )
    style.note(
        fig,
        "A dot is a pair of decompositions of one model, in one direction. Grey: as many random "
        f"components ({tables.percent} of draws).",
    )
    return fig
