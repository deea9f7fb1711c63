"""The words of the verdicts: a method finds, or does not find, what is known to be there."""

from __future__ import annotations

from collections.abc import Sequence

from zscope.verdicts import UNKNOWN, VARIES, Answer, tally

FOUND, NOT_FOUND = "found", "not found"
WORDS: dict[Answer, str] = {"yes": FOUND, "no": NOT_FOUND, UNKNOWN: UNKNOWN, VARIES: VARIES}


def tally_of(answers: Sequence[Answer]) -> str:
    """How many trainings, or decompositions, say what: "found 2, not found 1", commonest first."""
    counted = tally(answers).split(", ")
    words = [part.rpartition(" ") for part in counted]
    by_answer: dict[str, str] = {str(answer): word for answer, word in WORDS.items()}
    return ", ".join(f"{by_answer[answer]} {n}" for answer, _, n in words)
