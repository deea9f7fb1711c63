"""Induction heads: the keys behind earlier places of the query's own token.

Asked on repeats of random tokens whose period varies between sequences. Under one fixed period a
head that attends a fixed number of tokens back is a perfect induction head, which is what the
original protocol's number cannot tell apart.
"""

from __future__ import annotations

import torch

from zscope.core.errors import DataError
from zscope.studies.heads.detector import Detector, ProtocolRule, Targets, Vocabulary, causal
from zscope.studies.heads.settings import DetectorSettings
from zscope.studies.heads.streams import Stream


def detectors(settings: DetectorSettings) -> tuple[Detector, ...]:
    def applies(vocabulary: Vocabulary) -> str | None:
        n = vocabulary.random_tokens
        if n >= settings.min_random:
            return None
        return f"{n} tokens to make repeats of, fewer than {settings.min_random}"

    return (
        Detector(
            name="induction",
            streams=("repeats", "text"),
            targets=behind_copies,
            null="mismatch",
            kind="content",
            applies=applies,
            protocol=ProtocolRule("fixed_repeats", _fixed_diagonal, 0.3),
        ),
    )


def behind_copies(stream: Stream) -> Targets:
    """x_{j-1} = x_i with j < i, all such j, for rows that have one."""
    ids = stream.ids
    mask = torch.zeros(*ids.shape, stream.length, dtype=torch.bool, device=ids.device)
    mask[:, :, 1:] = ids.unsqueeze(2) == ids[:, :-1].unsqueeze(1)
    return Targets.where_any(mask & causal(stream.length, 1).to(ids.device))


def _fixed_diagonal(stream: Stream) -> Targets:
    """The original protocol's: the same tokens twice, L each; row L + k and key k + 1, k < L - 1.

    Raises DataError for sequences of an odd length.
    """
    n, seq = stream.ids.shape
    if seq % 2:
        raise DataError(f"stream {stream.name}: {seq} tokens are no two halves")
    half = seq // 2
    k = torch.arange(half - 1, device=stream.ids.device)
    mask = torch.zeros(seq, seq, dtype=torch.bool, device=stream.ids.device)
    mask[half + k, k + 1] = True
    return Targets.where_any(mask.expand(n, seq, seq))
