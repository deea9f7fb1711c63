"""What several decompositions of one model say together: how alike they are, and the verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import permutations

import numpy as np
import pandas as pd

from zscope.config.base import Bootstrap
from zscope.studies.components.decomposition.planted.truth import cosines
from zscope.studies.components.words import WORDS, tally_of
from zscope.tables.schema import Row
from zscope.verdicts import LEAST_DRAWS, over_trainings

Vectors = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Reads and writes of alive components, one per row, by matrix."""


def best_match(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> float:
    """Mean over a's components of the largest |cosine| of U V^T with one of b's."""
    if not len(a[0]) or not len(b[0]):
        return 0.0
    return float((cosines(a[0], b[0]) * cosines(a[1], b[1])).max(1).mean())


def similarity_rows(
    by_seed: Mapping[int, Vectors], bootstrap: Bootstrap, rng: np.random.Generator
) -> Iterator[Row]:
    """How well the components of one decomposition are found again in another, by matrix. The null
    has random vectors in place of the other's."""
    for first, second in permutations(by_seed, 2):
        for matrix, a in by_seed[first].items():
            b = by_seed[second][matrix]
            null = [
                best_match(a, (rng.standard_normal(b[0].shape), rng.standard_normal(b[1].shape)))
                for _ in range(LEAST_DRAWS)
            ]
            low, high = np.quantile(null, bootstrap.tails)
            yield {
                "first": first,
                "second": second,
                "matrix": matrix,
                "alive": len(a[0]),
                "value": best_match(a, b),
                "null_low": float(low),
                "null_high": float(high),
            }


def verdict_rows(tests: pd.DataFrame) -> Iterator[Row]:
    """One word for each primitive and rule over all decompositions of a model. tests: rows of
    TESTS at the end of the first phase."""
    for (model, rule, primitive), some in tests.groupby(["model", "rule", "chosen_for"], sort=True):
        answers = some.sort_values("seed")["found"].tolist()
        yield {
            "model": model,
            "rule": rule,
            "primitive": primitive,
            "verdict": WORDS[over_trainings(answers)],
            "tally": tally_of(answers),
            "seeds": len(answers),
        }
