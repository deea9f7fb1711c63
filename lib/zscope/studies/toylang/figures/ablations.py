"""Do the heads that the weights name carry their primitive? Ablations, against random heads."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.studies.toylang.figures import squares
from zscope.studies.toylang.figures.lookups import (
    NAMES,
    REFERENCE,
    Tables,
    conditions_of,
    count_seeds,
    grid,
    labels_of,
    seeds_of,
    select,
)

NAMED = {"induction": "induction", "rules": "skip", "suppression": "suppress"}
"""What heads were chosen for, and the primitive that their ablation should hurt."""


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get("toylang_ablations", metric="change")
    if rows.empty:
        return style.nothing_to_draw("no head was ablated")
    reference = select(rows, condition=REFERENCE)
    chosen = [by for by in NAMED if (reference["chosen_by"] == by).any()]
    single = select(rows, chosen_by="single")
    squares = {
        (c, s): _matrix(select(single, condition=c, seed=s))
        for c in conditions_of(single)
        for s in seeds_of(select(single, condition=c))
    }
    n_rows = len(squares.square_rows(squares))
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
        ax.set_xlabel("change of excess (nats)")
    if chosen:
        axes[0].set_ylabel("primitive")
    if squares:
        squares.small_squares(lower, squares, "change of excess (nats)", ("head", "primitive"))
    style.legend(
        fig,
        {},
        extra=[
            style.dot("heads that the weights name", squares.WEIGHTS),
            style.dot("random heads of the same layers"),
            style.patch("the primitive they are named for", "#FFF3D6"),
        ],
    )
    style.note(
        fig,
        f"{count_seeds(rows)} Above: the reference; named heads with 95 % intervals over "
        "sequences, bars: median over seeds (from 3 on).",
        "Below: every head ablated alone, seed by seed (heads of two seeds have nothing in common "
        "but their names). Ablated: the head's output is its mean over tokens.",
    )
    return fig


def panel(ax: Axes, rows: pd.DataFrame, by: str, names: list[str]) -> None:
    """Change of excess by primitive with the named heads ablated, and with random sets alike."""
    seeds = seeds_of(rows)
    named = select(rows, chosen_by=by)
    null = random_like(rows, by)
    for place, name in enumerate(names):
        if name == NAMED[by]:
            ax.axhspan(place - 0.5, place + 0.5, color="#FFF3D6", zorder=0, label="_own")
        other = select(null, primitive=name)
        squares.random_dots(ax, place, other, 0.6, name)
        of = select(named, primitive=name)
        squares.seed_dots(ax, place, of, seeds, squares.WEIGHTS, name=name, width=0.7)
    style.vertical(ax, 0.0)
    left, right = ax.get_xlim()
    ax.set_xlim(min(left, -0.02), max(right, 0.1))
    ax.set_yticks(range(len(names)), [NAMES.get(n, n) for n in names])
    ax.set_ylim(len(names) - 0.5, -0.5)


def random_like(rows: pd.DataFrame, by: str) -> pd.DataFrame:
    """The random sets with as many heads in each layer as the named set of their run."""
    named = select(rows, chosen_by=by).drop_duplicates(["condition", "seed"])
    layers = {
        (c, s): _layers(heads)
        for c, s, heads in zip(named["condition"], named["seed"], named["heads"], strict=True)
    }
    null = select(rows, chosen_by="random")
    kept = [
        layers.get((c, s)) == _layers(heads)
        for c, s, heads in zip(null["condition"], null["seed"], null["heads"], strict=True)
    ]
    return null[np.array(kept, dtype=bool)]


def _layers(heads: str) -> Counter[str]:
    return Counter(re.findall(r"L(\d+)H", heads))


def _matrix(rows: pd.DataFrame) -> pd.DataFrame:
    matrix = grid(rows.assign(row=rows["heads"], column=rows["primitive"]))
    columns = labels_of(rows)
    return matrix[columns].rename(columns=NAMES)
