"""Prefixes of the toy language with their exact probabilities, and a model's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from zscope.models.tensor_heads import CHUNK, head_z
from zscope.models.tensor_transformer import TensorTransformer
from zscope.toy_language.language import ToyLanguage

Forward = Callable[[Int[Tensor, "batch seq"]], Float[Tensor, "batch seq vocab"]]


@dataclass(frozen=True, eq=False)
class Prefixes:
    """Prefixes stored inside full-length sequences; tokens after `last` are ignored.

    last: position of a prefix's last token; it is never the sequence's last position.
    """

    language: ToyLanguage
    tokens: Int[np.ndarray, "n seq"]
    last: Int[np.ndarray, " n"]

    @cached_property
    def _rows(self) -> Int[np.ndarray, "n seq"]:
        return self.language.rows(self.tokens)

    @cached_property
    def possible(self) -> Bool[np.ndarray, " n"]:
        """Whether the language can produce the prefix."""
        fits = self.language.distributions.p[self._rows, self.tokens] > 0
        after = np.arange(self.tokens.shape[1]) > self.last[:, None]
        return (fits | after).all(axis=1)

    def truth(self, token: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """The program's probability of a token after each prefix."""
        row = self._rows[np.arange(len(self.last)), self.last + 1]
        return self.language.distributions.p[row, token]

    def drawn_at(self, position: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n vocab"]:
        """The program's distribution of the token at a position of each prefix."""
        return self.language.distributions.p[self._rows[np.arange(len(position)), position]]

    def edited(self, position: Int[np.ndarray, " n"], token: Int[np.ndarray, " n"]) -> Prefixes:
        """The prefixes with another token at one position of each."""
        tokens = self.tokens.copy()
        tokens[np.arange(len(tokens)), position] = token
        return Prefixes(self.language, tokens, self.last)

    def __getitem__(self, chosen: Any) -> Prefixes:
        return Prefixes(self.language, self.tokens[chosen], self.last[chosen])


@torch.no_grad()
def probabilities(
    forward: Forward, prefixes: Prefixes, device: torch.device
) -> Float[np.ndarray, "n vocab"]:
    """A model's probabilities of the next token after each prefix."""
    tokens = torch.from_numpy(prefixes.tokens).to(device)
    last = torch.from_numpy(prefixes.last.astype(np.int64)).to(device)
    parts = []
    for some, at in zip(tokens.split(CHUNK), last.split(CHUNK), strict=True):
        logits = forward(some)[torch.arange(len(some), device=device), at]
        parts.append(logits.cpu().double().softmax(-1))  # not every GPU has float64
    return torch.cat(parts).numpy()


def first_layer_change(
    model: TensorTransformer,
    tokens: Int[Tensor, "batch seq"],
    head: int,
    mean: Float[Tensor, " d_head"],
) -> Float[Tensor, "batch seq d"]:
    """Change of the stream after layer 0 when the z of one of its heads is set to `mean`."""
    attn = model.blocks[0].attn
    parts = [
        (mean - head_z(model, some)[0, :, :, head]) @ attn.weight("o")[head]
        for some in tokens.split(CHUNK)
    ]
    return model.config.written * torch.cat(parts)


def distinct(
    sequence: Int[np.ndarray, " n"],
    group: Int[np.ndarray, " n"],
    most: int,
    rng: np.random.Generator,
) -> Int[np.ndarray, " chosen"]:
    """Indices of candidates, no two from one sequence and at most `most` from a group.

    Prefixes are then independent, as the intervals assume. The rarest group chooses first.
    """
    chosen: list[int] = []
    used: set[int] = set()
    groups, counts = np.unique(group, return_counts=True)
    for one in groups[np.argsort(counts, kind="stable")]:
        taken = 0
        for i in rng.permutation(np.flatnonzero(group == one)).tolist():
            if taken == most:
                break
            if int(sequence[i]) not in used:
                used.add(int(sequence[i]))
                chosen.append(i)
                taken += 1
    return np.array(sorted(chosen), dtype=np.int64)
