"""Loss and accuracy among the K targets of the same source, scored as whole sequences.

A candidate loss of log K means that z is ignored only where the set mass is high; with the set mass
at chance nothing is known (protocol 000).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from zscope.core.errors import DataError
from zscope.studies.lag import quantities as q
from zscope.studies.lag.probes.continuation import continue_from, embed
from zscope.studies.lag.probes.measuring import Hook, ProbeBatch, Readout, every_block

# Tokens of one pass over candidates: enough for full matmul speed, few enough to stay in cache.
TOKENS_AT_ONCE = 4096
# They share the prompt's keys in one attention, at a cost quadratic in their number.
CANDIDATES_AT_ONCE = 16


def _keys_values(n_layers: int) -> tuple[list[Hook], list[Hook]]:
    return every_block("attn.hook_k", n_layers), every_block("attn.hook_v", n_layers)


def hooks(n_layers: int) -> list[Hook]:
    keys, values = _keys_values(n_layers)
    return keys + values


def measure(batch: ProbeBatch) -> list[Readout]:
    """candidate_loss (nats), candidate_accuracy, candidate_top3, set_mass; baseline log_k."""
    if batch.n_candidates < 2:
        raise DataError("candidate_set needs at least 2 targets of one source")
    loss, accuracy, top3 = q.candidate_metrics(log_probs(batch), batch.right)
    return [
        Readout("candidate_loss", loss),
        Readout("candidate_accuracy", accuracy),
        Readout("candidate_top3", top3),
        Readout("set_mass", q.set_mass(batch.logits, batch.candidate_first)),
        Readout("log_k", torch.full_like(loss, math.log(batch.n_candidates)), baseline=True),
    ]


def log_probs(batch: ProbeBatch) -> Float[Tensor, "n candidates"]:
    """`quantities.candidate_log_probs`, with the prompt computed once instead of K times."""
    n, k, target = batch.candidates.shape
    at_once = max(1, TOKENS_AT_ONCE // (min(k, CANDIDATES_AT_ONCE) * (target - 1)))
    scores = [
        torch.cat([_score(batch, rows, few) for few in _slices(k, CANDIDATES_AT_ONCE)], 1)
        for rows in _slices(n, at_once)
    ]
    return torch.cat(scores).log_softmax(-1)


def _score(batch: ProbeBatch, rows: slice, few: slice) -> Float[Tensor, "rows few"]:
    """Log-probability of some candidates of some examples, not renormalised."""
    keys, values = ([batch.clean[h][rows] for h in hs] for hs in _keys_values(batch.n_layers))
    candidates = batch.candidates[rows, few]
    # EOS is predicted and never read; the first token is predicted by the prompt.
    tokens = candidates[:, :, :-1].to(batch.tokens.device)
    resid = embed(batch.wrapped, tokens, batch.n_visible)
    later = batch.unembed(continue_from(batch.wrapped, 0, resid, keys, values))
    first = batch.logits[rows, None, None].expand(-1, candidates.shape[1], 1, -1)
    return q.target_log_probs(torch.cat([first, later], 2), candidates)


def _slices(n: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, n, size)]
