"""Can the objectives find what is planted? AUC of the shared dimensions, a dot per seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from zscope.figures import marks, style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.crosslingual.figures import model_marks
from zscope.studies.crosslingual.figures.ard_fits import INITS
from zscope.studies.crosslingual.tables import PLANTED

NEEDS = (PLANTED,)

SCOPES = {"all": "all problems", "category": "its category"}


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get(PLANTED)
    if rows.empty:
        return style.nothing_to_draw("nothing was planted")
    metrics = sorted(set(rows["metric"]))  # the AUCs first
    seeds = sorted(rows["seed"].unique())
    fits = _fits(rows)
    fig = style.figure(style.DOUBLE, 0.19 * len(fits) + 1.7)
    axes = fig.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for ax, metric, letter in zip(axes, metrics, "abcdefgh", strict=False):
        style.panel_title(ax, f"{letter}  {_name(metric)}")
        of = select(rows, metric=metric)
        for place, (objective, init, penalty) in enumerate(fits):
            one = select(of, objective=objective, init=init, penalty=penalty)
            colour = model_marks.OBJECTIVES.get(objective, style.SKY)
            marks.group_dots(ax, place, one, seeds, colour, by="seed", name=objective)
        style.vertical(ax, float(np.nanmedian(numbers(of["chance"]))))
        what = "accuracy" if "retrieval" in metric else "AUC"
        model_marks.share_axis(ax, f"{what} (share)")
    model_marks.name_axis(axes[0], [_label(*fit) for fit in fits], "objective")
    style.note(
        fig,
        f"n = {len(seeds)} seed{'s' * (len(seeds) != 1)} of planted data.",
        "Numbers after the inits of the original objective: lambda.",
        "Dots: seeds; bars: median over seeds (from 3 on); dashed: chance. AUC: probability that "
        "a shared dimension ranks above one of the other kind; 1 is perfect, below 0.5 is the "
        "wrong way round.",
    )
    return fig


def _fits(rows: pd.DataFrame) -> list[tuple]:
    fits = rows[["objective", "init", "penalty"]].drop_duplicates()
    order = {name: i for i, name in enumerate(model_marks.OBJECTIVES)}
    ranked = fits.assign(order=fits["objective"].map(order).fillna(99))
    ranked = ranked.sort_values(["order", "init", "penalty"], kind="stable")
    named = ranked[["objective", "init", "penalty"]].astype(object)
    return list(named.where(named.notna(), None).itertuples(index=False, name=None))


def _label(objective: str, init: Any, penalty: Any) -> str:
    text = model_marks.OBJECTIVE_NAMES.get(objective, objective)
    if penalty is not None:
        text = f"{INITS.get(str(init), str(init))}, {penalty:g}"
    return text


def _name(metric: str) -> str:
    """What is measured, in two lines."""
    what, _, of = metric.partition("_")
    if what == "auc":
        return "AUC: " + of.replace("_vs_", "\nagainst ")
    return f"{what}\namong {SCOPES.get(of, of)}"
