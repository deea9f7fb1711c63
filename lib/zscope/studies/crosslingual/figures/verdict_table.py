"""The verdicts as a table: per question and rule a mark per model and the word over trainings."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from zscope.figures import style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.crosslingual.figures.lookups import models_of, of_range
from zscope.studies.crosslingual.figures.rates import STRIPE
from zscope.studies.crosslingual.tables import SUMMARY, VERDICTS

RULES = {"protocol": "protocol's rule", "controlled": "controlled rule"}
# Shape and filling tell the words apart without their colours.
MARKS: dict[str, dict[str, Any]] = {
    "yes": {"color": style.GREEN, "marker": "o"},
    "partial": {"color": style.ORANGE, "marker": "o", "fillstyle": "left"},
    "no": {"color": style.VERMILLION, "marker": "o", "fillstyle": "none"},
    "cannot be told": {"color": style.GREY, "marker": "s", "markerfacecolor": "#D9D9D9"},
    "varies between trainings": {"color": style.PURPLE, "marker": "D", "fillstyle": "left"},
}
# The left edge of each column, as a share of the width.
COLUMNS = {
    "question": 0.0,
    RULES["protocol"]: 0.3,
    RULES["controlled"]: 0.48,
    "value": 0.65,
    "detectable": 0.775,
    "n": 0.89,
    "draws": 0.955,
}
WIDTHS = {"question": 36, "word": 15}
HEAD = 1.4  # height of the names of the columns, in lines
GAP = 0.35  # between two questions, in lines


class Asked(NamedTuple):
    """What a question's row shows. words: by rule, of each model; whole: by rule, over trainings.

    value, detectable, n, draws: from the least to the largest among the models; "" without any.
    """

    text: str
    words: dict[str, list[str]]
    whole: dict[str, str]
    value: str
    detectable: str
    n: str
    draws: str

    @property
    def lines(self) -> float:
        texts = (self.text, *self.whole.values())
        return max(text.count("\n") + 1 for text in texts) + GAP


def asked(tables: Tables) -> list[Asked]:
    """One row per question, in the order of the tables."""
    rows = tables.get(SUMMARY)
    over = tables.get(VERDICTS, family=tables.declared.get("family"))
    out = []
    for question, of in rows.groupby("question", sort=False):
        whole = select(over, question=question)
        of = of.set_index("model").loc[[m for m in models_of(tables) if m in set(of["model"])]]
        out.append(
            Asked(
                textwrap.fill(of["text"].iloc[0], WIDTHS["question"]),
                {rule: list(of[f"{rule}_verdict"]) for rule in RULES},
                {rule: _word(whole, rule) for rule in RULES},
                _range(numbers(of["value"])),
                _range(numbers(of["detectable"])),
                of_range(numbers(of["n"])),
                of_range(numbers(of["draws"])),
            )
        )
    return out


def height(questions: Sequence[Asked]) -> float:
    """Inches that the table takes."""
    return 0.125 * (HEAD + sum(of.lines for of in questions) + 2)


def draw_table(ax: Axes, questions: Sequence[Asked]) -> None:
    """Draw it instead of axes."""
    if not questions:
        style.not_applicable(ax, "there is no summary")
        return
    ax.set_axis_off()
    ax.set_xlim(0, 1)
    ax.set_ylim(HEAD + sum(of.lines for of in questions) + 2, 0)
    for name, left in COLUMNS.items():
        ax.text(left, 0, name, va="top", fontweight="bold")
    top = HEAD
    for i, of in enumerate(questions):
        if i % 2 == 0:
            ax.axhspan(top - GAP / 2, top + of.lines - GAP / 2, color=STRIPE, linewidth=0)
        _row(ax, top, of)
        top += of.lines
    ax.legend(
        handles=[Line2D([], [], linestyle="", label=word, **MARKS[word]) for word in MARKS],
        loc="lower left",
        ncols=len(MARKS),
        borderaxespad=0,
    )


def _row(ax: Axes, top: float, of: Asked) -> None:
    _write(ax, 0, top, of.text)
    for rule, name in RULES.items():
        step = min(0.016, 0.06 / len(of.words[rule]))
        place = COLUMNS[name] + step / 2
        for word in of.words[rule]:
            ax.plot(
                place,
                top + 0.5,
                linestyle="",
                markersize=4.5,
                markeredgewidth=0.8,
                label=f"_verdict {word}",
                **MARKS[word],
            )
            place += step
        _write(ax, place, top, of.whole[rule])
    for name in ("value", "detectable", "n", "draws"):
        _write(ax, COLUMNS[name], top, getattr(of, name))


def _write(ax: Axes, left: float, top: float, text: str) -> None:
    """Lines of words, each on the baseline of its row, with and without ascenders."""
    for i, line in enumerate(text.splitlines()):
        ax.text(left, top + 0.75 + i, line, va="baseline")


def _word(whole: pd.DataFrame, rule: str) -> str:
    """The word over all trainings, wrapped."""
    words = whole[f"{rule}_verdict"]
    return textwrap.fill(words.iloc[0], WIDTHS["word"]) if len(words) else ""


def _range(values: Any) -> str:
    """Numbers from the least to the largest; an infinite one is none that can be reached."""
    found = sorted(
        {"none" if v == float("inf") else f"{v:.2g}" for v in values if v == v}, key=_key
    )
    return " to ".join(dict.fromkeys((found[0], found[-1]))) if found else ""


def _key(text: str) -> float:
    return float("inf") if text == "none" else float(text)
