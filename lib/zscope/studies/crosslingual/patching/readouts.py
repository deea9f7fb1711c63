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
from zscope.studies.crosslingual.problems.line_answers import (
    answer_line,
    extract_line_answer,
    line_ends,
)
from zscope.studies.crosslingual.problems.parallel import AnswerKind
from zscope.studies.crosslingual.problems.wording import COMPLETIONS


@dataclass(frozen=True)
class Reading:
    """A completion, read up to the first sign of a new problem.

    Attributes:
        value: the extracted number or class, whether or not the text is well formed.
        well_formed: the value is certain (status ok), the text does not repeat itself, and it is
            named: a number in a text by the exact sentence of one of the languages if `strict`,
            else by a marker ("The answer is", "答案是", "=", ...). A line's answer is all of it.
    """

    value: Fraction | str | None
    status: Status
    language: str
    degenerate: bool
    well_formed: bool

    @property
    def answer(self) -> Fraction | str | None:
        """The value, if the text counts as an answer."""
        return self.value if self.well_formed else None


# Patched outputs repeat: a hundred conditions share most of their texts.
@lru_cache(4096)
def read_text(
    text: str,
    finished: bool,
    min_letters: int,
    strict: bool,
    kind: AnswerKind = "text_number",
) -> Reading:
    """Read a completion, forced stem included; the settings are those of `generation`.

    kind: the problem's. Only the number of a text may be read with `strict`.
    """
    if kind != "text_number":
        line = answer_line(text)
        found = extract_line_answer(text, kind, finished=finished)
        language, degenerate = identify_language(line, min_letters=min_letters), is_degenerate(line)
        formed = found.status == "ok" and not degenerate
        return Reading(found.value, found.status, language, degenerate, formed)
    taught = strict and any(p.fullmatch(text) for p in _SENTENCES)
    found = extract_answer(text, finished=finished or taught)
    part = answer_part(text)
    degenerate = is_degenerate(part)
    certain = found.status == "ok" and not degenerate
    language = identify_language(part, min_letters=min_letters)
    formed = taught if strict else found.anchored
    return Reading(found.value, found.status, language, degenerate, certain and formed)


def stopping_rule(
    strict: bool, stem: str = "", kind: AnswerKind = "text_number"
) -> Callable[[str], bool] | None:
    """Of a completion behind a forced stem: whether its answer is complete, since the line has
    ended (kinds line_number, line_class) or a new problem has begun. None for a number in a text if
    strict: a taught sentence ends by itself."""
    if kind != "text_number":
        return line_ends
    return None if strict else lambda text: goes_on(stem + text)


_SENTENCES = [
    re.compile(re.escape(sentence).replace(re.escape("{}"), r"\d+"))
    for sentence in COMPLETIONS.values()
]


def output_columns(
    reading: Reading, baseline: Reading | None, right: int | str, source: int | str | None
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
        "answer": None if reading.value is None else str(reading.value),
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
