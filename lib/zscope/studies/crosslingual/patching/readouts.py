"""Readings of a generated text, alone and compared with the unpatched text of the same prompt."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from zscope.studies.crosslingual.problems.answers import (
    Status,
    answer_part,
    extract_answer,
    goes_on,
)
from zscope.studies.crosslingual.problems.language import identify_language, is_degenerate
from zscope.studies.crosslingual.problems.wording import COMPLETIONS


@dataclass(frozen=True)
class Reading:
    """A completion, read up to the first sign of a new problem.

    Attributes:
        number: the extracted number, whether or not the text is well formed.
        well_formed: the number is certain (status ok), the text does not repeat itself, and, if
            `strict`, it is the exact sentence of one of the languages; else, a marker ("The answer
            is", "答案是", "=", ...) names the number.
    """

    number: Fraction | None
    status: Status
    language: str
    degenerate: bool
    well_formed: bool

    @property
    def answer(self) -> Fraction | None:
        """The number, if the text counts as an answer."""
        return self.number if self.well_formed else None


# Patched outputs repeat: a hundred conditions share most of their texts.
@lru_cache(4096)
def read_text(text: str, finished: bool, min_letters: int, strict: bool) -> Reading:
    """Read a completion, forced stem included; the settings are those of `generation`."""
    taught = strict and any(p.fullmatch(text) for p in _SENTENCES)
    found = extract_answer(text, finished=finished or taught)
    part = answer_part(text)
    degenerate = is_degenerate(part)
    certain = found.status == "ok" and not degenerate
    language = identify_language(part, min_letters=min_letters)
    formed = taught if strict else found.anchored
    return Reading(found.value, found.status, language, degenerate, certain and formed)


def stopping_rule(strict: bool, stem: str = "") -> Callable[[str], bool] | None:
    """Of a completion behind a forced stem: whether its answer is complete, since a new problem has
    begun. None if strict: a taught sentence ends by itself."""
    return None if strict else lambda text: goes_on(stem + text)


_SENTENCES = [
    re.compile(re.escape(sentence).replace(re.escape("{}"), r"\d+"))
    for sentence in COMPLETIONS.values()
]


def output_columns(
    reading: Reading, baseline: Reading | None, right: int, source: int | None
) -> dict[str, Any]:
    """The readout columns of table crosslingual_outputs.

    Args:
        baseline: of the unpatched text of the same prompt; None if this is that text.
        right: the problem's answer.
        source: the answer of the problem whose states were put in; None if they are of no problem.

    `changed` is null where the unpatched text has no answer; `source_answer` where the source has
    none, or the problem's own. A malformed text is never a changed answer.
    """
    answer, before = reading.answer, (baseline or reading).answer
    comparable = baseline is not None and source is not None and source != right
    return {
        "answer": None if reading.number is None else str(reading.number),
        "status": reading.status,
        "language": reading.language,
        "degenerate": reading.degenerate,
        "well_formed": reading.well_formed,
        "correct": answer == right,
        "baseline_correct": before == right,
        "changed": None if baseline is None or before is None else answer not in (None, before),
        "source_answer": answer == source if comparable else None,
        "language_changed": reading.language != baseline.language if baseline else None,
    }
