"""What the toy language gives, as tidy rows for tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from zscope.data.toy.distributions import LABELS
from zscope.data.toy.language import Floor, Sequences, ToyLanguage
from zscope.data.toy.rules import Rule


def sequence_rows(language: ToyLanguage, sequences: Sequences) -> pd.DataFrame:
    """A row a token: sequence, position, token (the word), label (what governs it), entropy in
    nats, nll = -log p of the token in nats."""
    n, seq = sequences.tokens.shape
    words = np.array(language.vocabulary.tokens, dtype=object)
    rows = language.rows(sequences.tokens)
    p = language.distributions.p[rows, sequences.tokens]
    return pd.DataFrame(
        {
            "sequence": np.repeat(np.arange(n), seq),
            "position": np.tile(np.arange(seq), n),
            "token": words[sequences.tokens.ravel()],
            "label": np.array(LABELS, dtype=object)[sequences.labels.ravel()],
            "entropy": sequences.entropy.ravel(),
            "nll": -np.log(p).ravel(),
        }
    )


def rule_rows(rules: Iterable[Rule]) -> list[dict[str, Any]]:
    """A row a rule; key and distances are null where the query alone decides."""
    return [asdict(rule) for rule in rules]


def floor_rows(floors: Iterable[Floor]) -> list[dict[str, Any]]:
    """A row a primitive; value and value_se are null where it never governs."""
    return [asdict(floor) for floor in floors]
