"""Does a decomposition find planted components, under which penalty, and has it converged?"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import count_seeds, numbers, select
from zscope.figures.tables import Tables
from zscope.studies.components.decomposition.tables import (
    PLANTED as DECOMPOSITION_PLANTED,
)
from zscope.studies.components.figures import decomposition_looks as looks

NEEDS = (DECOMPOSITION_PLANTED,)
TITLES = {
    "linear": "linear map",
    "superposition": "superposition",
    "compiled": "compiled transformer",
}


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get(DECOMPOSITION_PLANTED, metric="both", matrix="all")
    if rows.empty:
        return style.nothing_to_draw("no target with planted components was decomposed")
    kinds = [kind for kind in TITLES if (rows["kind"] == kind).any()]
    fig = style.figure(style.DOUBLE, 4.1)
    axes = fig.subplots(2, len(kinds), squeeze=False, sharey=True)
    for column, kind in enumerate(kinds):
        of = select(rows, kind=kind)
        style.panel_title(axes[0, column], f"{'abc'[column]}  {TITLES[kind]}")
        by_penalty(axes[0, column], of)
        over_steps(axes[1, column], of)
    for row in axes:
        row[0].set_ylabel("|cosine| of U V$^T$ with the truth")
    style.legend(
        fig,
        {"decomposition, one seed": style.BLUE, "singular vectors": style.ORANGE},
        extra=[style.patch("as many random components", "#D0D0D0")],
    )
    style.note(
        fig,
        f"{count_seeds(1, rows['seed'].nunique())} Each true component with its best match among "
        "those that are alive, mean over true components and matrices. Below: over the steps, a "
        f"shade per penalty (dark: small). Grey: {tables.percent} of the random draws.",
    )
    return fig


def by_penalty(ax: Axes, rows: pd.DataFrame) -> None:
    """The last step's score against the penalty, with the null and the singular vectors."""
    last = rows[rows["step"] == rows.groupby(["seed", "penalty"])["step"].transform("max")]
    for seed, of in last.sort_values("penalty").groupby("seed"):
        x = numbers(of["penalty"])
        low, high = numbers(of["null_low"]), numbers(of["null_high"])
        ax.fill_between(x, low, high, color=style.GREY, alpha=0.25, linewidth=0)
        ax.vlines(x, low, high, color=style.GREY, alpha=0.4, linewidth=1.5)
        ax.plot(x, numbers(of["svd"]), color=style.ORANGE, marker="_", label=f"_svd {seed}")
        ax.plot(x, numbers(of["value"]), color=style.BLUE, marker="o", label=f"_seed {seed}")
    looks.log_x(ax, rows["penalty"].min() / 1.5, rows["penalty"].max() * 1.5)
    ax.set_xlabel("penalty b")
    ax.set_ylim(-0.03, 1.03)


def over_steps(ax: Axes, rows: pd.DataFrame) -> None:
    penalties = sorted(rows["penalty"].unique())
    colours = dict(zip(penalties, style.gradient(len(penalties)), strict=True))
    for (penalty, seed), of in rows.sort_values("step").groupby(["penalty", "seed"]):
        ax.plot(of["step"], of["value"], color=colours[penalty], label=f"_seed {seed}")
    ax.set_xlabel("optimizer steps")
    ax.set_xlim(-0.02 * rows["step"].max(), 1.02 * rows["step"].max())
