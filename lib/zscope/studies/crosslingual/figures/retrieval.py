"""What are the fitted lengthscales worth? Held-out translations found by smallest MMD."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import select
from zscope.figures.tables import Tables
from zscope.studies.crosslingual.figures import model_marks
from zscope.studies.crosslingual.figures.ard_fits import declared_fits, nearest_layer
from zscope.studies.crosslingual.figures.lookups import count, layers_of, models_of
from zscope.studies.crosslingual.tables import ARD, SIZES

NEEDS = (ARD, SIZES)

BASES = {"coordinates": "coordinates", "pca": "principal axes", "z": "[V_Z; V_perp]"}
SCOPES = {"all": "all problems", "category": "its category"}
DIRECTIONS = {"zh_en": "zh to en", "en_zh": "en to zh"}


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get(ARD)
    rows = rows[rows["metric"].astype(str).str.startswith("retrieval_")]
    rows = declared_fits(rows)
    if rows.empty:
        return style.nothing_to_draw("no translation was retrieved", count(tables))
    layer = nearest_layer(tables, rows)
    bases = [b for b in BASES if b in set(rows["basis"])]
    columns = [(scope, direction) for scope in SCOPES for direction in DIRECTIONS]
    fig = style.figure(style.DOUBLE, 1.55 * len(bases) + 1.2)
    axes = fig.subplots(len(bases), len(columns), squeeze=False, sharex=True)
    for i, (basis, line) in enumerate(zip(bases, axes, strict=True)):
        for ax, (scope, direction) in zip(line, columns, strict=True):
            of = select(rows, layer=layer, basis=basis, metric=f"retrieval_{scope}_{direction}")
            panel(ax, tables, of)
            if i == 0:
                ax.set_title(f"{DIRECTIONS[direction]}, among\n{SCOPES[scope]}", loc="left")
            if i == len(bases) - 1:
                ax.set_xlabel("accuracy (share)")
            if ax is not line[0]:
                ax.tick_params(labelleft=False)
        line[0].set_ylabel(f"weights on\n{BASES[basis]}")
    chances = {
        scope: model_marks.constant(rows[rows["metric"].str.contains(f"_{scope}_")], "null_mean")
        for scope in SCOPES
    }
    style.note(
        fig,
        count(tables, rows, of="held-out problems"),
        f"Layer {layer} (layers fitted: {', '.join(map(str, layers_of(rows)))}). Dashed: chance, "
        f"1/n ({chances['all']:.3g} among all, {chances['category']:.3g} in a category). "
        "Original objective: from Z, middle lambda; it is fitted on coordinates alone.",
        model_marks.dots_note(tables, "bootstrap interval"),
    )
    return fig


def panel(ax: Axes, tables: Tables, rows: pd.DataFrame) -> None:
    """Objectives on y, held-out accuracy on x, one dot per model; chance dashed."""
    if rows.empty:
        style.not_applicable(ax, "not fitted")
        return
    shown = [o for o in model_marks.OBJECTIVES if o in set(rows["objective"])]
    for place, objective in enumerate(shown):
        model_marks.model_dots(
            ax,
            place,
            select(rows, objective=objective),
            models_of(tables),
            model_marks.OBJECTIVES[objective],
            name=objective,
        )
    style.vertical(ax, model_marks.constant(rows, "null_mean"))
    model_marks.name_axis(ax, [model_marks.OBJECTIVE_NAMES[o] for o in shown])
    ax.tick_params(axis="y", length=0)
    model_marks.share_axis(ax)
