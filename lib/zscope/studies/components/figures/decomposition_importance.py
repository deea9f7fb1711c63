"""How many components does each matrix need? Mean importances, sorted."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import count_seeds, numbers, select
from zscope.figures.tables import Tables
from zscope.studies.components.decomposition.tables import (
    COMPONENTS as DECOMPOSITION_COMPONENTS,
)
from zscope.studies.components.figures import decomposition_looks as looks

NEEDS = (DECOMPOSITION_COMPONENTS,)
LEAST = 1e-5  # of the logarithmic axis: what is never important is drawn there


@style.styled
def draw(tables: Tables) -> Figure:
    rows = looks.first_model(tables.get(DECOMPOSITION_COMPONENTS, phase=looks.FIRST))
    if rows.empty:
        return style.nothing_to_draw("no model was decomposed")
    matrices = list(dict.fromkeys(rows["matrix"]))
    layers = sorted({name.partition(".")[0] for name in matrices})
    names = list(dict.fromkeys(name.partition(".")[2] for name in matrices))
    fig = style.figure(style.DOUBLE, 1.35 * len(layers) + 0.9)
    axes = fig.subplots(len(layers), len(names), squeeze=False, sharex=True, sharey=True)
    for i, layer in enumerate(layers):
        for j, name in enumerate(names):
            ax, of = axes[i, j], select(rows, matrix=f"{layer}.{name}")
            style.panel_title(ax, f"layer {layer}, {name}")
            for seed, some in of.groupby("seed"):
                g = np.sort(np.maximum(numbers(some["importance"]), LEAST))[::-1]
                ax.plot(np.arange(len(g)), g, color=style.BLUE, alpha=0.7, label=f"_seed {seed}")
            ax.axhline(0.01, **style.DASHED)
            looks.log_y(ax, LEAST / 1.5, 1.5)
        axes[i, 0].set_ylabel("mean importance")
    for ax in axes[-1]:
        ax.set_xlabel("component, sorted")
    style.note(
        fig,
        f"{count_seeds(len(looks.seeds_of(rows)))} Lines: decompositions of one model. "
        "Dashed: above it a component counts as alive.",
    )
    return fig
