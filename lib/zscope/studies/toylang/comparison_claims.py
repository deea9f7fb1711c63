"""The claims about two conditions: their verdicts are those of toylang_comparisons. No torch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from zscope.figures.frames import numbers, select
from zscope.stats import holm
from zscope.studies.toylang.onsets import ALPHA
from zscope.studies.toylang.summary_row import summary_row
from zscope.tables.schema import Row
from zscope.verdicts import UNKNOWN


def comparison_rows(comparisons: pd.DataFrame) -> Iterator[Row]:
    """Rows of toylang_summary, from those of toylang_comparisons."""
    for condition, rows in _decided(comparisons).groupby("condition", sort=False):
        is_model = rows["how"].iloc[0] == "model"
        yield from (_model_claim if is_model else _dependency_claim)(str(condition), rows)


def _decided(comparisons: pd.DataFrame) -> pd.DataFrame:
    """With the columns firm, whether the sign test decided, and reachable, whether it could have:
    the least p of n pairs is 2^(1-n), and after Holm it is that of the best case of all rows."""
    tested = comparisons["p"].notna() & (comparisons["changed"] != comparisons["primitive"])
    least = np.where(tested, 2.0 ** (1 - numbers(comparisons["n"])), np.nan)
    firm = numbers(comparisons["p_adjusted"]) < ALPHA
    return comparisons.assign(firm=firm, reachable=holm(least) < ALPHA)


def _undecided(reachable: bool) -> str:
    return "unclear" if reachable else UNKNOWN


def _model_claim(condition: str, rows: pd.DataFrame) -> Iterator[Row]:
    """Whether the reference learns induction before another model."""
    for _, row in select(rows, primitive="induction").iterrows():
        verdict = "no" if row["verdict"] == "earlier" else "yes"
        if not row["firm"]:
            verdict = _undecided(row["reachable"])
        measured = _shift(row)
        if row["verdict"] in ("all later", "all earlier"):
            way = row["verdict"].removeprefix("all ")
            measured += f"; {way} in all seeds, too few for a test (p = {row['p']:.2g})"
        text = f"{row['reference']} learns induction earlier than {condition}"
        columns = {"value": row["shift"], "unit": "doublings", "n": int(row["n"])}
        columns |= {name: row[name] for name in ("ci_low", "ci_high", "p")}
        yield summary_row(condition, "induction_before_model", text, measured, verdict, **columns)


def _dependency_claim(condition: str, rows: pd.DataFrame) -> Iterator[Row]:
    """Whether any other onset moves when one primitive is removed or delayed."""
    changed, how = rows["changed"].iloc[0], rows["how"].iloc[0]
    others = rows[rows["primitive"] != "all"]  # the changed one has a verdict of its own
    firm = others[others["firm"]]
    hints = others[~others["firm"] & others["verdict"].isin(["all later", "all earlier", "never"])]
    parts = [f"{row['verdict']}: {_shift(row)}" for _, row in pd.concat([firm, hints]).iterrows()]
    text = f"other onsets move when {changed} is {how}"
    measured = "; ".join(parts) or "none moves in one direction in all seeds"
    verdict, n = (
        "yes" if len(firm) else _undecided(bool(others["reachable"].any())),
        int(rows["n"].max()),
    )
    columns = {"value": float(len(firm)), "unit": "primitives", "n": n}
    yield summary_row(condition, "other_onsets_move", text, measured, verdict, **columns)


def _shift(row: pd.Series) -> str:
    if pd.isna(row["shift"]):
        return f"{row['primitive']}: {row['verdict']} (censored in {row['n_censored']})"
    ends = [row["ci_low"], row["ci_high"]]
    text = f"{row['primitive']} {row['shift']:+.2f} doublings"
    if any(pd.notna(end) for end in ends):
        low, high = ("beyond" if pd.isna(end) else f"{end:+.2f}" for end in ends)
        text += f" ({low} to {high})"
    return text
