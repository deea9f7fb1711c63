"""The answers of the toy language study: its claims, over the seeds of a condition."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from zscope.pages.answers import Answer, Answers, interval, number
from zscope.studies.toylang.tables import SUMMARY


def read(rows: pd.DataFrame) -> Iterator[Answer]:
    """One answer per claim and condition."""
    for row in rows.to_dict("records"):
        held = "" if pd.isna(row["n_held"]) else f"held in {int(row['n_held'])} of {row['n']} seeds"
        p = "" if pd.isna(row["p"]) else f"p {number(row['p'])}"
        value = ""
        if pd.notna(row["value"]):
            ends = interval(row["ci_low"], row["ci_high"])
            value = f" ({number(row['value'])}{ends} {row['unit']})".replace(" )", ")")
        yield Answer(
            f"{row['condition']}: {row['text']}",
            row["verdict"],
            f"{row['measured']}{value}",
            "; ".join(filter(None, (held, p))),
        )


ANSWERS = Answers(
    "What did a model learn, when, and where is it in its weights, on a language whose every "
    "probability is known?",
    "dashboard",
    SUMMARY,
    read,
)
