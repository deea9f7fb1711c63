"""Search of all (query, key, output) triples for skip rules: "key .. query -> output".

    T(q, k, o) = sum over layers and heads of mean_delta A(q, k, delta) OV(k -> o)
    dP(q, k, o) = softmax(B_q + T(q, k))_o - softmax(B_q)_o

with B what the query says by itself (`direct.token_logits`). dP and not T ranks: a large logit on
a token that stays impossible is no rule.
"""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N806

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from zscope.errors import DataError
from zscope.readouts.direct import token_logits
from zscope.readouts.weights import TensorWeights

CHUNK = 2**22  # triples held at a time: 32 MiB in double precision
Triple = tuple[int, int, int]  # query, key, output


@dataclass(frozen=True, eq=False)
class RuleTable:
    """Triples, the largest dP first (equal ones: smallest query, key, output first)."""

    query: Int[np.ndarray, " n"]
    key: Int[np.ndarray, " n"]
    output: Int[np.ndarray, " n"]
    boost: Float[np.ndarray, " n"]  # T, in nats of logit
    d_prob: Float[np.ndarray, " n"]

    @property
    def triples(self) -> list[Triple]:
        return list(zip(self.query.tolist(), self.key.tolist(), self.output.tolist(), strict=True))


def top_rules(weights: TensorWeights, offsets: Sequence[int], n: int) -> RuleTable:
    """The `n` triples of largest dP. offsets: distances of the key that T is the mean of."""
    V = weights.d_vocab
    n = min(n, V**3)
    index = torch.empty(0, dtype=torch.long)
    boost = d_prob = torch.empty(0, dtype=torch.float64)
    for start, T, dP in _chunks(weights, offsets):
        flat = dP.flatten()
        # All that may belong to the first n, ties at the edge included.
        edge = flat.topk(min(n, len(flat))).values[-1]
        chosen = (flat >= edge).nonzero().squeeze(1)
        index = torch.cat([index, chosen + start * V * V])
        boost = torch.cat([boost, T.flatten()[chosen]])
        d_prob = torch.cat([d_prob, flat[chosen]])
        order = d_prob.argsort(descending=True, stable=True)[:n]  # index grows along the list
        order = order.sort().values
        index, boost, d_prob = index[order], boost[order], d_prob[order]
    order = d_prob.argsort(descending=True, stable=True)
    found = index[order].numpy()
    query, key, output = np.unravel_index(found, (V, V, V))
    return RuleTable(query, key, output, boost[order].numpy(), d_prob[order].numpy())


def rule_ranks(
    weights: TensorWeights, offsets: Sequence[int], rules: Sequence[Triple]
) -> Float[np.ndarray, " rule"]:
    """Ranks from 1 of given triples among all by dP; equal ones share their mean rank.

    So an untrained model, whose U is 0, gives every triple the rank (V^3 + 1) / 2.
    """
    of_rules = torch.tensor(list(rules), dtype=torch.long).reshape(-1, 3)
    own = torch.full((len(of_rules),), float("nan"), dtype=torch.float64)
    for start, _, dP in _chunks(weights, offsets):
        query = of_rules[:, 0] - start
        here = ((query >= 0) & (query < len(dP))).nonzero().squeeze(1)
        own[here] = dP[query[here], of_rules[here, 1], of_rules[here, 2]]
    above, equal = torch.zeros(2, len(own), dtype=torch.float64)
    for _, _, dP in _chunks(weights, offsets):
        flat = dP.flatten().sort().values
        right = torch.searchsorted(flat, own, right=True)
        above += len(flat) - right
        equal += right - torch.searchsorted(flat, own)
    return (above + (equal + 1) / 2).numpy()


def _chunks(
    weights: TensorWeights, offsets: Sequence[int]
) -> Iterator[tuple[int, Float[Tensor, "q k o"], Float[Tensor, "q k o"]]]:
    """(first query, T, dP) of some queries and all keys and outputs."""
    V, E = weights.d_vocab, weights.E
    layers = range(weights.n_layers)
    patterns = torch.cat([weights.mean_patterns(layer, offsets, E, E) for layer in layers])
    outputs = torch.cat([weights.outputs(layer, E) for layer in layers])
    base = token_logits(weights)
    rows = max(1, CHUNK // V**2)
    for start in range(0, V, rows):
        some = slice(start, start + rows)
        T = torch.einsum("hqk,hko->qko", patterns[:, some], outputs)
        B = base[some, None]
        yield start, T, (B + T).softmax(-1) - B.softmax(-1)


def window_profile(
    weights: TensorWeights, rules: Sequence[Triple], offsets: Sequence[int]
) -> Float[np.ndarray, "rule offset"]:
    """Boost of each rule's output, in nats of logit, against the distance of its key.

    Less the boost's mean over all outputs, which softmax does not see.
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
    """The distance up to which a rule reaches: the last whose boost is half of the largest.

    Raises:
        DataError: no distance has a positive boost.
    """
    if profile.max() <= 0:
        raise DataError("no distance has a positive boost: the weights hold no such rule")
    return offsets[int(np.nonzero(profile >= profile.max() / 2)[0][-1])]
