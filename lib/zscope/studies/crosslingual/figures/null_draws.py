"""Where Z lies among the draws of its null: the declared comparisons, one row per model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import select
from zscope.figures.tables import Tables
from zscope.studies.crosslingual.figures import model_marks, rates
from zscope.studies.crosslingual.figures.lookups import (
    CELL,
    cell_of,
    count,
    in_words,
    models_of,
)
from zscope.studies.crosslingual.tables import DRAWS, RATES, SIZES, TESTS
from zscope.verdicts import DrawTest

NEEDS = (RATES, DRAWS, TESTS, SIZES)


@dataclass(frozen=True)
class Comparison:
    """A space with its null on one metric. side: where the declared rule wants the space.

    changes: what of the declared cell is another.
    """

    title: str
    space: rates.Condition
    null: rates.Condition
    metric: str
    side: Literal["above", "below"]
    changes: Mapping[str, str] = field(default_factory=dict)


TRANSFER = {"source": "mismatched"}
SITE = {**TRANSFER, "design": "site_answer", "where": "prefill"}
MEAN = {"source": "mean"}
SWITCHES = "Z-perp switches more languages"
AT_SITE = "At the answer's own position, Z gives more of the source's answers"
LOST = "With Z at its mean more answers change"
# As the questions about patching read them.
COMPARISONS = (
    Comparison("Z changes more answers", rates.Z, rates.ENERGY, "answer_changed", "above"),
    Comparison(SWITCHES, rates.Z_PERP, rates.ENERGY_PERP, "language_switched", "above"),
    Comparison(
        "Z gives more of the source's answers",
        rates.Z,
        rates.ENERGY,
        "source_answer",
        "above",
        TRANSFER,
    ),
    Comparison(AT_SITE, rates.Z, rates.ENERGY, "source_answer", "above", SITE),
    Comparison(LOST, rates.Z, rates.ENERGY, "answer_changed", "above", MEAN),
    Comparison(f"{LOST}: uniform spaces", rates.Z, rates.RANDOM, "answer_changed", "above", MEAN),
)
LETTERS = "abcdefgh"
# Columns of numbers right of the panels: name, and where it starts, in points.
COLUMNS = {"draws as\nfar or farther": 6, "p, by\nrank": 72, "p,\npaired": 106, "n": 140}


@style.styled
def draw(tables: Tables) -> Figure:
    cell = cell_of(tables)
    found = [(c, *_rows(tables, cell, c)) for c in COMPARISONS]
    shown = [(c, rows, draws) for c, rows, draws in found if len(rows) and len(draws)]
    if not shown:
        return style.nothing_to_draw("no verdict has a null of random spaces", count(tables))
    models = models_of(tables)
    fig = style.figure(style.DOUBLE, len(shown) * (0.42 + 0.26 * len(models)) + 1.7)
    axes = fig.subplots(len(shown), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for ax, (c, rows, draws), letter in zip(axes, shown, LETTERS, strict=False):
        style.panel_title(ax, f"{letter}  {c.title}")
        _panel(ax, models, c, rows, draws)
        _numbers(ax, models, c, _test(tables, cell, c), named=ax is axes[0])
    model_marks.name_axis(axes[0], models)
    axes[len(axes) // 2].set_ylabel("model")
    model_marks.share_axis(axes[-1], "share of the problems that were right unpatched")
    style.legend(
        fig,
        {},
        extra=[
            style.line("Z", rates.Z.colour, marker="D", linewidth=1.2),
            style.line("Z-perp", rates.Z_PERP.colour, marker="D", linewidth=1.2),
            style.dot("an energy-matched space, or its complement", rates.ENERGY.colour),
            style.dot("a uniform space", rates.RANDOM.colour),
        ],
    )
    nulls = [draws for _, _, draws in shown]
    style.note(
        fig,
        count(tables, *(rows for _, rows, _ in shown)),
        f"{in_words(tables, 'layer', 'k', 'kind', 'design', 'source', 'where').capitalize()}, "
        f"{tables.declared['direction']}, where a title says nothing else.",
        f"Diamonds: with their {tables.percent} Wilson interval over problems.",
        rates.dots_of(pd.concat(nulls)),
        _matched(dict(zip(LETTERS, nulls, strict=False))),
        "As far: in the direction that the title names; ties count. p by rank is one-sided, "
        "(1 + these draws) / (1 + all), p paired two-sided over problems; a verdict needs both.",
    )
    return fig


def cell_of_comparison(cell: Mapping[str, Any], comparison: Comparison) -> dict[str, Any]:
    """The cell that a comparison is made in."""
    return {**cell, **comparison.changes}


def _rows(
    tables: Tables, cell: Mapping[str, Any], c: Comparison
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rates of the space, one per model, and those of its null's draws."""
    where = cell_of_comparison(cell, c)
    rows = rates.condition_rows(tables, where, c.space, c.metric)
    return rows, rates.draw_rows(tables, where, c.null.space, c.metric)


def _test(tables: Tables, cell: Mapping[str, Any], c: Comparison) -> pd.DataFrame:
    where = {column: cell_of_comparison(cell, c)[column] for column in CELL}
    return tables.get(
        TESTS,
        **where,
        first=c.space.space,
        second=c.null.space,
        metric=c.metric,
        stratum="baseline_correct",
    )


def _panel(
    ax: Axes, models: list[str], c: Comparison, rows: pd.DataFrame, draws: pd.DataFrame
) -> None:
    for place, model in enumerate(models):
        of = select(draws, model=model)
        model_marks.draw_dots(
            ax, place, of, [model], c.null.colour, name=c.metric, width=1.0, size=6
        )
        model_marks.model_dots(
            ax,
            place,
            select(rows, model=model),
            [model],
            c.space.colour,
            name=c.metric,
            marker="D",
        )


def _numbers(
    ax: Axes, models: list[str], c: Comparison, tests: pd.DataFrame, *, named: bool
) -> None:
    """How the space ranks among the draws, and both p, beside the row of every model.

    named: whether the columns are.
    """
    for text, left in COLUMNS.items() if named else ():
        _beside(ax, text, left, 1.0, "axes fraction", va="bottom")
    for row in tests.dropna(subset=["draws"]).to_dict("records"):
        rank = DrawTest(int(row[f"draws_{c.side}"]), int(row["draws"]))
        texts = (
            f"{rank.hits} of {rank.draws}",
            f"{rank.p:.2g}",
            f"{row['p']:.2g}",
            f"{row['n']}",
        )
        for text, left in zip(texts, COLUMNS.values(), strict=True):
            _beside(ax, text, left, models.index(row["model"]), "data", va="center")


def _beside(ax: Axes, text: str, left: float, y: float, height: str, **look: Any) -> None:
    """Text right of the panel, `left` points from it; height: the coordinates of y."""
    shift = (left, 4 if height == "axes fraction" else 0)
    coordinates: Any = ("axes fraction", height)
    ax.annotate(
        text,
        (1.0, y),
        shift,
        coordinates,
        "offset points",
        ha="left",
        annotation_clip=False,
        **look,
    )


def _matched(letters: Mapping[str, pd.DataFrame]) -> str:
    """What the energy of the draws is matched on, and in which panels."""
    panels: dict[str, list[str]] = {}
    for letter, draws in letters.items():
        for matched in draws["matched_on"].dropna().unique():
            panels.setdefault(matched, []).append(letter)
    parts = (f"{matched} ({', '.join(at)})" for matched, at in panels.items())
    text = "; ".join(parts)
    return f"Energy is matched on {text}." if text else ""
