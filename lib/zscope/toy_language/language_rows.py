"""Sampled sequences and true rules of the toy language as rows of tables, and back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields

import numpy as np
import pandas as pd

from zscope.toy_language.distributions import LABELS
from zscope.toy_language.language import Sequences, ToyLanguage
from zscope.toy_language.rules import Rule


def sequence_rows(language: ToyLanguage, sequences: Sequences) -> pd.DataFrame:
    """One row per token, with the probability p with which it was drawn."""
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
    """One row per rule; key and distances are null where the query alone decides."""
    return pd.DataFrame([asdict(rule) for rule in rules], columns=[f.name for f in fields(Rule)])


def rules_of(table: pd.DataFrame) -> list[Rule]:
    """The rules of a frame of `rule_rows`."""
    plain = table.astype(object).where(table.notna(), None)
    return [Rule(*row) for row in plain[[f.name for f in fields(Rule)]].to_numpy().tolist()]
