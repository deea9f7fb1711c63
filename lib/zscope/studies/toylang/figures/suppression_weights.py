"""Suppression in the weights: logits of each name's verbs without and with `never` before it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.toylang.figures import looks, squares
from zscope.studies.toylang.figures.lookups import grid, last_readout, matrix, seeds_of, seeds_text
from zscope.studies.toylang.tables import MATRICES, READOUTS

NEEDS = (MATRICES, READOUTS)
TITLES = {"without": "without never", "with": "with never"}


@style.styled
def draw(tables: Tables) -> Figure:
    cells = matrix(tables, "suppression")
    if cells.empty:
        return style.nothing_to_draw("suppression was not read")
    seed = seeds_of(cells)[0]
    found = {
        (item, column): grid(select(cells, seed=seed, item=item), column)
        for item in TITLES
        for column in ("value", "truth")
    }
    shown = min(len(found["with", "value"]), squares.LARGEST)
    height = 0.2 * shown + 0.55
    fig = style.figure(style.DOUBLE, 2 * height + 2.4)
    upper, lower = style.stacked(fig, 2 * height + 0.3, 1.3)
    axes = upper.subplots(2, 2, sharex=True, sharey=True)
    possible = found["without", "truth"].notna()
    norm = squares.symmetric(*(m[possible] for m in found.values()), least=1.0)
    image = None
    for j, (item, title) in enumerate(TITLES.items()):
        for i, (column, source) in enumerate({"value": "weights", "truth": "true"}.items()):
            ax = axes[i, j]
            style.panel_title(ax, f"{'abcd'[2 * i + j]}  {title}: {source}")
            image = squares.square(ax, found[item, column], norm, squares.DIVERGING, digits=1)
            for row, verb in enumerate(top_verbs(found["without", "truth"])):
                if 0 <= verb < squares.LARGEST:
                    squares.outline(ax, row, verb, style.GREEN)
    for ax in axes[0]:
        ax.tick_params(labelbottom=False)
    for ax in axes[1]:
        ax.set_xlabel("next token")
    for ax in axes[:, 0]:
        ax.set_ylabel("last token")
    squares.colour_bar(axes[0, 0], image, "logit (nats)", list(axes.flat))  # type: ignore[arg-type]
    below, drop = lower.subplots(1, 2)
    style.panel_title(below, "e  top verb below the others, all seeds")
    _dots(below, tables, "below", "names")
    style.panel_title(drop, "f  drop of the top verb, all seeds")
    _dots(drop, tables, "drop", "mean drop (nats)")
    style.note(
        fig,
        f"{seeds_text(cells)} a to d: seed {seed}. Logits of direct and one-head paths, mean over "
        "the distances of never; minus the mean of the name's verbs other than its top one. True: "
        "log p, centred in the same way; grey: impossible. Framed: the name's top verb, which "
        "never forbids. Colours end at the largest value of a possible verb.",
        f"Dashed: all names, and no drop. {looks.DOTS}",
        squares.cut(found["with", "value"]),
    )
    return fig


def top_verbs(truth: pd.DataFrame) -> list[int]:
    """The column of each shown name's likeliest verb; -1 where no verb is possible."""
    values = truth.iloc[: squares.LARGEST].fillna(-np.inf).to_numpy(float)
    return [int(row.argmax()) if np.isfinite(row).any() else -1 for row in values]


def _dots(ax: Axes, tables: Tables, metric: str, label: str) -> None:
    rows = last_readout(tables, "suppression", metric, item="all")
    if rows.empty:
        style.not_applicable(ax, "it was not read")
        return
    looks.seed_dots(ax, 0, rows, seeds_of(rows), looks.WEIGHTS, name=metric)
    if metric == "below":
        n = int(rows["n"].max())
        style.vertical(ax, float(n))
        ax.set_xlim(-0.3, n + 0.3)
        label = f"{label} of {n}"
    else:
        style.vertical(ax, 0.0)
        low, high = numbers(rows["value"]).min(), numbers(rows["value"]).max()
        ax.set_xlim(min(-0.3, 1.15 * low), max(1.0, 1.15 * high))
    ax.set_ylim(-0.6, 0.6)
    ax.set_yticks([])
    ax.set_xlabel(label)
    ax.set_ylabel("seeds")
