"""Which states a patch acts on: those whose energy an energy-matched space holds as Z does.

No torch.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from zscope.studies.crosslingual.config import Design, Where

MatchedOn: TypeAlias = Literal[
    "prompt tokens", "prompt and completion tokens", "answer site", "last prompt tokens"
]


def matched_on(design: Design, where: Where) -> MatchedOn:
    """The states of the unpatched run that a condition's patch replaces a part of."""
    if design == "site_answer":
        return "answer site"
    if design == "site_language":
        return "last prompt tokens"
    return "prompt and completion tokens" if where == "all" else "prompt tokens"
