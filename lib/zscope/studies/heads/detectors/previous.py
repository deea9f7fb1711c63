"""Previous-token heads: the key one back. Row 1 is left out, as it has two keys only.

Asked on text and on random tokens: a head that attends one back by position does so on both.
"""

from __future__ import annotations

from functools import partial

from zscope.studies.heads.detector import Detector, ProtocolRule, always, at_offset
from zscope.studies.heads.settings import DetectorSettings


def detectors(settings: DetectorSettings) -> tuple[Detector, ...]:
    return (
        Detector(
            name="previous",
            streams=("text", "random"),
            targets=partial(at_offset, offset=1, first_row=2),
            null="uniform",
            kind="positional",
            applies=always,
            protocol=ProtocolRule("text", partial(at_offset, offset=1, first_row=1), 0.3),
        ),
    )
