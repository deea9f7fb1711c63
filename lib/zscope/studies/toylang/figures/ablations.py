"""Do the heads that the weights name carry their primitive? Ablations, against random heads."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import select
from zscope.figures.tables import Tables
from zscope.studies.toylang.figures import looks, squares
from zscope.studies.toylang.figures.lookups import labels_of, matrices_of_runs, seeds_of, seeds_text
from zscope.studies.toylang.named_heads import NAMED_FOR, others_like
from zscope.studies.toylang.tables import ABLATIONS, REFERENCE

NEEDS = (ABLATIONS,)


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get(ABLATIONS, metric="change")
    if rows.empty:
        return style.nothing_to_draw("no head was ablated")
    reference = select(rows, condition=REFERENCE)
    chosen = named_in(reference)
    single = select(rows, chosen_by="single")
    single = single.assign(row=single["heads"], column=single["primitive"])
    matrices = matrices_of_runs(single)
    n_rows = len(squares.square_rows(matrices))
    names = labels_of(rows)
    heights = [0.19 * len(names) + 0.9, 1.35 * n_rows + 0.9]
    fig = style.figure(style.DOUBLE, sum(heights) + 0.9)
    upper, lower = style.stacked(fig, *heights)
    axes = upper.subplots(1, max(1, len(chosen)), sharey=True, squeeze=False)[0]
    if not chosen:
        style.not_applicable(axes[0], "the weights of the reference name no heads")
    for ax, by, letter in zip(axes, chosen, "abc", strict=False):
        style.panel_title(ax, f"{letter}  named for {by}")
        panel(ax, reference, by, names)
    if chosen:
        axes[0].set_ylabel("primitive")
    if matrices:
        squares.small_squares(lower, matrices, "change of excess (nats)", ("head", "primitive"))
    style.legend(
        fig,
        {},
        extra=[
            style.dot("heads that the weights name", looks.WEIGHTS),
            style.dot("other heads of the same layers"),
            style.patch("the primitive they are named for", "#FFF3D6"),
        ],
    )
    style.note(
        fig,
        f"{seeds_text(rows)} Above: the reference; named heads with {tables.percent} "
        "intervals over sequences, bars: median over seeds (from 3 on).",
        "Below: every head ablated alone, seed by seed (heads of different seeds share nothing but "
        "their names). Ablated: the head's output is its mean over tokens.",
    )
    return fig


def named_in(rows: pd.DataFrame) -> list[str]:
    """The reasons for which the weights name heads that were ablated."""
    return [by for by in NAMED_FOR if (rows["chosen_by"] == by).any()]


def panel(ax: Axes, rows: pd.DataFrame, by: str, names: list[str]) -> None:
    """Change of excess by primitive with the named heads ablated, and with random sets."""
    seeds = seeds_of(rows)
    named = select(rows, chosen_by=by)
    null = others_like(rows, by)
    for place, name in enumerate(names):
        if name == NAMED_FOR[by]:
            ax.axhspan(place - 0.5, place + 0.5, color="#FFF3D6", zorder=0, label="_own")
        other = select(null, primitive=name)
        looks.random_dots(ax, place, other, 0.6, name)
        of = select(named, primitive=name)
        looks.seed_dots(ax, place, of, seeds, looks.WEIGHTS, name=name, width=0.7)
    looks.change_axes(ax, names)
