"""Precision and recall along a ranked list of rules.

The truth must come from the program (edit a token, compare the conditionals), not from frequencies.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from zscope.core.errors import DataError


@dataclass(frozen=True, eq=False)
class PrecisionRecall:
    """Entry i is about the first i + 1 entries of the list.

    Attributes:
        average_precision: mean over true rules of the precision at their rank; a rule that is not
            in the list counts as 0.
    """

    precision: Float[np.ndarray, " n"]
    recall: Float[np.ndarray, " n"]
    average_precision: float


def precision_recall(ranked: Sequence[Hashable], true: Collection[Hashable]) -> PrecisionRecall:
    """Precision and recall along a ranked list.

    Raises:
        DataError: there is no true rule, or the list names a rule twice.
    """
    truth = set(true)
    if not truth:
        raise DataError("there is no true rule to find: name at least one")
    if len(set(ranked)) < len(ranked):
        raise DataError("the ranked list names a rule twice")
    hit = np.array([rule in truth for rule in ranked], dtype=float)
    precision = hit.cumsum() / np.arange(1, len(hit) + 1)
    return PrecisionRecall(
        precision, hit.cumsum() / len(truth), float((precision * hit).sum() / len(truth))
    )
