"""The evidence for a question, its answer as a row, and numbers as text. No torch.

A verdict without its data cannot be told, and its numbers say why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from zscope.config.base import percent
from zscope.figures.frames import select
from zscope.studies.crosslingual.config import VerdictConfig
from zscope.studies.crosslingual.declared import DeclaredCell
from zscope.tables.schema import Table
from zscope.verdicts import (
    LEAST_DRAWS,
    POWER,
    UNKNOWN,
    Answer,
    detectable_beyond,
    least_rank_p,
    yes,
)

Side: TypeAlias = Literal["above", "below"]
NUMBERS = (
    "value",
    "ci_low",
    "ci_high",
    "null_mean",
    "null_low",
    "null_high",
    "null",
    "draws",
    "matched_on",
    "p",
    "p_draws",
    "p_least",
    "detectable",
    "n",
)
# Numbers that the protocol quotes for Qwen2.5-3B.
QUOTED = {
    "ranks": "80.4 +- 6.0, CV < 0.08 (L33)",
    "ffn": "0.57x chance (L32-L33); similarity of L32 and L33 0.482",
    "geometry": "ratio_Z 0.730, ratio_Zperp 0.824 (L32, k 50, mean pool)",
}
QUOTED_MODEL = "qwen2.5-3b"


@dataclass(frozen=True)
class Evidence:
    """Tables of one model, by name, and what was fixed before the run: the cell and the rules.

    level: of the intervals in the tables.
    """

    tables: Mapping[str, pd.DataFrame]
    cell: DeclaredCell
    rules: VerdictConfig
    level: float
    model: str

    def get(self, table: Table, **equal: Any) -> pd.DataFrame:
        """The rows with these values (None: null); none without the table."""
        frame = self.tables.get(table.name)
        if frame is None:
            frame = pd.DataFrame(columns=[c.name for c in table.columns])
        return select(frame, **equal)

    def one(self, table: Table, **equal: Any) -> pd.Series | None:
        """The first of these rows, if there is one."""
        rows = self.get(table, **equal)
        return None if rows.empty else rows.iloc[0]

    @property
    def interval(self) -> str:
        return f"{percent(self.level)} interval"

    def quoted(self, name: str) -> str:
        return f"; the protocol quotes {QUOTED[name]}" if self.model == QUOTED_MODEL else ""


@dataclass(frozen=True)
class Question:
    """A question, and the criteria of its two verdicts, for people."""

    id: str
    text: str
    protocol: str
    controlled: str

    def unanswered(self, why: str) -> dict[str, Any]:
        return self.answered(UNKNOWN, UNKNOWN, None, why)

    def answered(
        self,
        protocol: Answer,
        controlled: Answer,
        row: Mapping[str, Any] | pd.Series | None,
        numbers: str,
    ) -> dict[str, Any]:
        """A row of crosslingual_summary, without the model.

        row: holds the value that the controlled verdict is about, and those of NUMBERS that it has.
        numbers: those behind both verdicts, for people.
        """
        found = {} if row is None else dict(row)
        return {
            "question": self.id,
            "text": self.text,
            "protocol_criterion": self.protocol,
            "protocol_verdict": protocol,
            "controlled_criterion": self.controlled,
            "controlled_verdict": controlled,
            **{name: found.get(name) for name in NUMBERS},
            "numbers": numbers,
        }


def known(row: pd.Series, *columns: str) -> bool:
    return bool(row[list(columns)].notna().all())


def largest(frame: pd.DataFrame) -> pd.Series:
    """The row with the largest value."""
    return frame.iloc[int(frame["value"].to_numpy(float).argmax())]


def enough_draws(row: pd.Series | None) -> bool:
    """Whether the row has a null with draws enough for a band."""
    return row is not None and known(row, "draws") and int(row["draws"]) >= LEAST_DRAWS


def outside(value: float, row: pd.Series | None, side: Side) -> Answer:
    """Whether a value lies above, or below, the band of the row's null."""
    end = "null_high" if side == "above" else "null_low"
    if row is None or not enough_draws(row) or not known(row, end) or np.isnan(value):
        return UNKNOWN
    return yes(value > row[end] if side == "above" else value < row[end])


def ranks_above(row: pd.Series | None, alpha: float) -> Answer:
    """Whether a value ranks above the draws of its null, whose p the row holds."""
    if row is None or not enough_draws(row) or not known(row, "p"):
        return UNKNOWN
    return UNKNOWN if least_rank_p(int(row["draws"])) >= alpha else yes(row["p"] < alpha)


def band_power(row: pd.Series | None, side: Side, level: float) -> float | None:
    """`detectable_beyond` of a row and its own null; None where that is no band."""
    end = "null_high" if side == "above" else "null_low"
    if row is None or not enough_draws(row) or not known(row, end, "null_mean"):
        return None
    low, high = (
        float(row[c]) if c in row and pd.notna(row[c]) else np.nan for c in ("ci_low", "ci_high")
    )
    return detectable_beyond(abs(row[end] - row["null_mean"]), low, high, level)


def power(effect: float | None) -> str:
    """The power line of a verdict."""
    if effect is None or np.isnan(effect):
        return "power unknown"
    if np.isinf(effect):
        return "no difference could have been found"
    return f"could have found a difference of {number(effect)} ({percent(POWER)} power)"


def number(value: Any) -> str:
    return "none" if pd.isna(value) else f"{float(value):.3g}"


def interval(row: Mapping[str, Any] | pd.Series) -> str:
    return f"{number(row['value'])} [{number(row['ci_low'])}, {number(row['ci_high'])}]"


def band(row: Any) -> str:
    """Mean and band of a null, and how many draws are behind it."""
    if row is None or pd.isna(row["null_mean"]):
        return "none"
    drawn = "" if pd.isna(row["draws"]) else f" ({int(row['draws'])} draws)"
    return (
        f"{number(row['null_mean'])} [{number(row['null_low'])}, {number(row['null_high'])}]{drawn}"
    )
