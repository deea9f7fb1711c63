"""The quantities of the lag study, from logits. Training and the probes both use them.

All are per example and in float64. Logits are those at the predicting position (`Layout.predict`,
the position before the target) unless a shape says otherwise; losses are in nats.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

LogitsFn = Callable[[Int[Tensor, "m seq"]], Float[Tensor, "m target vocab"]]


class CandidateMetrics(NamedTuple):
    """Per example: loss in nats, and whether the right candidate is first, or in the first three.

    Candidates with the same score share their places, so that guessing scores at chance.
    """

    loss: Float[Tensor, " n"]
    accuracy: Float[Tensor, " n"]
    top3: Float[Tensor, " n"]


def first_loss(logits: Float[Tensor, "n vocab"], first: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Cross-entropy of the first target token, in nats."""
    logits = logits.double()
    return logits.logsumexp(-1) - _pick(logits, first)


def first_accuracy(
    logits: Float[Tensor, "n vocab"], first: Int[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """1 where the first target token has the largest logit; a tie of t tokens gives 1/t."""
    return _share_within(logits, _pick(logits, first), 1)


def rank(logits: Float[Tensor, "n vocab"], first: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Rank of the first target token, 1 = largest logit; tied tokens share their mean rank."""
    right = _pick(logits, first).unsqueeze(-1)
    ahead, tied = (logits > right).sum(-1), (logits == right).sum(-1)
    return 1 + ahead.double() + (tied - 1).double() / 2


def entropy(logits: Float[Tensor, "*n vocab"]) -> Float[Tensor, "*n"]:
    """Entropy of the softmax, in nats."""
    log_probs = logits.double().log_softmax(-1)
    return -(log_probs.exp() * log_probs).sum(-1)


def set_mass(
    logits: Float[Tensor, "n vocab"], candidate_first: Int[Tensor, "n candidates"]
) -> Float[Tensor, " n"]:
    """Probability of the first tokens of the candidates; a token that two share counts once."""
    member = _members(logits, candidate_first)
    return torch.where(member, logits.double().softmax(-1), 0.0).sum(-1)


def candidate_first_accuracy(
    logits: Float[Tensor, "n vocab"],
    first: Int[Tensor, " n"],
    candidate_first: Int[Tensor, "n candidates"],
) -> Float[Tensor, " n"]:
    """`first_accuracy` with the choice restricted to the candidates' first tokens."""
    restricted = logits.masked_fill(~_members(logits, candidate_first), -torch.inf)
    return first_accuracy(restricted, first)


def z_gap(
    logits: Float[Tensor, "n vocab"],
    logits_other_z: Float[Tensor, "n vocab"],
    first: Int[Tensor, " n"],
) -> Float[Tensor, " n"]:
    """Loss of the first target token with another z minus the loss with the right one, in nats.

    The two runs must differ in z alone, and the other z must name another target of the same
    source (`other_z` sees to both).
    """
    return first_loss(logits_other_z, first) - first_loss(logits, first)


def target_log_probs(
    logits: Float[Tensor, "*n target vocab"], targets: Int[Tensor, "*n target"]
) -> Float[Tensor, "*n"]:
    """Log-probability of whole targets: the sum over their tokens (EOS included)."""
    logits = logits.double()
    picked = logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return (picked - logits.logsumexp(-1)).sum(-1)


def candidate_log_probs(
    logits_fn: LogitsFn,
    prefix: Int[Tensor, "n prefix"],
    candidates: Int[Tensor, "n candidates target"],
    *,
    max_sequences: int = 4096,
) -> Float[Tensor, "n candidates"]:
    """Log-probability of each candidate as a whole sequence, renormalised over the candidates.

    prefix: the tokens up to and with the predicting position (`tokens[:, : layout.predict + 1]`).
    candidates: every target consistent with the source, EOS included (`data.candidates[base]`).
    logits_fn: logits at the predicting position and later of full sequences; for a `Transformer`
    `lambda tokens: model(tokens, layout.predict)`. Called on at most `max_sequences` at a time.
    """
    n, k, target = candidates.shape
    flat = candidates.reshape(n * k, target)
    # EOS is predicted and never read, so it is not fed in.
    tokens = torch.cat([prefix.repeat_interleave(k, 0), flat[:, :-1]], 1)
    scores = [
        target_log_probs(logits_fn(t), c)
        for t, c in zip(tokens.split(max_sequences), flat.split(max_sequences), strict=True)
    ]
    return torch.cat(scores).view(n, k).log_softmax(-1)


def candidate_metrics(
    log_probs: Float[Tensor, "n candidates"], right: Int[Tensor, " n"]
) -> CandidateMetrics:
    """Loss, accuracy and top-3 accuracy of the candidate of index `right`."""
    score = _pick(log_probs, right)
    return CandidateMetrics(
        -score, _share_within(log_probs, score, 1), _share_within(log_probs, score, 3)
    )


def _pick(values: Float[Tensor, "n m"], index: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    return values.gather(-1, index.unsqueeze(-1)).squeeze(-1)


def _members(
    logits: Float[Tensor, "n vocab"], tokens: Int[Tensor, "n m"]
) -> Bool[Tensor, "n vocab"]:
    return torch.zeros_like(logits, dtype=torch.bool).scatter_(1, tokens, True)


def _share_within(
    values: Float[Tensor, "n m"], right: Float[Tensor, " n"], places: int
) -> Float[Tensor, " n"]:
    """Chance that the right one is within the first places when ties are broken at random."""
    ahead = (values > right.unsqueeze(-1)).sum(-1)
    tied = (values == right.unsqueeze(-1)).sum(-1)
    share = (places - ahead).clamp(min=0).minimum(tied).double() / tied
    # A NaN equals nothing, not even itself: it must stay NaN instead of counting as wrong.
    return torch.where(tied > 0, share, torch.nan)
