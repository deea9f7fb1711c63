"""Positional heads: the key at a fixed offset (the best offset counts), and the first key.

Heads that park on the first key ("sinks") are reported and never named: most heads of a language
model do. The offset 0 belongs to the profile, not to the question: a token that attends to itself
need not look back.
"""

from __future__ import annotations

from functools import partial

import torch

from zscope.studies.heads.detector import Detector, ProtocolRule, Targets, always, at_offset
from zscope.studies.heads.settings import DetectorSettings
from zscope.studies.heads.streams import Stream

STREAMS = ("text", "random")


def detectors(settings: DetectorSettings) -> tuple[Detector, ...]:
    first = Detector(
        name="first",
        streams=STREAMS,
        targets=partial(first_key, first_row=2),
        null="uniform",
        kind="reported",
        applies=always,
        weights=("attention", "contribution"),
        protocol=ProtocolRule("text", partial(first_key, first_row=0), 0.1, unless="positional"),
    )
    itself = Detector(
        name="self",
        streams=STREAMS,
        targets=partial(at_offset, offset=0, first_row=2),
        null="uniform",
        kind="reported",
        applies=always,
        offset=0,
        by_class=False,
    )
    return (first, itself, *(_offset(d) for d in range(1, settings.max_offset + 1)))


def first_key(stream: Stream, first_row: int) -> Targets:
    """The first key, for rows from `first_row` on."""
    n, seq = stream.ids.shape
    place = torch.arange(seq, device=stream.ids.device)
    mask = (place == 0).expand(n, seq, seq)
    return Targets(mask, (place >= first_row).expand(n, seq))


def _offset(d: int) -> Detector:
    return Detector(
        name=f"offset_{d}",
        streams=STREAMS,
        targets=partial(at_offset, offset=d, first_row=d + 1),
        null="uniform",
        kind="positional",
        applies=always,
        family="positional",
        offset=d,
        by_class=False,
        protocol=ProtocolRule("text", partial(at_offset, offset=d, first_row=d), 0.3, peak=True),
    )
