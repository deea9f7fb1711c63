"""The study in one figure: six panels, and every claim with its result."""

from __future__ import annotations

import textwrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import marks, style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.toylang.figures import (
    ablations,
    direct,
    induction,
    looks,
    onsets,
    search,
    squares,
)
from zscope.studies.toylang.figures.lookups import (
    excess,
    grid,
    labels_of,
    matrix,
    readout,
    seeds_of,
    seeds_text,
)
from zscope.studies.toylang.named_heads import NAMED_FOR, others_like
from zscope.studies.toylang.tables import (
    ABLATIONS,
    MATRICES,
    ONSET_SUMMARY,
    ONSETS,
    READOUTS,
    REFERENCE,
    SUMMARY,
    TRAINING,
)
from zscope.studies.toylang.targets import EXCESS, EXCESS_OF_ALL

NEEDS = (TRAINING, ONSETS, ONSET_SUMMARY, MATRICES, READOUTS, ABLATIONS, SUMMARY)
COLUMNS = {"claim": (0.0, 60), "measured": (0.49, 34), "holds": (0.79, 22)}
"""Where each column of the table begins, as a share of the width, and its characters."""
HOLDS = {"yes": style.GREEN, "no": style.VERMILLION, "partly": style.ORANGE}


@style.styled
def draw(tables: Tables) -> Figure:
    claims = summary(tables)
    lines = sum(map(style.count_lines, claims))
    fig = style.figure(style.DOUBLE, 5.6 + 0.14 * max(lines, 2))
    upper, lower = style.stacked(fig, 5.0, 0.3 + 0.14 * max(lines, 2))
    changes = tables.get(ABLATIONS, metric="change", condition=REFERENCE)
    named = changes[changes["chosen_by"].isin(NAMED_FOR)]
    ranks = readout(tables, "rules", "rank")
    panels = (
        ("a  excess by primitive", _learning, excess(tables), "the reference was not trained"),
        ("b  onsets", _onsets, tables.get(ONSETS, condition=REFERENCE), "no onset was looked for"),
        ("c  bigram in the weights", _direct, matrix(tables, "direct"), "it was not read"),
        ("d  rule search: ranks", _ranks, ranks, "no skip rule was looked for"),
        ("e  induction", _induction, matrix(tables, "induction"), "no virtual head was read"),
        ("f  ablation: own primitive", _ablation, named, "the weights name no heads"),
    )
    for ax, (title, draw_panel, rows, why) in zip(upper.subplots(2, 3).flat, panels, strict=True):
        style.panel_title(ax, title)
        if rows.empty:
            style.not_applicable(ax, why)
        else:
            draw_panel(ax, tables, rows)
    _table(lower.subplots(), claims)
    style.legend(
        fig,
        {
            "all": style.BLACK,
            "a primitive, or behaviour": looks.BEHAVIOUR,
            "weights, or heads that they name": looks.WEIGHTS,
        },
        extra=[style.dot("other heads"), style.arrow("censored", ">")],
        columns=5,
    )
    style.note(
        fig,
        f"{seeds_text(excess(tables), tables.get(ONSETS, condition=REFERENCE))} The "
        "reference. a: medians over seeds (from 3 on; else seeds). b, d, f: dots: seeds. d: "
        "orange: by all paths. c, e: the first seed. Dashed: targets, chance, or no change. "
        "Claims that are tested on several models are shown for the reference alone.",
    )
    return fig


def summary(tables: Tables) -> list[dict[str, str]]:
    """One row per claim about the reference, or comparing it with another condition, wrapped."""
    rows = tables.get(SUMMARY)
    own = rows["condition"] == REFERENCE
    rows = pd.concat([rows[own], rows[~own & ~rows["claim"].isin(rows["claim"][own])]])
    return [
        {name: textwrap.fill(text, COLUMNS[name][1]) for name, text in texts.items()}
        for texts in (
            {"claim": row["text"], "measured": row["measured"], "holds": _holds(row)}
            for row in rows.to_dict("records")
        )
    ]


def _holds(row: dict) -> str:
    partly = row["verdict"] == "partly"
    return row["verdict"] + (f": {row['n_held']} of {row['n']} seeds" if partly else "")


def _table(ax: Axes, claims: list[dict[str, str]]) -> None:
    if not claims:
        style.not_applicable(ax, "there is no summary")
        return
    columns = {name: left for name, (left, _) in COLUMNS.items()}
    style.word_table(ax, columns, claims, _colour)


def _colour(column: str, text: str) -> str:
    """The colour of a verdict; grey if it is neither yes, no nor partly."""
    return HOLDS.get(text.split(":")[0], style.GREY) if column == "holds" else style.BLACK


def _learning(ax: Axes, tables: Tables, rows: pd.DataFrame) -> None:
    ax.set_yscale("log", nonpositive="mask")
    for name in labels_of(rows):
        of = select(rows, primitive=name).sort_values("step")
        middle = marks.median_over_runs(of)
        seeds = [of_run.set_index("step")["value"] for _, of_run in of.groupby("run")]
        for curve in [middle] if len(middle) else seeds:
            ax.plot(
                curve.index.to_numpy(float),
                numbers(curve),
                color=style.BLACK if name == "all" else looks.BEHAVIOUR,
                linewidth=1.6 if name == "all" else 0.7,
                label="_median" if len(middle) else "_seed",
            )
    for target in (EXCESS, EXCESS_OF_ALL):
        ax.axhline(target, **style.DASHED)
    style.step_axis(ax, rows["step"])
    ax.set_ylabel("excess (nats)")


def _onsets(ax: Axes, tables: Tables, rows: pd.DataFrame) -> None:
    onsets.panel(ax, tables, rows, short=True)
    ax.set_ylabel("")


def _direct(ax: Axes, tables: Tables, cells: pd.DataFrame) -> None:
    direct.panel(ax, grid(select(cells, seed=seeds_of(cells)[0])))
    ax.set_ylabel("")


def _ranks(ax: Axes, tables: Tables, rows: pd.DataFrame) -> None:
    search.panel(ax, tables)
    labels = [label.get_text() for label in ax.get_yticklabels()]
    short = [text.replace(" .. ", "..").replace(" -> ", "\n-> ") for text in labels]
    ax.set_yticks(ax.get_yticks(), short)
    ax.set_ylabel("")


def _induction(ax: Axes, tables: Tables, cells: pd.DataFrame) -> None:
    first = select(cells, seed=seeds_of(cells)[0])
    norm = squares.symmetric(numbers(first["value"]), numbers(first["truth"]))
    title = f"e  induction: {first['item'].iloc[0]}"
    squares.colour_bar(ax, induction.panel(ax, first, norm, title=title), "M (nats)")
    ax.set_ylabel("object of the query")


def _ablation(ax: Axes, tables: Tables, named: pd.DataFrame) -> None:
    rows = tables.get(ABLATIONS, metric="change", condition=REFERENCE)
    seeds, chosen = seeds_of(rows), ablations.named_in(named)
    for place, by in enumerate(chosen):
        name = NAMED_FOR[by]
        null = select(others_like(rows, by), primitive=name)
        looks.random_dots(ax, place + 0.2, null, 0.36, name)
        own = select(rows, chosen_by=by, primitive=name)
        looks.seed_dots(ax, place - 0.2, own, seeds, looks.WEIGHTS, name=by, width=0.36)
    looks.change_axes(ax, [NAMED_FOR[by] for by in chosen])
