"""What the ablation of components does to attention, and to induction."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import count_seeds, numbers, select
from zscope.figures.tables import Tables
from zscope.studies.components.decomposition.tables import (
    ATTENTION as DECOMPOSITION_ATTENTION,
)
from zscope.studies.components.decomposition.tables import (
    INDUCTION as DECOMPOSITION_INDUCTION,
)
from zscope.studies.components.figures import decomposition_looks as looks

NEEDS = (DECOMPOSITION_ATTENTION, DECOMPOSITION_INDUCTION)
SHOWN_FIRST = ("induction", "skip", "long_range")
SHOWN = 3  # primitives
PART = {"before": style.BLACK, "after": style.VERMILLION, "difference": style.BLUE}


@style.styled
def draw(tables: Tables) -> Figure:
    rows = looks.first_model(tables.get(DECOMPOSITION_ATTENTION))
    induction = looks.first_model(tables.get(DECOMPOSITION_INDUCTION))
    if rows.empty and induction.empty:
        return style.nothing_to_draw("no component was ablated")
    seeds = sorted({*looks.seeds_of(rows), *looks.seeds_of(induction)})
    one = select(rows, seed=seeds[0])
    found = looks.primitives_of(one, "chosen_for")
    first = sorted(found, key=lambda name: (name not in SHOWN_FIRST, name))
    names = first[:SHOWN]
    fig = style.figure(style.DOUBLE, 1.5 * max(1, len(names)) + 3.2)
    upper, lower = style.stacked(fig, 1.5 * max(1, len(names)), 2.2)
    heads = sorted(one["head"].unique()) or [0]
    axes = upper.subplots(max(1, len(names)), len(heads), squeeze=False, sharey="row")
    for i, name in enumerate(names):
        of = select(one, chosen_for=name)
        for j, head in enumerate(heads):
            style.panel_title(axes[i, j], f"without {name}'s, H{head}")
            attention(axes[i, j], select(of, head=head))
        axes[i, 0].set_ylabel("pattern")
    if not names:
        for ax in axes.ravel():
            style.not_applicable(ax, "no primitive has components of its own")
    for ax in axes[-1]:
        ax.set_xlabel("key (position)")
    score, rise = lower.subplots(1, 2)
    style.panel_title(score, "induction score, by head")
    style.panel_title(rise, "induction's excess")
    drops(score, induction)
    rises(rise, induction)
    style.legend(fig, PART)
    style.note(
        fig,
        f"{count_seeds(len(seeds))} Above: the last layer's attention at one query of the first "
        "decomposition, as it is and without the components chosen for a primitive. Below: every "
        "one of the most important components of a matrix ablated alone, all decompositions.",
    )
    return fig


def attention(ax: Axes, rows: pd.DataFrame) -> None:
    """A query's attention before and after, and the difference, on one axis."""
    of = rows.sort_values("key")
    x, before, after = (numbers(of[c]) for c in ("key", "before", "after"))
    ax.vlines(x, 0, after - before, color=PART["difference"], linewidth=1.6, alpha=0.5)
    ax.plot(x, before, color=PART["before"], linewidth=0.9, label="_seed before")
    ax.plot(x, after, color=PART["after"], linewidth=0.9, label="_seed after")
    ax.axhline(0, **style.DASHED)


def drops(ax: Axes, rows: pd.DataFrame) -> None:
    """The drop of each head's induction score, by matrix of the ablated component."""
    ablated = rows[rows["matrix"] != "none"]
    names = list(dict.fromkeys(ablated["matrix"]))
    heads = sorted(ablated["head"].unique())
    for place, name in enumerate(names):
        for head in heads:
            values = numbers(select(ablated, matrix=name, head=head)["drop"])
            x = place + 0.7 * ((head + 0.5) / max(1, len(heads)) - 0.5)
            colour = style.QUALITATIVE[head % len(style.QUALITATIVE)]
            ax.scatter(
                np.full(len(values), x), values, s=4, color=colour, linewidths=0, label="_dots"
            )
    ax.axhline(0, **style.DASHED)
    ax.set_xticks(range(len(names)), names, rotation=90)
    ax.set_xlabel("matrix (dots beside each other: heads)")
    ax.set_ylabel("drop of the score")


def rises(ax: Axes, rows: pd.DataFrame) -> None:
    """The rise of induction's excess, by matrix of the ablated component."""
    ablated = rows[(rows["matrix"] != "none") & (rows["head"] == rows["head"].min())]
    names = list(dict.fromkeys(ablated["matrix"]))
    for place, name in enumerate(names):
        values = numbers(select(ablated, matrix=name)["rise"])
        x = place + 0.5 * (np.arange(len(values)) % 9 / 8 - 0.5)
        ax.scatter(x, values, s=4, color=style.BLUE, linewidths=0, label="_dots")
    ax.axhline(0, **style.DASHED)
    ax.set_xticks(range(len(names)), names, rotation=90)
    ax.set_xlabel("matrix")
    ax.set_ylabel("rise of excess (nats)")
