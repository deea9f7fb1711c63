"""The answers of the cross-lingual study: its questions, over the models of a family."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from zscope.pages.answers import Answer, Answers, number
from zscope.studies.crosslingual.tables import VERDICTS


def read(rows: pd.DataFrame) -> Iterator[Answer]:
    """One answer per question and family."""
    for row in rows.to_dict("records"):
        values = ""
        if pd.notna(row["low"]):
            values = f"values {number(row['low'])} to {number(row['high'])}; "
        yield Answer(
            f"{row['family']}: {row['text']}",
            row["controlled_verdict"],
            f"{values}by the original protocol's rule: {row['protocol_verdict']}",
            f"{row['n_models']} model(s): {row['controlled_tally']}",
        )


ANSWERS = Answers(
    "Is there a language-agnostic subspace Z that carries a problem's answer?",
    "dashboard",
    VERDICTS,
    read,
)
