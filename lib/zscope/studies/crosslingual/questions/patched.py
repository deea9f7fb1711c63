"""Experiment A: is Z causal, does it carry the answer, and is it necessary?

All of it needs the positive control at the declared layer: where the whole state at the answer's
own position does not carry the answer, the layer comes before the answer or after it is written
elsewhere, and what Z does there says nothing. No controlled verdict can be told then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from zscope.studies.crosslingual.declared import DeclaredCell, transferred
from zscope.studies.crosslingual.questions.comparisons import (
    STRATUM,
    Part,
    broken,
    compare,
    keeps,
    rate_row,
)
from zscope.studies.crosslingual.questions.evidence import Evidence, Question, interval
from zscope.verdicts import UNKNOWN, Answer, all_of, graded, graded_if_told, yes

SOURCES_RIGHT = "both_correct"  # a source that the model gets wrong has no right answer to give
CONTROL = 0.5  # least share of the source's answers in the positive control (its whole interval)
NEEDS_CONTROL = (
    f"; needs the positive control: the whole state at the answer's position carries {CONTROL:.0%} "
    "or more"
)


def is_causal(evidence: Evidence) -> dict[str, Any]:
    """Whether Z, patched, changes answers and not the language, and the rest the reverse."""
    high, margin, alpha = evidence.rules.high, evidence.rules.margin, evidence.rules.alpha
    kept = evidence.rules.kept
    question = Question(
        "is_causal",
        "A. Is Z causal? Patching it changes answers, not the language",
        f"Z changes {high:.0%} of the answers or more and keeps the language in {high:.0%} or "
        f"more, and Z-perp the reverse; partial: Z changes {margin:.0%} more answers than Z-perp",
        "Z changes more answers than random spaces of the same energy, and keeps the language (the "
        f"{evidence.interval} lies at {kept:g} or above); Z-perp switches more languages than "
        "complements of such spaces, and keeps the answers (likewise). More: paired test and rank "
        f"among the draws, each p < {alpha:g}. A broken text keeps nothing and switches nothing. "
        f"Partial: the answers of Z{NEEDS_CONTROL}",
    )
    protocol, why = protocol_verdict(evidence)
    controlled, parts = controlled_verdict(evidence)
    shown = "; ".join(part.text for part in parts.values())
    spaces = ("z", "energy", "z_perp", "energy_perp")
    numbers = f"{why}. Controlled: {shown}; {broken(evidence, STRATUM, spaces)}"
    return _controlled(
        evidence, question.answered(protocol, controlled, parts["z_answers"].columns, numbers)
    )


def protocol_verdict(evidence: Evidence) -> tuple[Answer, str]:
    """The protocol's rule, over all problems, with the numbers behind it.

    A rate of `high` or more counts as "changes", one of 1 - high or less as "preserves" (changes
    wins a tie); an answer is the number extracted from any text, well formed or not, and a text
    without a language has another one. Partial: Z changes `margin` more of the answers than Z-perp.
    """
    high, margin = evidence.rules.high, evidence.rules.margin
    answers, words = (
        {space: _rate(evidence, space, metric) for space in ("z", "z_perp", "full")}
        for metric in ("raw_answer_changed", "raw_language_changed")
    )
    of_z, of_perp = ((answers[space], words[space]) for space in ("z", "z_perp"))
    if of_z[0] is None or of_z[1] is None or of_perp[0] is None or of_perp[1] is None:
        return UNKNOWN, "no outputs of Z or Z-perp in the declared cell"

    def changes(rate: float) -> bool:
        return rate >= high

    def preserves(rate: float) -> bool:
        return rate <= 1 - high and not changes(rate)

    dissociation = (
        changes(of_z[0]) and preserves(of_z[1]) and changes(of_perp[1]) and preserves(of_perp[0])
    )
    # A margin that is met exactly must not fail for a rounding error.
    more = of_z[0] - of_perp[0] >= margin - 1e-12
    why = (
        f"patching Z changes {of_z[0]:.0%} of the answers and {of_z[1]:.0%} of the languages, "
        f"Z-perp {of_perp[0]:.0%} and {of_perp[1]:.0%}"
    )
    if answers["full"] is not None and words["full"] is not None:
        why += f"; everything {answers['full']:.0%} and {words['full']:.0%}"
    why += f". Broken text counts as changed here: {broken(evidence, 'all', ('z', 'z_perp'))}"
    return graded(yes(dissociation), yes(more)), why


def controlled_verdict(evidence: Evidence) -> tuple[Answer, Mapping[str, Part]]:
    """The rule with controls, over the problems that were right unpatched, and its four parts.

    yes: Z changes more answers than energy-matched spaces and keeps the language; Z-perp switches
    more languages than the complements of those and keeps the answers. partial: the first.
    """
    cell = evidence.cell
    parts = {
        "z_answers": compare(evidence, cell, "answer_changed", "z", "energy", "above"),
        "z_language": keeps(evidence, "z", "language_kept", "the language"),
        "perp_language": compare(
            evidence, cell, "language_switched", "z_perp", "energy_perp", "above"
        ),
        "perp_answers": keeps(evidence, "z_perp", "answer_kept", "the answer"),
    }
    whole = all_of(part.answer for part in parts.values())
    return graded(whole, parts["z_answers"].answer), parts


def carries_the_answer(evidence: Evidence) -> dict[str, Any]:
    """Whether the answer of the source arrives, and not merely another one."""
    text = "A. Does Z carry the answer? The output becomes the source's"
    return _carries(evidence, "carries_the_answer", text, transferred(evidence.cell)[0])


def carries_the_answer_at_site(evidence: Evidence) -> dict[str, Any]:
    """The same where the answer is about to be written."""
    text = "A. Does Z carry the answer at the answer's own position?"
    return _carries(evidence, "carries_the_answer_at_site", text, transferred(evidence.cell)[1])


def _controlled(evidence: Evidence, row: dict[str, Any]) -> dict[str, Any]:
    """The row of a question, with the positive control: where it was not seen, no controlled
    verdict can be told."""
    full = rate_row(evidence, transferred(evidence.cell)[1], "full", SOURCES_RIGHT, "source_answer")
    seen = full is not None and bool(full["ci_low"] >= CONTROL)
    found = "not measured" if full is None else f"{interval(full)} of the source's answers"
    return row | {
        "controlled_verdict": row["controlled_verdict"] if seen else UNKNOWN,
        "numbers": f"{row['numbers']}; positive control {'seen' if seen else 'not seen'}: {found}",
    }


def _carries(evidence: Evidence, name: str, text: str, cell: DeclaredCell) -> dict[str, Any]:
    question = Question(
        name,
        text,
        "none: the protocol's sources share the answer of the prompt, so that nothing can be seen",
        "more outputs give the source's answer than with energy-matched random spaces (paired test "
        f"and rank among the draws, each p < {evidence.rules.alpha:g}), and than with Z-perp "
        f"(paired test); partial: than with energy-matched ones only{NEEDS_CONTROL}",
    )
    energy, perp = (
        compare(evidence, cell, "source_answer", "z", second, "above")
        for second in ("energy", "z_perp")
    )
    answer = graded(all_of((energy.answer, perp.answer)), energy.answer)
    numbers = f"{energy.text}; {perp.text}"
    return _controlled(evidence, question.answered(UNKNOWN, answer, energy.columns, numbers))


def is_necessary(evidence: Evidence) -> dict[str, Any]:
    """What is lost without Z: patching with the mean over problems as source."""
    question = Question(
        "is_necessary",
        "A. Is Z necessary? Mean ablation",
        "none: the protocol patches, and never ablates",
        "with Z at its mean more answers change than with uniform random spaces, and than with "
        "random spaces of the same energy (each by paired test and rank among the draws, p < "
        f"{evidence.rules.alpha:g}); a broken text is no changed answer; partial: the first only"
        f"{NEEDS_CONTROL}",
    )
    cell = replace(evidence.cell, source="mean")
    energy, uniform = (
        compare(evidence, cell, "answer_changed", "z", second, "above")
        for second in ("energy", "random")
    )
    # Z has to pass the weaker control first: so many ways to a yes or a partial have one error.
    answer = graded_if_told(all_of((uniform.answer, energy.answer)), uniform.answer)
    numbers = f"with Z at its mean: {energy.text}; {uniform.text}"
    return _controlled(evidence, question.answered(UNKNOWN, answer, energy.columns, numbers))


def _rate(evidence: Evidence, space: str, metric: str) -> float | None:
    """Over all problems, in the declared cell."""
    row = rate_row(evidence, evidence.cell, space, "all", metric)
    return None if row is None else float(row["value"])
