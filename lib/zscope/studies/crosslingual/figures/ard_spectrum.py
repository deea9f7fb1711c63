"""Is the spectrum of lengthscales bimodal, graded or flat? Sorted and as a histogram."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.crosslingual.figures import model_marks
from zscope.studies.crosslingual.figures.ard_fits import INITS, declared_fits, nearest_layer
from zscope.studies.crosslingual.figures.lookups import count
from zscope.studies.crosslingual.tables import LENGTHSCALES, SIZES

NEEDS = (LENGTHSCALES, SIZES)

BINS = 30


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get(LENGTHSCALES, basis="coordinates")
    rows = select(rows, layer=nearest_layer(tables, rows))
    fits = declared_fits(rows)
    if fits.empty:
        return style.nothing_to_draw("no lengthscale was fitted", count(tables))
    objectives = [o for o in model_marks.OBJECTIVES if o in set(fits["objective"])]
    fig = style.figure(style.DOUBLE, 4.2)
    axes = fig.subplots(2, len(objectives), squeeze=False, sharey="row", sharex="row")
    low, high = (f(numbers(fits["log10_lengthscale"])) for f in (np.nanmin, np.nanmax))
    edges = np.linspace(low, max(high, low + 0.1), BINS + 1)
    for (ordered, counted), objective, letter in zip(axes.T, objectives, "abc", strict=False):
        of = select(fits, objective=objective)
        style.panel_title(ordered, f"{letter}  {model_marks.OBJECTIVE_NAMES[objective]}")
        _sorted(ordered, of, model_marks.OBJECTIVES[objective])
        _histogram(counted, of, model_marks.OBJECTIVES[objective], edges)
    axes[0, 0].set_ylabel("lengthscale\n(log10, units of the stream)")
    axes[1, 0].set_ylabel("dimensions (share)")
    style.note(
        fig,
        count(tables),
        f"Layer {int(fits['layer'].iloc[0])}, coordinates of the stream, "
        f"{fits['dimension'].nunique()} dimensions.",
        _original_fit(select(fits, objective="original")),
        "Dashed: the median lengthscale, below which the protocol counts |Z|: half of all "
        "dimensions, whatever the spectrum.",
        model_marks.lines_note(tables, intervals=False),
    )
    return fig


def _original_fit(rows: pd.DataFrame) -> str:
    """Which of the original fits is shown; nothing if there is none."""
    if rows.empty:
        return ""
    init, penalty = rows[["init", "penalty"]].iloc[0]
    return (
        f"Original objective: {INITS[str(init)].removeprefix('original, ')}, lambda = {penalty:g}."
    )


def _sorted(ax: Axes, rows: pd.DataFrame, colour: str) -> None:
    ranked = rows.sort_values("log10_lengthscale").assign(value=rows["log10_lengthscale"])
    ranked["rank"] = (ranked.groupby("model").cumcount() + 1) / ranked.groupby("model")[
        "value"
    ].transform("size")
    model_marks.model_lines(ax, ranked[["model", "rank", "value"]], colour, x="rank")
    style.baseline(ax, float(rows["log10_lengthscale"].median()), "")
    ax.set_xlim(0, 1)
    ax.set_xlabel("dimensions, shortest first (share)")


def _histogram(ax: Axes, rows: pd.DataFrame, colour: str, edges: np.ndarray) -> None:
    shares = []
    for model, of in rows.groupby("model", sort=False):
        share = np.histogram(numbers(of["log10_lengthscale"]), edges)[0] / len(of)
        shares.append(share)
        ax.stairs(share, edges, color=colour, linewidth=0.7, alpha=0.55, label=f"_model {model}")
    ax.stairs(np.median(shares, axis=0), edges, fill=True, color=colour, alpha=0.3, label="_median")
    style.vertical(ax, float(rows["log10_lengthscale"].median()))
    ax.set_xlabel("lengthscale (log10)")
