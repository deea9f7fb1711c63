"""Duplicate-token heads: earlier places of the query's own token.

The key one back is left out ("a a" is a previous-token head's), and so is the first key.
"""

from __future__ import annotations

from jaxtyping import Bool
from torch import Tensor

from zscope.studies.heads.detector import Detector, ProtocolRule, Targets, Vocabulary, causal
from zscope.studies.heads.settings import DetectorSettings
from zscope.studies.heads.streams import Stream


def detectors(settings: DetectorSettings) -> tuple[Detector, ...]:
    return (
        Detector(
            name="duplicate",
            streams=("text", "repeats"),
            targets=earlier_copies,
            null="mismatch",
            kind="content",
            applies=_applies,
            protocol=ProtocolRule("text", _all_copies, 0.3),
        ),
    )


def earlier_copies(stream: Stream) -> Targets:
    """x_j = x_i with 0 < j < i - 1, for rows that have one."""
    mask = _same(stream, 2)
    mask[:, :, 0] = False
    return Targets.where_any(mask)


def _all_copies(stream: Stream) -> Targets:
    """x_j = x_i with j < i, as in the original protocol."""
    return Targets.where_any(_same(stream, 1))


def _same(stream: Stream, distance: int) -> Bool[Tensor, "n seq seq"]:
    ids = stream.ids
    return (ids.unsqueeze(2) == ids.unsqueeze(1)) & causal(stream.length, distance).to(ids.device)


def _applies(vocabulary: Vocabulary) -> str | None:
    return None if vocabulary.running_text else "there is no running text, only rows of one format"
