"""The original objective beside its value without any Z; and what it ends up with."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.crosslingual.figures import model_marks
from zscope.studies.crosslingual.figures.ard_fits import nearest_layer
from zscope.studies.crosslingual.figures.lookups import count, draws_of, models_of
from zscope.studies.crosslingual.tables import ARD, ARD_HISTORY, SIZES

NEEDS = (ARD, ARD_HISTORY, SIZES)

INITS = {"zeros": style.BLACK, "svd_z": style.BLUE, "svd_random": style.ORANGE}
NAMES = {"zeros": "from log l = 0", "svd_z": "from Z", "svd_random": "from a random space"}


@style.styled
def draw(tables: Tables) -> Figure:
    fits = tables.get(ARD_HISTORY, objective="original", metric="value")
    fits = select(fits, layer=nearest_layer(tables, fits))
    if fits.empty:
        return style.nothing_to_draw("the original objective was not fitted", count(tables))
    layer = int(fits["layer"].iloc[0])
    ends = tables.get(ARD, objective="original", layer=layer)
    penalties = sorted(fits["penalty"].dropna().unique())
    fig = style.figure(style.DOUBLE, 4.6)
    above, below = style.stacked(fig, 1.1, 1)
    for ax, penalty, letter in zip(
        above.subplots(1, len(penalties), squeeze=False)[0], penalties, "abcdef", strict=False
    ):
        style.panel_title(ax, f"{letter}  lambda = {penalty:g}")
        _history(ax, select(fits, penalty=penalty), named=penalty == penalties[-1])
        ax.set_ylabel("original objective" if penalty == penalties[0] else "")
    drift, overlap = below.subplots(1, 2)
    letters = iter("abcdefgh"[len(penalties) :])
    style.panel_title(drift, f"{next(letters)}  still falling: last tenth of the steps")
    _ends(drift, tables, select(ends, metric="drift"), penalties)
    style.baseline(drift, 0.0, "")
    drift.set_ylabel("fall of the objective")
    style.panel_title(overlap, f"{next(letters)}  what survives lies in the space of the init")
    _overlap(overlap, tables, select(ends, metric="overlap_init"), penalties)
    shown = [i for i in INITS if i in set(fits["init"])]
    style.legend(fig, {NAMES[i]: INITS[i] for i in shown})
    style.note(
        fig,
        count(tables, select(ends, metric="drift"), of="problems of the fit"),
        f"Layer {layer}. Dashed at 0: the objective of no Z at all (all lengthscales infinite), "
        "the only minimum of its expected value for independent tokens.",
        "Overlap: energy of the half with the shorter lengthscales in the space that the fit "
        f"began from; dashed: chance k/d; grey: shuffled lengthscales, "
        f"{draws_of(select(ends, metric='overlap_init'))}, {tables.percent}.",
        model_marks.lines_note(tables, intervals=False),
    )
    return fig


def _history(ax: Axes, rows: pd.DataFrame, *, named: bool) -> None:
    for init, colour in INITS.items():
        model_marks.model_lines(ax, select(rows, init=init), colour, x="step")
    style.baseline(ax, 0.0, "no Z" if named else "")
    style.at_least(ax, -0.1, 0.1)
    ax.set_xlim(0, float(rows["step"].max()))
    ax.set_xlabel("optimizer steps")


def _ends(ax: Axes, tables: Tables, rows: pd.DataFrame, penalties: list[float]) -> None:
    if rows.empty:
        style.not_applicable(ax, "not measured")
        return
    inits = [init for init in INITS if init in set(rows["init"])]
    width = 0.8 / max(len(inits), 1)
    for place, penalty in enumerate(penalties):
        for j, init in enumerate(inits):
            model_marks.model_dots(
                ax,
                place + (j - (len(inits) - 1) / 2) * width,
                select(rows, penalty=penalty, init=init),
                models_of(tables),
                INITS[init],
                name=init,
                width=0.8 * width,
                horizontal=False,
            )
    ax.set_xticks(range(len(penalties)), [f"{p:g}" for p in penalties])
    ax.set_xlim(-0.6, len(penalties) - 0.4)
    ax.set_xlabel("lambda")


def _overlap(ax: Axes, tables: Tables, rows: pd.DataFrame, penalties: list[float]) -> None:
    once = rows.drop_duplicates(["model", "init", "penalty"])
    _ends(ax, tables, once, penalties)
    if rows.empty:
        return
    shuffled = select(rows, null="shuffled")
    low, high = (numbers(shuffled[c]) for c in ("null_low", "null_high"))
    if len(shuffled):
        ax.axhspan(
            float(pd.Series(low).median()),
            float(pd.Series(high).median()),
            color=style.GREY,
            alpha=0.2,
            linewidth=0,
            zorder=0.8,
            label="_null shuffled",
        )
    style.baseline(ax, model_marks.constant(select(rows, null="chance"), "null_mean"), "k/d")
    style.share_axis(ax, "energy in the space of\nthe init (share)")
