"""Method by question: found, not found, or cannot be told, against known truth."""

from __future__ import annotations

import textwrap
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.tables import Tables
from zscope.studies.components.tables import SUMMARY
from zscope.studies.components.words import FOUND, NOT_FOUND

NEEDS = (SUMMARY,)
COLUMNS = {"subject": 0.0, "method": 0.2, "question": 0.42, "verdict": 0.72, "of": 0.92}
WIDTHS = {"subject": 22, "method": 24, "question": 34, "verdict": 22}
COLOURS = {FOUND: style.GREEN, NOT_FOUND: style.VERMILLION}


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get(SUMMARY)
    if rows.empty:
        return style.nothing_to_draw("no method was asked")
    texts = [_texts(row) for row in _in_short(rows).to_dict("records")]
    lines = sum(style.count_lines(row) for row in texts)
    fig = style.figure(style.DOUBLE, 0.135 * (lines + 1.2) + 0.6)
    style.word_table(fig.subplots(), COLUMNS, texts, _colour)
    style.note(
        fig,
        "The verdict is over all trainings of a model (attribution, dictionaries) or over all "
        "decompositions of one model; of: how many. Attribution: every kind of node and layer "
        "together; the table has each.",
    )
    return fig


def _in_short(rows: pd.DataFrame) -> pd.DataFrame:
    """Attribution over all nodes alone, where there is such a row."""
    of_cells = rows["question"].str.startswith("effects of ")
    return rows[~of_cells]


def _texts(row: dict[Any, Any]) -> dict[str, str]:
    wrapped = {name: textwrap.fill(str(row[name]), width) for name, width in WIDTHS.items()}
    return {**wrapped, "of": str(row["n"])}


def _colour(column: str, text: str) -> Any:
    return COLOURS.get(text, style.GREY) if column == "verdict" else style.BLACK
