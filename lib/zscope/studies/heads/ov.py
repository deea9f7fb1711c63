"""What the weights of a head do with a token that it attends to: successor, copy, suppression.

    lambda_h(t) = N(N_l(r(t)) OV_h) U      restricted to a class of tokens, less its mean over t

r(t) is the state behind layer 0 of [first, t] at t, N_l the norm of the head's layer with its gain,
N the final norm, U the unembedding. Query head h reads key-value head h // (n_heads // n_kv).
(Gould et al. 2023, "Successor heads"; McDougall et al. 2023, "Copy suppression".)
"""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N803

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from zscope.stats import wilson_interval

Norm: TypeAlias = Callable[[Float[Tensor, "*batch d"]], Float[Tensor, "*batch d"]]


def ov_scores(
    states: Float[Tensor, "token d"],
    W_v: Float[Tensor, "n_kv d d_head"],
    W_o: Float[Tensor, "n_heads d_head d"],
    unembed: Float[Tensor, "d token"],
    read: Norm,
    final: Norm,
) -> Float[Tensor, "n_heads token token"]:
    """lambda of every head of a layer: [h, t, u], how much attending to t raises token u.

    states: r(t) of the tokens of one class, in its order. unembed: their columns of U. read, final:
    N_l and N, with their gains. Raises ValueError if the heads cannot share the key-value heads.
    """
    raised = final(_written(read(states), W_v, W_o)) @ unembed.float()
    return raised - raised.mean(1, keepdim=True)


def raw_copy(
    embed: Float[Tensor, "token d"],
    W_v: Float[Tensor, "n_kv d d_head"],
    W_o: Float[Tensor, "n_heads d_head d"],
    unembed: Float[Tensor, "d token"],
) -> Float[Tensor, " n_heads"]:
    """The original protocol's copy score, mean over t of E(t) OV U(t): no layer 0, no norms.

    Raises ValueError if the heads cannot share the key-value heads.
    """
    return raw_copies(embed, W_v, W_o, unembed).mean(-1)


def raw_copies(
    embed: Float[Tensor, "token d"],
    W_v: Float[Tensor, "n_kv d d_head"],
    W_o: Float[Tensor, "n_heads d_head d"],
    unembed: Float[Tensor, "d token"],
) -> Float[Tensor, "n_heads token"]:
    """E(t) OV U(t) of every token; errors as those of `raw_copy`."""
    return torch.einsum("htd,dt->ht", _written(embed, W_v, W_o), unembed.float())


def _written(
    x: Float[Tensor, "token d"],
    W_v: Float[Tensor, "n_kv d d_head"],
    W_o: Float[Tensor, "n_heads d_head d"],
) -> Float[Tensor, "n_heads token d"]:
    n_heads, n_kv = len(W_o), len(W_v)
    if n_heads % n_kv:
        raise ValueError(f"{n_heads} heads cannot share {n_kv} key-value heads")
    values = x.float() @ W_v.float()
    return values.repeat_interleave(n_heads // n_kv, 0) @ W_o.float()


@dataclass(frozen=True, eq=False)
class Rates:
    """How many of the tokens that can be asked a head maps where it should.

    Attributes:
        hits: of each head. n: tokens asked.
        rate, low, high: hits / n with its Wilson interval.
        chance: the mean of one in a class's size.
        p: chance of so many hits if every argmax were uniform over its class (one-sided, exact).
    """

    hits: Int[np.ndarray, " head"]
    n: int
    rate: Float[np.ndarray, " head"]
    low: Float[np.ndarray, " head"]
    high: Float[np.ndarray, " head"]
    chance: float
    p: Float[np.ndarray, " head"]


def succession(classes: Sequence[Float[Tensor, "head token token"]], level: float) -> Rates:
    """Tokens whose lambda is largest at the next of their class; the last one has none."""
    return _rates(classes, 1, level, largest=True)


def predecessor(classes: Sequence[Float[Tensor, "head token token"]], level: float) -> Rates:
    """Tokens whose lambda is largest at the one before; the first one has none."""
    return _rates(classes, -1, level, largest=True)


def copying(classes: Sequence[Float[Tensor, "head token token"]], level: float) -> Rates:
    """Tokens whose lambda is largest at themselves."""
    return _rates(classes, 0, level, largest=True)


def suppression(classes: Sequence[Float[Tensor, "head token token"]], level: float) -> Rates:
    """Tokens whose lambda is smallest at themselves."""
    return _rates(classes, 0, level, largest=False)


def _rates(
    classes: Sequence[Float[Tensor, "head token token"]], step: int, level: float, largest: bool
) -> Rates:
    if not classes:
        raise ValueError("no class of tokens to ask about")
    right, chances = [], []
    for scores in classes:
        size = scores.shape[1]
        at = (scores if largest else -scores).argmax(-1)
        token = torch.arange(size, device=scores.device)
        asked = (token + step >= 0) & (token + step < size)
        right.append((at == token + step)[:, asked].cpu().numpy())
        chances += [1 / size] * int(asked.sum())
    hits = np.concatenate(right, 1).sum(1)
    n = len(chances)
    low, high = wilson_interval(hits, n, level)
    return Rates(hits, n, hits / n, low, high, float(np.mean(chances)), _tail(chances)[hits])


def _tail(chances: Sequence[float]) -> Float[np.ndarray, " hits"]:
    """P(at least k hits) of independent tokens with these chances, for k = 0, 1, ..., n."""
    of = np.ones(1)
    for chance in chances:
        of = np.convolve(of, [1 - chance, chance])
    return np.minimum(1, of[::-1].cumsum()[::-1])
