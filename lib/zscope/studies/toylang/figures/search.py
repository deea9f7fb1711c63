"""The rule search over all triples of tokens: precision, recall, ranks, and what comes first."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from zscope.figures import style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.toylang.figures import looks, squares
from zscope.studies.toylang.figures.lookups import (
    NAMES,
    at_last,
    last_readout,
    readout,
    seeds_of,
    seeds_text,
)
from zscope.studies.toylang.tables import READOUTS, REFERENCE, SEARCH
from zscope.studies.toylang.targets import FIRST
from zscope.toy_language.rules import triple_text

NEEDS = (SEARCH, READOUTS)
SHOWN = 15  # triples of one seed that are written out
PATHS = {"rank": style.BLUE, "rank_all_paths": style.ORANGE}  # one head; all paths
COLOURS = {
    "skip": style.BLUE,
    "long_range": style.GREEN,
    "induction": style.PURPLE,
    "suppress": style.ORANGE,
}


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get(SEARCH, condition=REFERENCE)
    if rows.empty:
        return style.nothing_to_draw("no rules were searched for")
    seed = seeds_of(rows)[0]
    fig = style.figure(style.DOUBLE, 4.6)
    halves: Any = fig.subfigures(1, 2, width_ratios=[1.15, 1])
    left, right = halves
    precision, rank = left.subplots(2, 1)
    style.panel_title(precision, "a  precision and recall")
    _precision(precision, tables, rows)
    style.panel_title(rank, "b  rank of every true skip rule")
    panel(rank, tables)
    first = right.subplots()
    style.panel_title(first, f"c  first triples (seed {seed})")
    _first(first, select(rows, seed=seed).sort_values("rank").head(SHOWN))
    triples, rules = sizes(tables)
    style.note(
        fig,
        seeds_text(rows),
        f"All {triples:,} triples (query, key, output) are ranked by how much the key adds to the "
        "output's probability; no text was run through the model."
        if triples
        else "",
        "a: precision: the share of the first triples whose key makes the output likelier in the "
        f"program; recall: the share of its {rules} rules of single tokens that are among them; "
        "one line per seed, over the ranks that were kept; dashed: the precision of all triples. "
        "a, c: by all paths over the two tokens, for triples that can occur; a closing bracket as "
        f"the key makes nothing likelier by itself. {_first_true(tables)}b: orange: by the same "
        "paths; blue: through one head alone. Dots: seeds; bars: median over seeds (from 3 on); "
        f"dashed: rank {FIRST}, the target, and chance, the mean of all ranks. c: filled: "
        "likelier in the program.",
    )
    return fig


def sizes(tables: Tables) -> tuple[int, int]:
    """The number of all triples, and of single-token rules; 0 if it is not known."""
    ranks, found = readout(tables, "rules", "rank"), readout(tables, "rules", "recall_at_10")
    triples, rules = (int(f["n"].max()) if len(f) else 0 for f in (ranks, found))
    return triples, rules


def _first_true(tables: Tables) -> str:
    """The precision of the first triples, with those that need another bracket and without."""
    found = [
        last_readout(tables, "rules", f"precision_at_{FIRST}{end}_all_paths")["value"]
        for end in ("", "_alone")
    ]
    if any(values.empty for values in found):
        return ""
    every, alone = (f"{numbers(v).min():.2g} to {numbers(v).max():.2g}" for v in found)
    return (
        f"Of the first {FIRST}, {every} (share) are true; of the first {FIRST} that need no other "
        f"bracket around them, {alone}. "
    )


def panel(ax: Axes, tables: Tables) -> None:
    """The rank of every true skip rule at the last checkpoint, seed by seed, on a log axis."""
    every = {metric: readout(tables, "rules", metric) for metric in PATHS}
    if every["rank"].empty:
        style.not_applicable(ax, "no skip rule was looked for")
        return
    seeds = seeds_of(every["rank"])
    rules = list(dict.fromkeys(every["rank"]["item"]))[: squares.LARGEST]
    triples, _ = sizes(tables)
    chance = (triples + 1) / 2
    drawn: list[float] = []
    for (metric, colour), shift in zip(PATHS.items(), (-0.2, 0.2), strict=True):
        last = at_last(every[metric])
        drawn += numbers(last["value"]).tolist()
        for place, rule in enumerate(rules):
            of = select(last, item=rule)
            looks.seed_dots(ax, place + shift, of, seeds, colour, name=rule, width=0.3)
    looks.log_x(ax, drawn, 1.0, chance)
    style.vertical(ax, float(FIRST))
    style.vertical(ax, chance)
    ax.set_xlabel(f"rank among {triples:,} triples")
    looks.named_rows(ax, rules, "rule")


def _precision(ax: Axes, tables: Tables, rows: pd.DataFrame) -> None:
    for seed in seeds_of(rows):
        of = select(rows, seed=seed).sort_values("rank")
        ax.plot(
            numbers(of["recall"]),
            numbers(of["precision"]),
            color=style.BLUE,
            linewidth=0.9,
            alpha=0.6,
            marker="o",
            markersize=1.6,
            label=f"_seed {seed}",
        )
    chance = readout(tables, "rules", "chance")
    if len(chance):
        share = float(chance["value"].iloc[0])  # of the program, so the same everywhere
        ax.axhline(share, **style.DASHED)
        ax.annotate(f"chance: {share:.1e}", (1, share), (0, 3), textcoords="offset points",
                    ha="right", color=style.GREY)  # fmt: skip
    style.share_axis(ax, "precision (share)")
    ax.set_xlim(-0.03, 1.05)
    ax.set_xlabel("recall of single-token rules (share)")


def _first(ax: Axes, rows: pd.DataFrame) -> None:
    values = numbers(rows["d_prob"])
    primitives = rows["primitive"].fillna("").astype(str)
    for place, (primitive, value) in enumerate(zip(primitives, values, strict=True)):
        known = primitive != ""
        colour = COLOURS.get(primitive, style.SKY) if known else style.GREY
        ax.barh(
            place,
            value,
            color=colour if known else "white",
            edgecolor=colour,
            linewidth=0.8,
            height=0.7,
            label="_true" if known else "_other",
        )
        if known:
            name = NAMES.get(primitive, primitive)
            ax.annotate(name, (value, place), (3, 0), textcoords="offset points", va="center")
    names = [triple_text(*of) for of in rows[["key", "query", "output"]].itertuples(index=False)]
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_xlim(0, max(0.05, 1.45 * float(values.max())))  # noise must not fill the panel
    ax.xaxis.set_major_locator(MaxNLocator(nbins=4))
    ax.set_xlabel("change of p(output) (share)")
    ax.set_ylabel("triple, the first at the top")
