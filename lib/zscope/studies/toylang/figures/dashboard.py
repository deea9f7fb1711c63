"""The study in one figure: six panels, and what was claimed and measured."""

from __future__ import annotations

import re
import textwrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import marks, style
from zscope.studies.toylang.figures import ablations, direct, induction, onsets, search, squares
from zscope.studies.toylang.figures.lookups import (
    NAMES,
    REFERENCE,
    Tables,
    count_seeds,
    grid,
    labels_of,
    numbers,
    seeds_of,
    select,
)
from zscope.studies.toylang.targets import EXCESS, EXCESS_OF_ALL

COLUMNS = {"claim": (0.0, 60), "measured": (0.49, 34), "holds": (0.79, 22)}
HOLDS = {"yes": style.GREEN, "no": style.VERMILLION, "partly": style.ORANGE}


@style.styled
def draw(tables: Tables) -> Figure:
    claims = summary(tables)
    lines = sum(map(style.count_lines, claims))
    fig = style.figure(style.DOUBLE, 5.6 + 0.14 * max(lines, 2))
    upper, lower = style.stacked(fig, 5.0, 0.3 + 0.14 * max(lines, 2))
    (learned, when, square), (ranks, matrix, ablated) = upper.subplots(2, 3)
    style.panel_title(learned, "a  excess by primitive")
    _learning(learned, tables)
    style.panel_title(when, "b  onsets")
    _onsets(when, tables)
    style.panel_title(square, "c  bigram in the weights")
    _direct(square, tables)
    style.panel_title(ranks, "d  rule search: ranks")
    search.panel(ranks, tables)
    if ranks.axison:
        ranks.set_yticks(ranks.get_yticks(), [_wrapped(t) for t in ranks.get_yticklabels()])
        ranks.set_ylabel("")
    style.panel_title(matrix, "e  induction")
    _induction(matrix, tables)
    style.panel_title(ablated, "f  ablation: own primitive")
    _ablation(ablated, tables)
    _table(lower.subplots(), claims)
    style.legend(
        fig,
        {
            "all": style.BLACK,
            "a primitive, or behaviour": squares.BEHAVIOUR,
            "weights, or heads that they name": squares.WEIGHTS,
        },
        extra=[style.dot("random heads"), style.arrow("censored", ">")],
        columns=5,
    )
    style.note(
        fig,
        f"{count_seeds(tables.excess(), tables.get('toylang_onsets', condition=REFERENCE))} The "
        "reference. a: medians over seeds (from 3 on; else seeds). b, d, f: dots: seeds. d: "
        "orange: by all paths. c, e: the first seed. Dashed: targets, chance, or no change. "
        "Claims that other models repeat are in the table alone.",
    )
    return fig


def summary(tables: Tables) -> list[dict[str, str]]:
    """A row a claim on the reference, or on another condition against it, wrapped to be read."""
    rows = tables.get("toylang_summary")
    own = rows["condition"] == REFERENCE
    # Claims that are tested on every model are shown of the reference alone.
    rows = pd.concat([rows[own], rows[~own & ~rows["claim"].isin(rows["claim"][own])]])
    out = []
    for row in rows.to_dict("records"):
        named = row["condition"] == REFERENCE or row["condition"] in row["claim"]
        text = {**row, "claim": row["claim"] + ("" if named else f" ({row['condition']})")}
        out.append({name: textwrap.fill(str(text[name]), w) for name, (_, w) in COLUMNS.items()})
    return out


def _table(ax: Axes, claims: list[dict[str, str]]) -> None:
    if not claims:
        style.not_applicable(ax, "there is no summary")
        return
    columns = {name: left for name, (left, _) in COLUMNS.items()}
    style.word_table(ax, columns, claims, _colour)


def _colour(column: str, text: str) -> str:
    """Of what holds, by its first word; what is neither yes, no nor partly is not coloured."""
    return HOLDS.get(re.split(r"\W", text)[0], style.GREY) if column == "holds" else style.BLACK


def _learning(ax: Axes, tables: Tables) -> None:
    rows = tables.excess()
    if rows.empty:
        style.not_applicable(ax, "the reference was not trained")
        return
    ax.set_yscale("log", nonpositive="mask")
    for name in labels_of(rows):
        of = select(rows, primitive=name)
        middle = marks.median_over_runs(of)
        found = [middle] if len(middle) else [s.set_index("step")["value"] for _, s in _runs(of)]
        for curve in found:
            ax.plot(
                curve.index.to_numpy(float),
                numbers(curve),
                color=style.BLACK if name == "all" else squares.BEHAVIOUR,
                linewidth=1.6 if name == "all" else 0.7,
                label="_median" if len(middle) else "_seed",
            )
    for target in (EXCESS, EXCESS_OF_ALL):
        ax.axhline(target, color=style.GREY, linestyle=(0, (4, 2)), linewidth=0.8,
                   label="_baseline")  # fmt: skip
    style.step_axis(ax, rows["step"])
    ax.set_ylabel("excess (nats)")


def _runs(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(str(run), of.sort_values("step")) for run, of in rows.groupby("run")]


def _onsets(ax: Axes, tables: Tables) -> None:
    rows = tables.get("toylang_onsets", condition=REFERENCE)
    if rows.empty:
        style.not_applicable(ax, "no onset was looked for")
        return
    onsets.panel(ax, tables, rows, short=True)
    ax.set_ylabel("")


def _direct(ax: Axes, tables: Tables) -> None:
    cells = tables.matrix("direct")
    if cells.empty:
        style.not_applicable(ax, "it was not read")
        return
    direct.panel(ax, grid(select(cells, seed=seeds_of(cells)[0])))
    ax.set_ylabel("")


def _induction(ax: Axes, tables: Tables) -> None:
    cells = tables.matrix("induction")
    if cells.empty:
        style.not_applicable(ax, "no virtual head was read")
        return
    first = select(cells, seed=seeds_of(cells)[0])
    norm = squares.symmetric(numbers(first["value"]), numbers(first["truth"]))
    title = f"e  induction: {first['item'].iloc[0]}"
    squares.colour_bar(ax, induction.panel(ax, first, norm, title=title), "M (nats)")
    ax.set_ylabel("object of the query")


def _ablation(ax: Axes, tables: Tables) -> None:
    rows = tables.get("toylang_ablations", metric="change", condition=REFERENCE)
    chosen = [by for by in ablations.NAMED if (rows["chosen_by"] == by).any()]
    if not chosen:
        style.not_applicable(ax, "the weights name no heads")
        return
    seeds = seeds_of(rows)
    for place, by in enumerate(chosen):
        name = ablations.NAMED[by]
        null = select(ablations.random_like(rows, by), primitive=name)
        squares.random_dots(ax, place + 0.2, null, 0.36, name)
        own = select(rows, chosen_by=by, primitive=name)
        squares.seed_dots(ax, place - 0.2, own, seeds, squares.WEIGHTS, name=by, width=0.36)
    style.vertical(ax, 0.0)
    left, right = ax.get_xlim()
    ax.set_xlim(min(left, -0.02), max(right, 0.1))
    ax.set_yticks(range(len(chosen)), [NAMES[ablations.NAMED[by]] for by in chosen])
    ax.set_ylim(len(chosen) - 0.5, -0.5)
    ax.set_xlabel("change of excess (nats)")


def _wrapped(label: object) -> str:
    text: str = getattr(label, "get_text")()  # noqa: B009
    return text.replace(" .. ", "..").replace(" -> ", "\n-> ")
