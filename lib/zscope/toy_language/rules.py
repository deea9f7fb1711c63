"""The rules of single tokens of the toy language, and their table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields

import pandas as pd

NOT_ZERO = 1e-9  # larger changes of a probability are effects, smaller ones rounding


@dataclass(frozen=True)
class Rule:
    """key .. query -> output: the key in the prefix changes p(output) after the query.

    Attributes:
        primitive: the primitive that governs where the rule applies.
        key: token of the prefix; None if the query alone decides.
        query: last token of the prefix.
        output: token whose probability changes most.
        effect: mean change of p(output), negative for suppression.
        min_distance, max_distance: distances seen from the query back to the key; None without key.
        n: contexts in which the effect was seen.
    """

    primitive: str
    key: str | None
    query: str
    output: str
    effect: float
    min_distance: int | None
    max_distance: int | None
    n: int

    @property
    def boosts(self) -> bool:
        """Whether a key makes the output likelier, as a search of boosts can find."""
        return self.key is not None and self.effect > 0

    @property
    def text(self) -> str:
        return triple_text(self.key or "", self.query, self.output)


def triple_text(key: str, query: str, output: str) -> str:
    """A rule, or a triple of tokens, as tables and figures name it."""
    return f"{key} .. {query} -> {output}"


def rule_rows(rules: Iterable[Rule]) -> pd.DataFrame:
    """One row per rule; key and distances are null where the query alone decides."""
    return pd.DataFrame([asdict(rule) for rule in rules], columns=[f.name for f in fields(Rule)])


def rules_of(table: pd.DataFrame) -> list[Rule]:
    """The rules of a frame of `rule_rows`."""
    plain = table.astype(object).where(table.notna(), None)
    return [Rule(*row) for row in plain[[f.name for f in fields(Rule)]].to_numpy().tolist()]
