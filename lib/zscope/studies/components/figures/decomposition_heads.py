"""In which heads do components lie? Norms by head, and their spread, beside random vectors."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import count_seeds, numbers, select
from zscope.figures.tables import Tables
from zscope.studies.components.decomposition.tables import (
    COMPONENTS as DECOMPOSITION_COMPONENTS,
)
from zscope.studies.components.decomposition.tables import (
    HEAD_NORMS as DECOMPOSITION_HEAD_NORMS,
)
from zscope.studies.components.decomposition.tables import (
    SPREAD_NULL as DECOMPOSITION_SPREAD_NULL,
)
from zscope.studies.components.figures import decomposition_looks as looks

NEEDS = (DECOMPOSITION_COMPONENTS, DECOMPOSITION_HEAD_NORMS, DECOMPOSITION_SPREAD_NULL)
SHOWN = 24  # components of a heat map


@style.styled
def draw(tables: Tables) -> Figure:
    components = looks.first_model(
        tables.get(DECOMPOSITION_COMPONENTS, phase=looks.FIRST, alive=True)
    )
    norms = looks.first_model(tables.get(DECOMPOSITION_HEAD_NORMS, phase=looks.FIRST))
    null = looks.first_model(tables.get(DECOMPOSITION_SPREAD_NULL))
    if components.empty or norms.empty:
        return style.nothing_to_draw("no model was decomposed")
    seeds = looks.seeds_of(components)
    matrices = list(dict.fromkeys(components["matrix"]))
    layers = sorted({name.partition(".")[0] for name in matrices})
    names = list(dict.fromkeys(name.partition(".")[2] for name in matrices))
    fig = style.figure(style.DOUBLE, 1.6 * len(layers) + 3.1)
    upper, lower = style.stacked(fig, 1.6 * len(layers) + 0.6, 2.3)
    axes = upper.subplots(len(layers), len(names), squeeze=False)
    one = select(norms, seed=seeds[0])
    norm = Normalize(0, float(one["norm"].max()))
    for i, layer in enumerate(layers):
        for j, name in enumerate(names):
            ax, matrix = axes[i, j], f"{layer}.{name}"
            style.panel_title(ax, matrix)
            ranked = select(components, matrix=matrix, seed=seeds[0])
            order = ranked.sort_values("importance", ascending=False)["component"].tolist()
            of = select(one, matrix=matrix).pivot(index="component", columns="head", values="norm")
            shown = of.reindex(order[:SHOWN])
            if len(shown):
                image = looks.heat(ax, shown, norm, "cividis", text=False, ticks=False)
            ax.set_xticks(range(of.shape[1]))
            ax.set_xlabel("head" if i == len(layers) - 1 else "")
        axes[i, 0].set_ylabel("component,\nby importance")
    upper.colorbar(image, ax=axes.ravel().tolist(), label="|U$_h$||V|", shrink=0.8, pad=0.01)
    spread, share = lower.subplots(1, 2)
    strips(spread, components, null, matrices, "spread")
    strips(share, components, null, matrices, "share")
    spread.set_ylabel("entropy over heads / ln H")
    share.set_ylabel("largest head's share of |U V$^T$|$^2$")
    style.legend(
        fig, {}, extra=[style.dot("a component", style.BLUE), style.dot("a random vector")]
    )
    style.note(
        fig,
        f"{count_seeds(len(seeds))} Above: the most important components of one decomposition. "
        "Below: every component that is alive of all of them, and random vectors. A spread near 1 "
        "is what random vectors have, and shows nothing alone.",
    )
    return fig


def strips(
    ax: Axes, components: pd.DataFrame, null: pd.DataFrame, matrices: list[str], column: str
) -> None:
    """Every component at its matrix, and random vectors on the right."""
    for place, matrix in enumerate(matrices):
        values = numbers(select(components, matrix=matrix)[column])
        x = place + 0.5 * (np.arange(len(values)) % 13 / 12 - 0.5)
        ax.scatter(x, values, s=2, color=style.BLUE, alpha=0.45, linewidths=0, label="_dots")
    values = numbers(null[column])
    x = len(matrices) + 0.5 * (np.arange(len(values)) % 13 / 12 - 0.5)
    ax.scatter(x, values, s=2, color=style.GREY, alpha=0.6, linewidths=0, label="_random")
    ax.set_xticks(range(len(matrices) + 1), [*matrices, "null"], rotation=90)
    ax.set_xlim(-0.6, len(matrices) + 0.6)
    ax.set_xlabel("matrix")
