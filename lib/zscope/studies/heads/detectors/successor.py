"""Successor heads by attention: from an item of an ordinal list to the item before it.

The null is the same items in another order: a head that attends to list items, or to whatever lies
two tokens back, keeps its weight there. The original protocol subtracts the weight in lists of
other words. Whether a head's weights map a token to its successor is in `ov.py`.
"""

from __future__ import annotations

from zscope.studies.heads.detector import Detector, ProtocolRule, Targets, Vocabulary
from zscope.studies.heads.settings import DetectorSettings
from zscope.studies.heads.streams import Stream

MARK = "item"


def detectors(settings: DetectorSettings) -> tuple[Detector, ...]:
    def applies(vocabulary: Vocabulary) -> str | None:
        most = max(vocabulary.ordinals.values(), default=0)
        if most >= settings.min_words:
            return None
        return (
            f"{most} single-token words in a row in the fullest ordinal class, fewer than "
            f"{settings.min_words}"
        )

    return (
        Detector(
            name="successor",
            streams=("ordinals",),
            targets=item_before,
            null="control",
            kind="content",
            applies=applies,
            control="shuffled_ordinals",
            protocol=ProtocolRule("ordinals", item_before, 0.05, less="random_words"),
        ),
    )


def item_before(stream: Stream) -> Targets:
    """Item k - 1 of the list, for the row of item k, k >= 1."""
    item = stream.mark(MARK)
    k = item.cumsum(-1)
    mask = (k.unsqueeze(2) - k.unsqueeze(1) == 1) & item.unsqueeze(2) & item.unsqueeze(1)
    return Targets.where_any(mask)
