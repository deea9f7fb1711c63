"""Prompts `label content` x n, ASK, a content; the answer is the label of that content.

Ids: labels, then contents, then ASK. The letter of the position is the label that the option would
have if the labels were in order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from zscope.core.errors import DataError


@dataclass(frozen=True, eq=False)
class Prompts:
    """place: which option is asked for. answer: its label."""

    tokens: Int[np.ndarray, "n seq"]
    place: Int[np.ndarray, " n"]
    answer: Int[np.ndarray, " n"]

    @property
    def apart(self) -> Bool[np.ndarray, " n"]:
        """Whether the label is another one than the letter of the position, which is `place`."""
        return self.answer != self.place


def vocabulary_size(options: int, contents: int) -> int:
    return options + contents + 1


def make_prompts(
    n: int, options: int, contents: int, permuted: float, rng: np.random.Generator
) -> Prompts:
    """permuted: the share of prompts whose labels are in random order.

    Raises DataError for fewer contents than options.
    """
    if contents < options:
        raise DataError(f"{contents} contents for {options} options: all must be different")
    labels = np.tile(np.arange(options), (n, 1))
    shuffled = rng.random(n) < permuted
    labels[shuffled] = rng.permuted(labels[shuffled], axis=1)
    chosen = rng.permuted(np.tile(np.arange(contents), (n, 1)), axis=1)[:, :options]
    place = rng.integers(options, size=n)
    rows = np.arange(n)
    tokens = np.empty((n, 2 * options + 2), dtype=np.int64)
    tokens[:, 0 : 2 * options : 2] = labels
    tokens[:, 1 : 2 * options : 2] = options + chosen
    tokens[:, -2] = options + contents
    tokens[:, -1] = options + chosen[rows, place]
    return Prompts(tokens, place, labels[rows, place])
