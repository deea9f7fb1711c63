"""The answers of the components study: method by question, against known truth."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from zscope.pages.answers import Answer, Answers
from zscope.studies.components.tables import SUMMARY


def read(rows: pd.DataFrame) -> Iterator[Answer]:
    """One answer per method and question."""
    for row in rows.to_dict("records"):
        yield Answer(
            f"{row['subject']}: {row['method']}: {row['question']}",
            row["verdict"],
            row["tally"],
            f"n {row['n']}; the rule is in docs/components.md",
        )


ANSWERS = Answers(
    "Which attribution, dictionary and decomposition methods find what is really there?",
    "summary",
    SUMMARY,
    read,
)
