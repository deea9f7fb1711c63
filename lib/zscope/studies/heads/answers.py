"""The answers of the heads study: a verdict per detector and subject, over its models."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from zscope.figures.frames import select
from zscope.pages.answers import Answer, Answers, interval, number
from zscope.studies.heads.tables import ALL_MODELS, SKIPPED, SUMMARY


def read(rows: pd.DataFrame) -> Iterator[Answer]:
    """Of every detector that applies; those that are skipped are told elsewhere."""
    for row in select(rows, model=ALL_MODELS).to_dict("records"):
        if row["verdict"] == SKIPPED:
            continue
        effect = ""
        if pd.notna(row["value"]):
            ends = interval(row["ci_low"], row["ci_high"])
            named = f"effect of the named heads on {row['behaviour']}"
            effect = f"{named}: {number(row['value'])}{ends} nats"
        tests = []
        if pd.notna(row["draws"]):
            tests.append(f"{int(row['hits'])} of {int(row['draws'])} random sets cost as much")
        if pd.notna(row["p_holm"]):
            tests.append(f"Holm p {number(row['p_holm'])}")
        tests.append(row["tally"])
        reason = "" if pd.isna(row["reason"]) else str(row["reason"])
        yield Answer(
            f"{row['subject']}: {row['detector']} heads",
            row["verdict"],
            "; ".join(filter(None, (effect, reason))),
            "; ".join(tests),
        )


ANSWERS = Answers(
    "Which attention head does what, and does the behaviour need it?",
    "verdicts",
    SUMMARY,
    read,
)
