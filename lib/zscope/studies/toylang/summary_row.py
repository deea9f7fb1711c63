"""One row of toylang_summary. No torch."""

from __future__ import annotations

from typing import Any

from zscope.studies.toylang.tables import SUMMARY
from zscope.tables.schema import Row


def summary_row(
    condition: str, claim: str, text: str, measured: str, verdict: str, **more: Any
) -> Row:
    """A claim's row; the nullable columns that are not given are null."""
    absent = {column.name: None for column in SUMMARY.columns if column.nullable}
    known = {"condition": condition, "claim": claim, "text": text, "measured": measured}
    return {**absent, **known, "verdict": verdict, "unit": "", **more}
