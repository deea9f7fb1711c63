"""Which pairs of a query's and a key's component make the scores, over the offset?"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import count_seeds, select
from zscope.figures.tables import Tables
from zscope.studies.components.decomposition.tables import PAIRS as DECOMPOSITION_PAIRS
from zscope.studies.components.figures import decomposition_looks as looks

NEEDS = (DECOMPOSITION_PAIRS,)
SUM = -1  # instead of a head


@style.styled
def draw(tables: Tables) -> Figure:
    rows = looks.first_model(tables.get(DECOMPOSITION_PAIRS))
    if rows.empty:
        return style.nothing_to_draw("no model was decomposed")
    seeds = looks.seeds_of(rows)
    one = select(rows, seed=seeds[0])
    layers, factors = sorted(one["layer"].unique()), sorted(one["factor"].unique())
    heads = [*sorted(set(one["head"]) - {SUM}), SUM]
    lines = [(layer, factor) for layer in layers for factor in factors]
    fig = style.figure(style.DOUBLE, 1.45 * (len(lines) + 1) + 1.2)
    upper, lower = style.stacked(fig, len(lines), 1.35)
    axes = upper.subplots(len(lines), len(heads), squeeze=False, sharex=True, sharey="row")
    for i, (layer, factor) in enumerate(lines):
        of = select(one, layer=layer, factor=factor, chosen_on="all")
        for j, head in enumerate(heads):
            name = "sum" if head == SUM else f"H{head}"
            style.panel_title(axes[i, j], f"L{layer}, factor {factor}, {name}")
            pairs(axes[i, j], select(of, head=head))
        axes[i, 0].set_ylabel("share of the score")
    for ax in axes[-1]:
        ax.set_xlabel("offset (tokens)")
    names = looks.primitives_of(one, "chosen_on")[:5]
    last = select(one, layer=layers[-1], factor=factors[0], head=SUM)
    below = lower.subplots(1, max(1, len(names)), squeeze=False, sharey=True)[0]
    for ax, name in zip(below, names, strict=False):
        style.panel_title(ax, name)
        pairs(ax, select(last, chosen_on=name))
        ax.set_xlabel("offset (tokens)")
    below[0].set_ylabel("share of the score")
    if not names:
        style.not_applicable(below[0], "no primitive governs a position")
    style.note(
        fig,
        f"{count_seeds(1)} A line: one pair, in the shade of its rank (dark: the largest), at the "
        "mean activations of both where they fire, oriented so that these are positive. Below: the "
        "last layer's first factor, summed over heads, largest where the primitive governs. The "
        "signs of both factors can be flipped together.",
    )
    return fig


def pairs(ax: Axes, rows: pd.DataFrame) -> None:
    """One line per pair over the offset."""
    ranks = sorted(rows["rank"].unique(), reverse=True)
    colours = dict(zip(sorted(ranks), style.gradient(len(ranks)), strict=True))
    for rank in ranks:
        of = select(rows, rank=rank).sort_values("offset")
        ax.plot(of["offset"], of["value"], color=colours[rank], label=f"_seed {rank}")
    ax.axhline(0, **style.DASHED)
