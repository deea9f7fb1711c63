"""The bigram table read from the weights beside the true one, and how well they agree."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from zscope.figures import style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.toylang.figures import looks, squares
from zscope.studies.toylang.figures.lookups import grid, last_readout, matrix, seeds_of, seeds_text
from zscope.studies.toylang.tables import MATRICES, READOUTS
from zscope.studies.toylang.targets import DIRECT_KL

NEEDS = (MATRICES, READOUTS)
PATHS = {"": "E U alone", "_self": "and heads at the token"}


@style.styled
def draw(tables: Tables) -> Figure:
    cells = matrix(tables, "direct")
    if cells.empty:
        return style.nothing_to_draw("no direct path was read")
    seed = seeds_of(cells)[0]
    first = select(cells, seed=seed)
    weights, truth = grid(first), grid(first, "truth")
    shown = min(len(weights), squares.LARGEST)
    fig = style.figure(style.DOUBLE, 0.22 * shown + 2.9)
    upper, lower = style.stacked(fig, 0.22 * shown + 1.0, 1.5)
    ours, theirs = upper.subplots(1, 2, sharey=True)
    style.panel_title(ours, f"a  from the weights (seed {seed})")
    image = panel(ours, weights)
    style.panel_title(theirs, "b  true")
    panel(theirs, truth)
    theirs.set_ylabel("")
    theirs.tick_params(labelleft=False)
    squares.colour_bar(ours, image, "p (share)", [ours, theirs])
    distance, r, top = lower.subplots(1, 3)
    seeds = seeds_of(cells)
    style.panel_title(distance, "c  distance, all seeds")
    _distance(distance, tables, seeds)
    style.panel_title(r, "d  r, all seeds")
    n_cells = _agreement(r, tables, seeds)
    style.panel_title(top, "e  top verb right")
    _top1(top, tables, seeds)
    style.note(
        fig,
        f"{seeds_text(cells)} a: softmax over the whole vocabulary of E U plus what heads "
        "add when a token attends to itself; no text was run through the model.",
        "c: KL from the program to the weights over the whole vocabulary, mean over names; dashed: "
        f"the target {DIRECT_KL:g} nats. d: Pearson r of logits with true log-probabilities over "
        f"{n_cells} cells, both centred by name; it is free of scale, so it is high before "
        "anything is known.",
        looks.DOTS,
        squares.cut(weights),
    )
    return fig


def panel(ax: Axes, square: pd.DataFrame) -> AxesImage:
    """Probabilities of verbs after names, with their values."""
    image = squares.square(ax, square, Normalize(0, 1), squares.SEQUENTIAL)
    ax.set_xlabel("next token")
    ax.set_ylabel("last token")
    return image


def _distance(ax: Axes, tables: Tables, seeds: list[int]) -> None:
    values: list[float] = []
    for place, path in enumerate(PATHS):
        rows = last_readout(tables, "direct", f"kl{path}")
        looks.seed_dots(ax, place, rows, seeds, style.BLUE, name=f"kl{path}")
        values += list(numbers(rows["value"]))
    looks.log_x(ax, values, DIRECT_KL, 1.0)
    style.vertical(ax, DIRECT_KL)
    looks.named_rows(ax, [*PATHS.values()], "paths")
    ax.set_xlabel("KL (nats)")


def _agreement(ax: Axes, tables: Tables, seeds: list[int]) -> int:
    """Draws r; the number of cells that it is over."""
    values: list[float] = []
    n_cells = 0
    for place, path in enumerate(PATHS):
        rows = last_readout(tables, "direct", f"r{path}")
        looks.seed_dots(ax, place, rows, seeds, style.BLUE, name=f"r{path}")
        values += list(numbers(rows["value"]))
        n_cells = max([n_cells, *rows["n"].astype(int)])
    known = [v for v in values if v == v]
    ax.set_xlim(min([0.9, *(v - 0.02 for v in known)]), 1.005)
    looks.named_rows(ax, [*PATHS], shown=False)
    ax.set_xlabel("Pearson r")
    return n_cells


def _top1(ax: Axes, tables: Tables, seeds: list[int]) -> None:
    n = 0
    for place, path in enumerate(PATHS):
        rows = last_readout(tables, "direct", f"top1{path}")
        looks.seed_dots(ax, place, rows, seeds, style.BLUE, name=f"top1{path}")
        n = max(n, int(rows["n"].max()) if len(rows) else 0)
    style.vertical(ax, float(n) if n else float("nan"))
    ax.set_xlim(-0.2, n + 0.2 if n else 1)
    looks.named_rows(ax, [*PATHS], shown=False)
    ax.set_xlabel(f"names of {n}" if n else "names")
