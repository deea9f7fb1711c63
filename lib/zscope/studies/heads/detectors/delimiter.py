"""Delimiter heads: earlier delimiters, but for the first key. Rows from 4 on that have one.

The mark `delimiter` says which tokens delimit. The null is how often delimiters stand at those
distances anyway. The original protocol divides by their share of all tokens.
"""

from __future__ import annotations

from jaxtyping import Bool
from torch import Tensor

from zscope.studies.heads.detector import Detector, ProtocolRule, Targets, Vocabulary, causal
from zscope.studies.heads.settings import DetectorSettings
from zscope.studies.heads.streams import Stream

MARK = "delimiter"
PROTOCOL_MARK = "protocol_delimiter"
FIRST_ROW = 4


def detectors(settings: DetectorSettings) -> tuple[Detector, ...]:
    return (
        Detector(
            name="delimiter",
            streams=("text",),
            targets=earlier_delimiters,
            null="mismatch",
            kind="content",
            applies=_applies,
            protocol=ProtocolRule("text", _all_rows, 2.0, over=PROTOCOL_MARK),
        ),
    )


def earlier_delimiters(stream: Stream) -> Targets:
    mask = _marked(stream, MARK, 1)
    mask[:, :, 0] = False
    return Targets.where_any(mask, FIRST_ROW)


def _all_rows(stream: Stream) -> Targets:
    """The original protocol's: every row, with or without a delimiter, and the row's own key."""
    mask = _marked(stream, PROTOCOL_MARK, 0)
    return Targets(mask, mask.new_ones(stream.ids.shape))


def _marked(stream: Stream, mark: str, distance: int) -> Bool[Tensor, "n seq seq"]:
    keys = stream.mark(mark).unsqueeze(1)
    return keys & causal(stream.length, distance).to(keys.device)


def _applies(vocabulary: Vocabulary) -> str | None:
    if not vocabulary.running_text:
        return "there is no running text, only rows of one format"
    return None if vocabulary.delimiters else "no token of the vocabulary is a delimiter"
