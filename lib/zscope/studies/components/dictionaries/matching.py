"""How well the rows of a dictionary match known directions, both ways, and beside random rows.

Cosines are signed: a direction and its opposite are two features.
"""

# Matrices keep the capitals of the formulas.

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from zscope.core.provenance import derive_seed
from zscope.studies.components.dictionaries.stack import random_rows

CLOSE, HALF = 0.9, 0.5


@dataclass(frozen=True, eq=False)
class Matches:
    """Best cosines of each truth with any row, and of each row with any truth.

    Attributes:
        one_to_one: of each truth, in the matching that has the largest sum (Kuhn 1955); NaN for a
            truth that is left over where there are fewer rows.
        shared: whether another truth has the same best row.
    """

    truths: Float[np.ndarray, " truth"]
    rows: Float[np.ndarray, " row"]
    one_to_one: Float[np.ndarray, " truth"]
    shared: Float[np.ndarray, " truth"]

    @property
    def mean(self) -> float:
        """Mean of the truths' best cosines (MMCS; Sharkey et al. 2022)."""
        return float(self.truths.mean())


def match(truth: Float[Tensor, "truth d"], rows: Float[Tensor, "row d"]) -> Matches:
    """Match directions with rows. Raises ValueError if there are none of either."""
    from scipy.optimize import linear_sum_assignment

    if not len(truth) or not len(rows):
        raise ValueError("nothing to match")
    cosines = (_unit(truth) @ _unit(rows).mT).double().cpu().numpy()
    best = cosines.argmax(1)
    _, counts = np.unique(best, return_counts=True)
    taken = dict(zip(np.unique(best).tolist(), counts.tolist(), strict=True))
    left, right = linear_sum_assignment(-cosines)
    one = np.full(len(truth), np.nan)
    one[left] = cosines[left, right]
    return Matches(
        cosines.max(1), cosines.max(0), one, np.array([float(taken[int(b)] > 1) for b in best])
    )


def random_matches(truth: Float[Tensor, "truth d"], n: int, draws: int, seed: int) -> list[Matches]:
    """The matches of random dictionaries of n rows, from the seed named "random dictionary"."""
    d = truth.shape[1]
    seeds = (derive_seed(seed, f"random dictionary {i}") for i in range(draws))
    return [match(truth, random_rows(n, d, s)) for s in seeds]


def _unit(x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    return x / x.norm(dim=-1, keepdim=True).clamp(min=1e-12)


def shares(
    cosines: Float[np.ndarray, " n"], edges: Float[np.ndarray, " bins+1"]
) -> Float[np.ndarray, " bins"]:
    """Share of the cosines in each bin; what lies outside counts in the outermost."""
    counts, _ = np.histogram(np.clip(cosines, edges[0], edges[-1]), edges)
    return counts / max(1, len(cosines))
