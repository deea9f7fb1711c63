"""What a study answers, as the overview shows it. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from zscope.tables.schema import Table


@dataclass(frozen=True)
class Answer:
    """A question with what was found.

    verdict: the word over all trainings; "" where the study declares none, and shows numbers.
    """

    question: str
    verdict: str
    numbers: str
    test: str = ""


@dataclass(frozen=True)
class Answers:
    """Where the answers of a study are; `ANSWERS` of its module `answers`.

    Attributes:
        question: of the study.
        headline: the figure that shows the main result.
        table: that the answers are read from; rows of several files are joined.
        read: from its rows to the answers.
    """

    question: str
    headline: str
    table: Table
    read: Callable[[pd.DataFrame], Iterator[Answer]]


def number(value: Any) -> str:
    """Three digits; a dash for null."""
    return "-" if value is None or pd.isna(value) else f"{float(value):.3g}"


def interval(low: Any, high: Any) -> str:
    """In brackets; "" without one. A null end of an onset lies beyond the last step."""
    return "" if pd.isna(low) and pd.isna(high) else f" [{number(low)}, {number(high)}]"
