"""Which components of keys and values fire at the same positions?"""

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
    COACTIVATION as DECOMPOSITION_COACTIVATION,
)
from zscope.studies.components.figures import decomposition_looks as looks

NEEDS = (DECOMPOSITION_COACTIVATION,)
MEASURES = {"phi": "phi", "jaccard": "Jaccard", "value_given_key": "P(v | k)"}


@style.styled
def draw(tables: Tables) -> Figure:
    rows = looks.first_model(tables.get(DECOMPOSITION_COACTIVATION))
    if rows.empty:
        return style.nothing_to_draw("no components of keys and values fire often enough")
    seeds = looks.seeds_of(rows)
    one = select(rows, seed=seeds[0])
    blocks = list(dict.fromkeys(zip(one["layer"], one["key_matrix"], strict=True)))
    fig = style.figure(style.DOUBLE, 1.6 * len(blocks) + 1.0)
    columns = len(MEASURES) + 1
    axes = fig.subplots(len(blocks), columns, squeeze=False)
    norm, image = Normalize(-1, 1), None
    for i, (layer, matrix) in enumerate(blocks):
        of = select(one, layer=layer, key_matrix=matrix)
        keys = of.drop_duplicates("key").sort_values("key_firings", ascending=False)["key"]
        values = of.drop_duplicates("value_component").sort_values(
            "value_firings", ascending=False
        )["value_component"]
        for j, (column, name) in enumerate(MEASURES.items()):
            ax = axes[i, j]
            style.panel_title(ax, f"L{layer} {matrix}, {name}")
            table = of.pivot(index="key", columns="value_component", values=column)
            image = looks.heat(ax, table.loc[keys, values], norm, "PuOr", text=False, ticks=False)
            ax.set_xticks([])
            ax.set_yticks([])
            ax.set_xlabel("value's component" if i == len(blocks) - 1 else "")
        axes[i, 0].set_ylabel("key's component")
        style.panel_title(axes[i, -1], f"L{layer} {matrix}, null")
        beside_null(axes[i, -1], select(rows, layer=layer, key_matrix=matrix))
        axes[i, -1].set_xlabel("upper end of the null" if i == len(blocks) - 1 else "")
    if image:
        fig.colorbar(image, ax=axes[:, :-1].ravel().tolist(), shrink=0.6, label="measure")
    style.note(
        fig,
        f"{count_seeds(len(seeds))} Heat maps: the first decomposition, components in the order of "
        "their firings. Right: phi of every pair of all decompositions against the upper end of "
        f"its null, another sequence's values ({tables.percent} of the draws); above the dashed "
        "line a pair fires together more than positions alone make it.",
    )
    return fig


def beside_null(ax: Axes, rows: pd.DataFrame) -> None:
    ax.scatter(
        numbers(rows["null_high"]),
        numbers(rows["phi"]),
        s=2,
        color=style.BLUE,
        alpha=0.4,
        linewidths=0,
        label="_dots",
    )
    ax.plot([0, 1], [0, 1], **style.DASHED)
    ax.set_xlim(-0.05, max(0.3, 1.05 * float(np.nanmax(numbers(rows["null_high"])))))
    ax.set_ylim(-1, 1.05)
    ax.set_ylabel("phi")
