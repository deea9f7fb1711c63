"""Do the fitted lengthscales find Z? |Z| over layers, and their energy inside SVD-Z."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.crosslingual.figures import model_marks
from zscope.studies.crosslingual.figures.ard_fits import INITS
from zscope.studies.crosslingual.figures.lookups import (
    count,
    draws_of,
    in_words,
    layers_of,
    models_of,
    of_cell,
)
from zscope.studies.crosslingual.tables import ARD, SIZES

NEEDS = (ARD, SIZES)

COUNTS: dict[str, tuple[str, Any]] = {
    "n_below_median": ("below the median (protocol)", "-"),
    "n_below_3sd": ("below 3 standard deviations", (0, (3, 1))),
}
CONTRASTS = ("gap", "info_nce")
BASES = {"coordinates": "coordinates", "pca": "PCA", "z": "[V_Z; V_perp]"}


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get(ARD)
    if rows[rows["metric"].isin([*COUNTS, "overlap"])].empty:
        return style.nothing_to_draw("no lengthscale was fitted", count(tables))
    layers = layers_of(rows)
    overlaps = select(rows, metric="overlap", k=of_cell(tables, "k")["k"])
    layer = of_cell(tables, "layer")["layer"]
    here = select(overlaps, layer=layer)
    fig = style.figure(style.DOUBLE, 4.4)
    left, right = fig.subplots(1, 2, width_ratios=(1, 1.25))
    style.panel_title(left, "a  |Z| over layers")
    _sizes(left, rows, layers)
    style.panel_title(right, f"b  energy in SVD-Z at layer {layer}")
    _overlaps(right, tables, here)
    style.legend(
        fig,
        {
            model_marks.OBJECTIVE_NAMES[o]: model_marks.OBJECTIVES[o]
            for o in ("original", *CONTRASTS)
        },
        extra=[
            *(style.line(name, style.BLACK, linestyle=dash) for name, dash in COUNTS.values()),
            model_marks.null_patch("null: shuffled weights"),
        ],
        columns=3,
    )
    counted = rows[rows["metric"].isin(COUNTS)]
    dims = int(numbers(counted["n"]).max()) if len(counted) else 0
    style.note(
        fig,
        count(tables),
        f"{dims} dimensions." if dims else "",
        "a: original objective, all inits and lambdas, median of them; below the median is half by "
        "construction (dashed). Directions of a contrast: exp of the entropy of its weights on "
        "coordinates.",
        f"b: {in_words(tables, 'k')}; dots: models, original fits at every lambda; dashed: k/d.",
        f"Grey: the same weights in shuffled order, {draws_of(select(here, null='shuffled'))}, "
        f"{tables.percent}.",
    )
    return fig


def _sizes(ax: Axes, rows: pd.DataFrame, layers: list[int]) -> None:
    for metric, (_, dash) in COUNTS.items():
        of = select(rows, objective="original", metric=metric)
        of = of.assign(value=numbers(of["value"]))
        middle = of.groupby(["model", "layer"], sort=False)["value"].median().reset_index()
        model_marks.model_lines(ax, middle, model_marks.OBJECTIVES["original"], linestyle=dash)
    for objective in CONTRASTS:
        of = select(rows, objective=objective, metric="effective_directions", basis="coordinates")
        model_marks.model_lines(
            ax, of.drop(columns=["ci_low", "ci_high"]), model_marks.OBJECTIVES[objective]
        )
    counted = select(rows, metric="n_below_median")
    if len(counted):
        style.baseline(ax, float(numbers(counted["n"]).max()) / 2, "d/2")
    ax.set_ylim(bottom=0)
    ax.set_ylabel("|Z| (dimensions)")
    model_marks.layer_axis(ax, layers)


def _overlaps(ax: Axes, tables: Tables, rows: pd.DataFrame) -> None:
    if rows.empty:
        style.not_applicable(ax, f"no overlap was measured at k = {of_cell(tables, 'k')['k']}")
        return
    fits: list[tuple[str, str, str | None]] = [("original", "coordinates", init) for init in INITS]
    fits += [(objective, basis, None) for objective in CONTRASTS for basis in BASES]
    names: list[str] = []
    for objective, basis, init in fits:
        of = select(rows, objective=objective, basis=basis)
        of = select(of, init=init) if init else of
        if of.empty:
            continue
        model_marks.null_bar(ax, len(names), select(of, null="shuffled"))
        for penalty in of["penalty"].drop_duplicates():
            one = of[of["penalty"].isna()] if pd.isna(penalty) else select(of, penalty=penalty)
            model_marks.model_dots(
                ax,
                len(names),
                one.drop_duplicates("model"),
                models_of(tables),
                model_marks.OBJECTIVES[objective],
                name=objective,
            )
        contrast = model_marks.OBJECTIVE_NAMES[objective].removeprefix("contrast: ")
        names.append(INITS[init] if init else f"{contrast}, {BASES[basis]}")
    style.vertical(ax, model_marks.constant(select(rows, null="chance"), "null_mean"))
    model_marks.name_axis(ax, names, "fit")
    model_marks.share_axis(ax, "energy inside Z (share); dashed: k/d")
