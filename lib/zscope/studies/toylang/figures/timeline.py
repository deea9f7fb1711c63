"""When a primitive appears in the weights, beside its excess in behaviour, seed by seed."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import marks, style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.toylang.figures import learning, looks
from zscope.studies.toylang.figures.lookups import NAMES, excess, readout, seeds_text
from zscope.studies.toylang.onsets import worst
from zscope.studies.toylang.tables import READOUTS, TRAINING
from zscope.studies.toylang.targets import DIRECT_KL, EXCESS, FIRST

NEEDS = (READOUTS, TRAINING)
READ = {  # primitive -> readout, metric, label
    "bigram": ("direct", "kl_self", "KL from the truth (nats)"),
    "skip": ("rules", "rank_all_paths", "worst rank of a rule"),
    "suppress": ("suppression", "below", "top verb lowest\n(share of names)"),
    "induction": ("induction", "hits", "diagonal of M\n(share of objects)"),
}


@style.styled
def draw(tables: Tables) -> Figure:
    read = {p: measured(tables, *of[:2]) for p, of in READ.items()}
    names = [p for p in READ if len(read[p])]
    if not names:
        return style.nothing_to_draw("no checkpoint was read")
    fig = style.figure(style.DOUBLE, 3.6)
    rows = fig.subplots(2, len(names), sharex=True, squeeze=False)
    for column, name in enumerate(names):
        top, bottom = rows[:, column]
        style.panel_title(top, f"{'abcd'[column]}  {NAMES[name]}")
        weights(top, tables, *READ[name][:2])
        top.set_ylabel(READ[name][2])
        top.set_xlabel("")
        behaviour(bottom, tables, name)
        bottom.set_ylabel("excess (nats)")
    style.legend(fig, {"read from the weights": looks.WEIGHTS, "behaviour": looks.BEHAVIOUR})
    style.note(
        fig,
        f"{seeds_text(*read.values())} {style.LINES}",
        "Step 0 of the readouts is left out: there U is zero, and all is tied. Ranks run upwards: "
        "1 is the top.",
        f"Dashed: targets (KL and excess {EXCESS:g} nats; rank {FIRST}) and what a random choice "
        "would have. KL: of each name's next tokens, by E U and attention to the own token.",
    )
    return fig


def measured(tables: Tables, name: str, metric: str) -> pd.DataFrame:
    """One row per (run, step) from step 1 on: counts as shares, the worst rule for ranks."""
    if metric == "rank_all_paths":
        rows = readout(tables, name, metric)
        if rows.empty:
            return rows
        keys = ["run", "condition", "seed", "step"]
        rows = rows.groupby(keys, as_index=False).agg(value=("value", worst), n=("n", "max"))
        rows = rows.assign(ci_low=np.nan, ci_high=np.nan)
    else:
        rows = readout(tables, name, metric, item="all")
    if metric in ("hits", "below"):
        rows = rows.assign(value=numbers(rows["value"]) / numbers(rows["n"]))
    return rows[rows["step"] > 0]


def weights(ax: Axes, tables: Tables, name: str, metric: str) -> None:
    """A readout at every checkpoint, with its chance or target."""
    rows = measured(tables, name, metric)
    if rows.empty:
        style.not_applicable(ax, "it was not read")
        return
    marks.seed_lines(ax, rows, looks.WEIGHTS)
    if metric == "rank_all_paths":
        ax.set_yscale("log")
        ax.set_ylim(float(rows["n"].max()), 0.7)  # up is better
        ax.axhline(FIRST, **style.DASHED)
        ax.axhline((float(rows["n"].max()) + 1) / 2, **style.DASHED)
    elif metric == "kl_self":
        ax.set_yscale("log", nonpositive="mask")
        ax.axhline(DIRECT_KL, **style.DASHED)
    elif metric in ("hits", "below"):
        style.share_axis(ax, "share")
        chance = {"hits": 1 / float(rows["n"].max())}.get(metric)
        if chance is not None:
            ax.axhline(chance, **style.DASHED)
    else:
        ax.axhline(0.0, **style.DASHED)
        style.at_least(ax, -0.5, 1.0)
    style.step_axis(ax, [0, *rows["step"]])


def behaviour(ax: Axes, tables: Tables, primitive: str) -> None:
    """The excess of a primitive at every evaluation."""
    rows = select(excess(tables), primitive=primitive)
    if rows.empty:
        style.not_applicable(ax, "it was not measured")
        return
    learning.panel(ax, rows, looks.BEHAVIOUR)
    ax.axhline(EXCESS, **style.DASHED)
    style.step_axis(ax, rows["step"])
