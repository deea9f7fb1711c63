"""The few next-token distributions of the toy language, each with the primitive that governs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

import numpy as np
from jaxtyping import Float, Int

from zscope.toy_language.config import LanguageConfig, Primitive
from zscope.toy_language.vocabulary import ToyVocabulary

# In the order in which they govern: the first that matches. `start` is position 0.
LABELS = ("start", *get_args(Primitive), "category")
LABEL_ID = {name: i for i, name in enumerate(LABELS)}
CLOSERS = {"round": "round_close", "square": "square_close", "quote": "quote"}


@dataclass(frozen=True, eq=False)
class Distributions:
    """Rows of probabilities.

    Attributes:
        p: each row sums to 1.
        label: index into LABELS of the primitive that governs where a row applies.
        cause: equal for all rows with the same skip output, whatever shares the rest; every other
            row has its own.
    """

    p: Float[np.ndarray, "rows vocab"]
    label: Int[np.ndarray, " rows"]
    cause: Int[np.ndarray, " rows"]

    @cached_property
    def entropy(self) -> Float[np.ndarray, " rows"]:
        """Entropy of every row, in nats."""
        return -np.sum(self.p * np.log(np.where(self.p > 0, self.p, 1)), axis=1)

    @cached_property
    def alias(self) -> tuple[Float[np.ndarray, "rows vocab"], Int[np.ndarray, "rows vocab"]]:
        """Walker's alias tables (Vose 1991): draw a cell v, keep it with probability keep[v], else
        take alias[v]. A token of probability 0 has keep 0 and is never an alias."""
        n, size = self.p.shape
        keep, alias = np.zeros((n, size)), np.zeros((n, size), dtype=np.int32)
        for row, p in enumerate(self.p):
            mass = p * size
            small = [v for v in range(size) if mass[v] < 1]
            large = [v for v in range(size) if mass[v] >= 1]
            while small and large:
                v, other = small.pop(), large[-1]
                keep[row, v], alias[row, v] = mass[v], other
                mass[other] -= 1 - mass[v]
                if mass[other] < 1:
                    small.append(large.pop())
            # Rounding leaves some cells over. Those of impossible tokens must not be kept.
            possible = int(p.argmax())
            for v in small + large:
                keep[row, v], alias[row, v] = float(p[v] > 0), possible
        return keep, alias


class DistributionBuilder:
    """Collects rows and gives each its index; equal rows with one label share it."""

    def __init__(self, config: LanguageConfig, vocabulary: ToyVocabulary) -> None:
        self._config = config
        self._vocabulary = vocabulary
        self._rows: list[np.ndarray] = []
        self._labels: list[int] = []
        self._causes: list[int] = []
        self._index: dict[tuple[int, bytes], int] = {}

    def add(self, label: str, p: Float[np.ndarray, " vocab"], cause: int | None = None) -> int:
        """The index of a row of weights, which is normalised; `cause` is a token."""
        p = p / p.sum()
        key = (LABEL_ID[label], p.tobytes())
        if key not in self._index:
            self._index[key] = len(self._rows)
            self._rows.append(p)
            self._labels.append(LABEL_ID[label])
            own = len(self._vocabulary) + len(self._causes)
            self._causes.append(own if cause is None else cause)
        return self._index[key]

    def p(self, index: int) -> Float[np.ndarray, " vocab"]:
        return self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def build(self) -> Distributions:
        return Distributions(
            np.stack(self._rows), np.array(self._labels, dtype=np.int8), np.array(self._causes)
        )

    def uniform(self, category: str) -> Float[np.ndarray, " vocab"]:
        """Uniform over the words of a category."""
        p = np.zeros(len(self._vocabulary))
        ids = self._vocabulary.members[category]
        p[ids] = 1 / len(ids)
        return p

    def one(self, token: int) -> Float[np.ndarray, " vocab"]:
        return np.eye(len(self._vocabulary))[token]

    def noisy(self, token: int, share: float, category: str) -> Float[np.ndarray, " vocab"]:
        """`share` on a token, the rest uniform over its category, the token included."""
        return share * self.one(token) + (1 - share) * self.uniform(category)

    def by_category(self, row: Mapping[str, float]) -> Float[np.ndarray, " vocab"]:
        """A row of category weights, normalised, each uniform inside."""
        possible = self._config.possible(row)  # type: ignore[arg-type]
        total = sum(possible.values())
        parts = [w / total * self.uniform(target) for target, w in possible.items()]
        return np.sum(parts, axis=0)

    def inside(self, delimiter: str, depth: int) -> Float[np.ndarray, " vocab"]:
        """Inside `delimiter`, the innermost of `depth` that are open.

        It is closed, or another is opened (all that are on are equally likely, but a quotation does
        not open directly within another), or content follows. At the largest depth, closing and
        content share the probability of opening.
        """
        c = self._config.delimiters
        others = [d for d in self._config.open_delimiters if not d == delimiter == "quote"]
        p = c.close * self.uniform(CLOSERS[delimiter])
        p += (1 - c.close - c.open) * self.by_category(getattr(c, delimiter))
        if depth < c.max_depth:
            for other in others:
                p += c.open / len(others) * self.uniform(other)
        return p / p.sum()

    def verbs(self, name: int, *, suppressed: bool) -> Float[np.ndarray, " vocab"]:
        """The verbs of the name with index `name` among names; suppressed: without the top one."""
        weights = self._config.bigram.weights
        verbs = self._vocabulary.members["verb_t"]
        p = np.zeros(len(self._vocabulary))
        for j, weight in enumerate(weights):
            if not (suppressed and j == 0):
                p[verbs[(len(weights) * name + j) % len(verbs)]] = weight
        return p / p.sum()
