"""The parts of a verdict about patching: a comparison of two spaces, and a rate that is kept.

All over the problems that were right unpatched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from zscope.stats import wilson_interval
from zscope.studies.crosslingual.declared import DeclaredCell
from zscope.studies.crosslingual.questions.evidence import (
    Evidence,
    Side,
    interval,
    known,
    number,
    power,
)
from zscope.studies.crosslingual.tables import DRAWS, RATES, TESTS
from zscope.verdicts import (
    LEAST_DRAWS,
    UNKNOWN,
    Answer,
    DrawTest,
    at_least,
    detectable,
    special,
)

STRATUM = "baseline_correct"
NAMES = {
    "z": "Z",
    "z_perp": "Z-perp",
    "energy": "energy-matched spaces",
    "energy_perp": "complements of energy-matched spaces",
    "random": "uniform spaces",
}
METRICS = {
    "answer_changed": "answers changed",
    "language_switched": "languages switched",
    "source_answer": "the source's answers",
}
DRAWN = ("energy", "energy_perp", "random")
READABLE = 0.5  # least share of well-formed texts from which two spaces are compared


@dataclass(frozen=True)
class Part:
    """One part of a rule: its answer, its numbers for people, and as columns of the summary."""

    answer: Answer
    text: str
    columns: Mapping[str, Any]


def compare(
    evidence: Evidence, cell: DeclaredCell, metric: str, first: str, second: str, side: Side
) -> Part:
    """Whether a rate of the first space lies above, or below, that of the second.

    By the paired test over problems and, where the second is drawn, by the rank among its draws.
    """
    pair = f"{METRICS[metric]}, {NAMES[first]} against {NAMES[second]}"
    what = {"stratum": STRATUM, "metric": metric}
    row = evidence.one(TESTS, **asdict(cell), **what, first=first, second=second)
    if row is None or not known(row, "value", "p", f"p_least_{side}"):
        return Part(UNKNOWN, f"{pair}: not tested in the declared cell", {})
    alpha, least = evidence.rules.alpha, float(row[f"p_least_{side}"])
    test = _draw_test(row, side) if second in DRAWN else None
    effect = float(row["value"]) * (1 if side == "above" else -1)
    answer = special(effect, float(row["p"]), least, test, alpha)
    lost = _mostly_broken(evidence, cell, (first, second))
    if lost:
        answer = UNKNOWN
    drawn = evidence.get(DRAWS, **asdict(cell), **what, space=second)["value"].to_numpy(float)
    # The units of the paired test: problems with the same operands count once. The rank below is
    # that above of what is lost.
    signed = drawn if side == "above" else -drawn
    found = detectable(
        float(row["sd"]), int(row["n_units"]), alpha, None if test is None else signed
    )
    text = (
        f"{pair}: {_rates(evidence, cell, metric, first, second)}, difference {interval(row)}, "
        f"n {int(row['n'])}, p {row['p']:.2g} ({row['test']})"
    )
    if test is not None:
        text += f", {test.hits} of {test.draws} draws as far {side} (p {test.p:.2g})"
    if answer == UNKNOWN:
        text += f", {lost or _why(least, test, alpha)}"
    columns = {
        **{name: row[name] for name in ("value", "ci_low", "ci_high", "matched_on", "p", "n")},
        "null": second,
        **_null(drawn, test, evidence.level),
        "p_least": max(least, test.least if test else 0.0),
        "detectable": found,
    }
    return Part(answer, f"{text}; {power(found)}", columns)


def keeps(evidence: Evidence, space: str, metric: str, what: str) -> Part:
    """Whether a space of the declared cell keeps something in at least `verdict.kept` of problems.

    what: is kept, for people. A broken text keeps nothing.
    """
    bound, name = evidence.rules.kept, NAMES[space]
    row = rate_row(evidence, evidence.cell, space, STRATUM, metric)
    if row is None or not known(row, "value", "ci_low", "ci_high"):
        return Part(UNKNOWN, f"{name} keeps {what}: not measured in the declared cell", {})
    answer = at_least(float(row["ci_low"]), float(row["ci_high"]), bound)
    n = int(row["n"])
    text = f"{name} keeps {what} in {interval(row)} of n {n} (needs {bound:g} or more)"
    if answer == UNKNOWN:
        best = float(wilson_interval(n, n, evidence.level)[0])
        text += ", cannot be told: "
        text += (
            f"n is too small, {n} of {n} would give {number(best)} or more"
            if best < bound
            else f"the {evidence.interval} contains {bound:g}"
        )
    return Part(answer, text, {})


def broken(evidence: Evidence, stratum: str, spaces: Iterable[str]) -> str:
    """The rates of broken text, as a sentence."""
    found = {space: rate_row(evidence, evidence.cell, space, stratum, "broken") for space in spaces}
    rates = [
        f"{NAMES[space]} {number(row['value'])}" for space, row in found.items() if row is not None
    ]
    return f"broken texts: {', '.join(rates) or 'not counted'}"


def rate_row(
    evidence: Evidence, cell: DeclaredCell, space: str, stratum: str, metric: str
) -> pd.Series | None:
    """The rate of a space; `full` has no k and no kind."""
    wanted = asdict(cell) | {"space": space, "stratum": stratum, "metric": metric}
    if space == "full":
        wanted |= {"k": None, "kind": None}
    return evidence.one(RATES, **wanted)


def _draw_test(row: pd.Series, side: Side) -> DrawTest:
    draws = int(row["draws"]) if pd.notna(row["draws"]) else 0
    hits = int(row[f"draws_{side}"]) if draws else 0
    return DrawTest(hits, draws)


def _why(least: float, test: DrawTest | None, alpha: float) -> str:
    """Why a comparison cannot be told."""
    if test is not None and test.draws < LEAST_DRAWS:
        return f"cannot be told: {test.draws} draws, needs {LEAST_DRAWS}"
    if test is not None and test.least >= alpha:
        return f"cannot be told: {test.draws} draws reach no p below {number(test.least)}"
    return f"cannot be told: the smallest p that could be reached is {number(least)}"


def _mostly_broken(evidence: Evidence, cell: DeclaredCell, spaces: Iterable[str]) -> str:
    """Why two spaces cannot be compared: texts of one are mostly broken, which is no evidence for
    or against what well-formed texts would say. Empty if they can be."""
    for space in spaces:
        row = rate_row(evidence, cell, space, STRATUM, "broken")
        if row is not None and row["value"] > 1 - READABLE:
            return f"cannot be told: {row['value']:.0%} of the texts of {NAMES[space]} are broken"
    return ""


def _rates(evidence: Evidence, cell: DeclaredCell, metric: str, first: str, second: str) -> str:
    rows = (rate_row(evidence, cell, space, STRATUM, metric) for space in (first, second))
    return " and ".join("unknown" if row is None else number(row["value"]) for row in rows)


def _null(drawn: np.ndarray, test: DrawTest | None, level: float) -> dict[str, Any]:
    """Where differences from the draws' mean lie among the draws themselves."""
    if test is None:
        return {}
    columns = {"draws": test.draws, "p_draws": test.p}
    if len(drawn) >= LEAST_DRAWS:
        tails = ((1 - level) / 2, (1 + level) / 2)
        low, high = np.quantile(drawn - drawn.mean(), tails)
        columns |= {"null_mean": 0.0, "null_low": float(low), "null_high": float(high)}
    return columns
