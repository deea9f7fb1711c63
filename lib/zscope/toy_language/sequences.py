"""Sampled sequences of the toy language as rows of a table."""

from __future__ import annotations

import numpy as np
import pandas as pd

from zscope.toy_language.distributions import LABELS
from zscope.toy_language.language import Sequences, ToyLanguage


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
