"""What the toy language gives, as tidy rows for tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import pandas as pd

from zscope.toy_language.distributions import LABELS
from zscope.toy_language.language import Floor, Sequences, ToyLanguage
from zscope.toy_language.rules import Rule

DISTANCES = ("min_distance", "max_distance")


def sequence_rows(language: ToyLanguage, sequences: Sequences) -> pd.DataFrame:
    """Table toylang_sequences: a row a token, with the probability p that it was drawn with."""
    n, seq = sequences.tokens.shape
    words = np.array(language.vocabulary.tokens, dtype=object)
    rows = language.rows(sequences.tokens)
    p = language.distributions.p[rows, sequences.tokens]
    return pd.DataFrame(
        {
            "sequence": np.repeat(np.arange(n), seq),
            "position": np.tile(np.arange(seq), n),
            "token": words[sequences.tokens.ravel()],
            "primitive": np.array(LABELS, dtype=object)[sequences.labels.ravel()],
            "p": p.ravel(),
            "entropy": sequences.entropy.ravel(),
        }
    )


def rule_rows(rules: Iterable[Rule]) -> pd.DataFrame:
    """Table toylang_rules; key and distances are null where the query alone decides."""
    frame = pd.DataFrame([asdict(rule) for rule in rules], columns=[f.name for f in fields(Rule)])
    return frame.astype(dict.fromkeys(DISTANCES, "Int64"))


def rules_of(table: pd.DataFrame) -> list[Rule]:
    """The rules of a table toylang_rules."""
    plain = table.astype(object).where(table.notna(), None)
    return [Rule(*row) for row in plain[[f.name for f in fields(Rule)]].to_numpy().tolist()]


def floor_rows(floors: Iterable[Floor]) -> list[dict[str, Any]]:
    """Table toylang_floors, without primitives that govern nothing: they have no floor."""
    return [
        {
            "primitive": f.label,
            "frequency": f.frequency,
            "frequency_se": f.frequency_se,
            "floor": f.value,
            "floor_se": f.value_se,
            "nll": f.nll,
            "nll_se": f.nll_se,
            "n": f.n,
        }
        for f in floors
        if f.n
    ]
