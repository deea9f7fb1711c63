"""An endless stream of fresh toy sequences to train on."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Int

from zscope.core.errors import DataError
from zscope.toy_language.language import ToyLanguage


class ToyBatches:
    """Batches of `batch_size` new sequences; the random state can be saved (training.Batches).

    For speed, `chunk` batches are sampled at once; the sequences depend on it. Raises DataError for
    sizes below 1.
    """

    def __init__(self, language: ToyLanguage, batch_size: int, seed: int, chunk: int = 64) -> None:
        if batch_size < 1 or chunk < 1:
            raise DataError(
                f"batches of {batch_size} in chunks of {chunk}: both must be at least 1"
            )
        self._language, self._batch_size, self._chunk = language, batch_size, chunk
        self._rng = np.random.Generator(np.random.PCG64(seed))
        self._sample()

    def _sample(self) -> None:
        self._before = self._rng.bit_generator.state
        n = self._chunk * self._batch_size
        self._tokens, self._at = self._language.sample(n, self._rng).tokens, 0

    def next(self) -> Int[np.ndarray, "batch seq"]:
        if self._at == len(self._tokens):
            self._sample()
        start, self._at = self._at, self._at + self._batch_size
        return self._tokens[start : self._at]

    def state(self) -> dict[str, Any]:
        return {"chunk": self._before, "at": self._at}

    def restore(self, state: dict[str, Any]) -> None:
        self._rng.bit_generator.state = state["chunk"]
        self._sample()
        self._at = state["at"]
