"""Experiment A: is Z causal, does it carry the answer, and is it necessary?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import pandas as pd

from zscope.studies.crosslingual.questions.evidence import (
    UNKNOWN,
    Answer,
    Evidence,
    Question,
    graded,
    interval,
    known,
)
from zscope.studies.crosslingual.tables import RATES, TESTS

# What the controlled rule compares, and the sign that the difference should have.
CONTROLLED = {
    "z_answers": ("z", "energy", "answer_changed", 1),
    "z_language": ("z", "energy", "language_changed", -1),
    "perp_answers": ("z_perp", "energy_perp", "answer_changed", -1),
    "perp_language": ("z_perp", "energy_perp", "language_changed", 1),
}
NAMES = {"z": "Z", "z_perp": "Z-perp"}
WORDS = {"answer_changed": "answers", "language_changed": "languages"}


def is_causal(evidence: Evidence) -> dict[str, Any]:
    """Whether Z, patched, changes answers and not the language, and the rest the reverse."""
    high, margin, alpha = evidence.rules.high, evidence.rules.margin, evidence.rules.alpha
    question = Question(
        "is_causal",
        "A. Is Z causal? Patching it changes answers, not the language",
        f"Z changes {high:.0%} of the answers or more and keeps the language in {high:.0%} or "
        f"more, and Z-perp the reverse; partial: Z changes {margin:.0%} more answers than Z-perp",
        "against random spaces of the same energy, Z changes more answers and fewer languages, "
        f"and Z-perp the reverse (paired tests, Holm, p < {alpha:g}); partial: the answers of Z",
    )
    protocol, why = protocol_verdict(evidence)
    controlled, controlled_why = controlled_verdict(evidence)
    row = _test(evidence, "z", "energy", "answer_changed")
    return question.answered(protocol, controlled, row, f"{why}. {controlled_why}")


def protocol_verdict(evidence: Evidence) -> tuple[Answer, str]:
    """The protocol's rule, over all problems, with the numbers behind it.

    A rate of `high` or more counts as "changes", one of 1 - high or less as "preserves" (changes
    wins a tie); an answer is the number extracted from any text, well formed or not. Partial: Z
    changes `margin` more of the answers than Z-perp.
    """
    high, margin = evidence.rules.high, evidence.rules.margin
    answers, words = (
        {space: _rate(evidence, space, "all", metric) for space in ("z", "z_perp", "full")}
        for metric in ("raw_answer_changed", "language_changed")
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
    return graded(dissociation, more), why


def controlled_verdict(evidence: Evidence) -> tuple[Answer, str]:
    """The rule with controls, over the problems that were right unpatched, with its numbers.

    yes: Z beats energy-matched random spaces on answers and stays below them on language, and
    Z-perp is below the complements of those on answers and beats them on language, each with a
    Holm-adjusted p < alpha. partial: only the first need hold. Only well-formed answers count.
    """
    tests = {name: _test(evidence, *what[:3]) for name, what in CONTROLLED.items()}
    found = {name: row for name, row in tests.items() if row is not None}
    if missing := [name for name in tests if name not in found]:
        return UNKNOWN, f"not tested in the declared cell: {', '.join(missing)}"
    held, parts = {}, []
    for name, (first, second, metric, sign) in CONTROLLED.items():
        p = found[name]["p_holm"]
        held[name] = p < evidence.rules.alpha and sign * found[name]["value"] > 0
        shares = [_rate(evidence, space, "baseline_correct", metric) for space in (first, second)]
        shown = " against ".join("none" if s is None else f"{s:.0%}" for s in shares)
        parts.append(f"{NAMES[first]} changes {shown} of the {WORDS[metric]} (p {p:.2g})")
    n = min(int(row["n"]) for row in found.values())
    why = f"against energy-matched spaces, {n} problems: " + "; ".join(parts)
    return graded(all(held.values()), held["z_answers"]), why


def carries_the_answer(evidence: Evidence) -> dict[str, Any]:
    """Whether the answer of the source arrives, and not merely another one."""
    alpha = evidence.rules.alpha
    question = Question(
        "carries_the_answer",
        "A. Does Z carry the answer? The output becomes the source's",
        "none: the protocol's sources share the answer of the prompt, so that nothing can be seen",
        "more outputs give the source's answer than with energy-matched random spaces, and than "
        f"with Z-perp (paired tests, Holm, p < {alpha:g}); partial: than with energy-matched ones "
        "only",
    )
    found = _tests_of_z(evidence, "mismatched", "source_answer", ("energy", "z_perp"))
    if len(found) < 2:
        return question.unanswered("not tested in the declared cell")
    more = {n: row["p_holm"] < alpha and row["value"] > 0 for n, row in found.items()}
    answer = graded(more["energy"] and more["z_perp"], more["energy"])
    numbers = f"source's answers with Z minus {_differences(found)}"
    return question.answered(UNKNOWN, answer, found["energy"], numbers)


def is_necessary(evidence: Evidence) -> dict[str, Any]:
    """What is lost without Z: patching with the mean over problems as source."""
    alpha = evidence.rules.alpha
    question = Question(
        "is_necessary",
        "A. Is Z necessary? Mean ablation",
        "none: the protocol patches, and never ablates",
        "with Z at its mean fewer answers are right than with a random space of the same energy "
        f"(paired test, Holm, p < {alpha:g}); partial: than with a uniform one only",
    )
    found = _tests_of_z(evidence, "mean", "correct", ("energy", "random"))
    if "energy" not in found:
        return question.unanswered("not tested in the declared cell")
    worse = {n: row["p_holm"] < alpha and row["value"] < 0 for n, row in found.items()}
    numbers = f"right answers with Z at its mean minus {_differences(found)}"
    answer = graded(worse["energy"], worse.get("random", False))
    return question.answered(UNKNOWN, answer, found["energy"], numbers)


def _rate(evidence: Evidence, space: str, stratum: str, metric: str) -> float | None:
    wanted = asdict(evidence.cell) | {"space": space, "stratum": stratum, "metric": metric}
    if space == "full":
        wanted |= {"k": None, "kind": None}
    row = evidence.one(RATES, **wanted)
    return None if row is None else float(row["value"])


def _test(
    evidence: Evidence, first: str, second: str, metric: str, source: str | None = None
) -> pd.Series | None:
    """A comparison in the declared cell, over the problems that were right unpatched.

    source: instead of the cell's.
    """
    cell = replace(evidence.cell, source=source or evidence.cell.source)
    what = {"stratum": "baseline_correct", "metric": metric, "first": first, "second": second}
    return evidence.one(TESTS, **asdict(cell), **what)


def _tests_of_z(
    evidence: Evidence, source: str, metric: str, others: tuple[str, ...]
) -> dict[str, pd.Series]:
    """Z against each of the others, as far as it was tested."""
    rows = {other: _test(evidence, "z", other, metric, source) for other in others}
    return {
        name: row for name, row in rows.items() if row is not None and known(row, "value", "p_holm")
    }


def _differences(found: Mapping[str, pd.Series]) -> str:
    return ", ".join(
        f"with {name} {interval(row)} (p {row['p_holm']:.2g})" for name, row in found.items()
    )
