"""Search of all (query, key, output) triples for skip rules: "key .. query -> output".

    T(q, k, o) = sum over layers and heads of mean_delta A(q, k, delta) OV(k -> o)
    dP(q, k, o) = softmax(B_q + T(q, k))_o - softmax(B_q)_o

where B are the logits of the query alone (`direct.token_logits`). Triples are ranked by dP and not
by T, because a large logit on a token that stays impossible is no rule.

A rule may pass through two heads, one of which rewrites the query or the key for the other. With
paths "all", T and B cover all paths over the two tokens (`two_tokens`): T is the change of the
query's logits by the key.
"""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N806, N815

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from zscope.core.errors import DataError
from zscope.studies.toylang.readouts.direct import token_logits
from zscope.studies.toylang.readouts.two_tokens import alone_logits, two_token_logits
from zscope.studies.toylang.readouts.weights import TensorWeights

Triple = tuple[int, int, int]  # query, key, output
Paths = Literal["one_head", "all"]


@dataclass(frozen=True, eq=False)
class RuleTable:
    """Triples by decreasing dP; equal ones by query, key and output."""

    query: Int[np.ndarray, " n"]
    key: Int[np.ndarray, " n"]
    output: Int[np.ndarray, " n"]
    boost: Float[np.ndarray, " n"]  # T, in nats of logit
    d_prob: Float[np.ndarray, " n"]

    @property
    def triples(self) -> list[Triple]:
        return list(zip(self.query.tolist(), self.key.tolist(), self.output.tolist(), strict=True))


@dataclass(frozen=True, eq=False)
class Scores:
    """T and dP of all triples: a few tables of V^3 numbers, 2 MiB each for 65 tokens, 200 MiB for
    300."""

    T: Float[Tensor, "q k o"]
    dP: Float[Tensor, "q k o"]

    @classmethod
    def of(cls, weights: TensorWeights, offsets: Sequence[int], paths: Paths) -> Scores:
        """offsets: distances of the key, over which T is averaged.

        Raises:
            DataError: no offset.
        """
        if paths == "one_head":
            B = token_logits(weights).unsqueeze(1)
            T = _one_head(weights, offsets)
        else:
            B = alone_logits(weights).unsqueeze(1)
            T = two_token_logits(weights, offsets) - B
        return cls(T, (B + T).softmax(-1) - B.softmax(-1))

    def first(self, n: int, among: Bool[np.ndarray, "query key"]) -> RuleTable:
        """The `n` triples with the largest dP of the pairs `among`."""
        pairs = torch.from_numpy(among)
        n = min(n, int(pairs.sum()) * self.dP.shape[-1])
        # All candidates for the first n, including ties at the edge, by increasing index.
        listed = torch.where(pairs.unsqueeze(-1), self.dP, -torch.inf).flatten()
        chosen = (listed >= listed.topk(n).values[-1]).nonzero().squeeze(1)
        found = chosen[listed[chosen].argsort(descending=True, stable=True)[:n]]
        query, key, output = np.unravel_index(found.numpy(), self.dP.shape)
        T, dP = (x.flatten()[found].numpy() for x in (self.T, self.dP))
        return RuleTable(query, key, output, T, dP)

    def ranks(self, rules: Sequence[Triple]) -> Float[np.ndarray, " rule"]:
        """The ranks of `rules` among all triples, from 1.

        Equal triples share their mean rank: in an untrained model, whose U is 0, all triples have
        rank (V^3 + 1) / 2.
        """
        of_rules = torch.tensor(list(rules), dtype=torch.long).reshape(-1, 3)
        flat, own = self.dP.flatten(), self.dP[tuple(of_rules.T)]
        return np.array([float((flat > x).sum() + ((flat == x).sum() + 1) / 2) for x in own])


def _one_head(weights: TensorWeights, offsets: Sequence[int]) -> Float[Tensor, "q k o"]:
    E, layers = weights.E, range(weights.n_layers)
    patterns = torch.cat([weights.mean_patterns(layer, offsets, E, E) for layer in layers])
    outputs = torch.cat([weights.outputs(layer, E) for layer in layers])
    return torch.einsum("hqk,hko->qko", patterns, outputs)


def window_profile(
    weights: TensorWeights, rules: Sequence[Triple], offsets: Sequence[int]
) -> Float[np.ndarray, "rule offset"]:
    """Boost of each rule's output, in nats of logit, against the distance of its key.

    The mean boost of all outputs, which softmax ignores, is subtracted.
    """
    query, key, output = (list(tokens) for tokens in zip(*rules, strict=True))
    E, each = weights.E, torch.arange(len(rules))
    profile = torch.zeros(len(rules), len(offsets), dtype=torch.float64)
    for layer in range(weights.n_layers):
        ov = weights.outputs(layer, E[key])
        ov = ov[:, each, output] - ov.mean(-1)
        for i, offset in enumerate(offsets):
            pattern = weights.patterns(layer, offset, E[query], E[key])[:, each, each]
            profile[:, i] += (pattern * ov).sum(0)
    return profile.numpy()


def window_edge(profile: Float[np.ndarray, " offset"], offsets: Sequence[int]) -> int:
    """The distance up to which a rule reaches: the last with at least half of the largest boost.

    Raises:
        DataError: no distance has a positive boost.
    """
    if profile.max() <= 0:
        raise DataError("no distance has a positive boost: the weights hold no such rule")
    return offsets[int(np.nonzero(profile >= profile.max() / 2)[0][-1])]
