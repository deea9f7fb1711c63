"""Questions about what is fitted: lengthscales (experiment C) and the bridge (experiment D)."""

from __future__ import annotations

from typing import Any

import pandas as pd

from zscope.studies.crosslingual.questions.evidence import (
    UNKNOWN,
    Answer,
    Evidence,
    Question,
    band,
    graded,
    interval,
    known,
    largest,
    number,
    yes,
)
from zscope.studies.crosslingual.tables import ARD, BRIDGE

AGREES = 0.5  # index overlap from which two spaces "agree"
THIN, NONLINEAR = 0.8, 0.5  # the protocol's bounds of R2
ROTATION = 0.1  # our bound of its ||W'W - I|| / k


def ard_finds_z(evidence: Evidence) -> dict[str, Any]:
    """Experiment C: overlap of what each objective finds with the declared Z."""
    question = Question(
        "ard_finds_z",
        "C. Does ARD find Z?",
        f"{AGREES:.0%} or more of the surviving dimensions are among the k with most of Z's "
        "energy (started from Z, best lambda); partial: more than k/d",
        "the contrast's directions hold more energy in Z than in energy-matched spaces, and in Z "
        "than its shuffled weights do; partial: than in uniform spaces only",
    )
    wanted = {"layer": evidence.cell.layer, "k": evidence.cell.k}
    from_z = {"objective": "original", "init": "svd_z"}
    index = evidence.get(ARD, **wanted, **from_z, metric="index_overlap").dropna(subset="value")
    gap = {"objective": "gap", "basis": "coordinates", "metric": "overlap"}
    contrast = {
        null: evidence.one(ARD, **wanted, **gap, null=null)
        for null in ("energy", "shuffled", "random")
    }
    protocol, controlled, numbers = UNKNOWN, UNKNOWN, []
    if len(index):
        best = largest(index)
        protocol = graded(best["value"] >= AGREES, bool(best["value"] > best["null_mean"]))
        # Half of the dimensions survive by construction, so k of them are at most 2 k/d.
        most = min(1.0, 2 * best["null_mean"])
        numbers.append(
            f"original objective: index overlap {number(best['value'])}, k/d "
            f"{number(best['null_mean'])}, at most {number(most)}"
        )
        numbers += _degeneracy(evidence)
    tested = {name: row for name, row in contrast.items() if row is not None}
    if len(tested) == len(contrast) and all(
        known(row, "value", "null_high") for row in tested.values()
    ):
        above = {name: bool(row["value"] > row["null_high"]) for name, row in tested.items()}
        bands = ", ".join(f"{name} {band(row)}" for name, row in tested.items())
        controlled = graded(above["energy"] and above["shuffled"], above["random"])
        numbers.append(f"contrast: energy in Z {number(tested['energy']['value'])}, {bands}")
    text = "; ".join(numbers) or "no fits of the layer"
    return question.answered(protocol, controlled, contrast["energy"], text)


def _degeneracy(evidence: Evidence) -> list[str]:
    """What the original objective is worth at its fit, and what it owes to its start."""

    def values(init: str, metric: str) -> pd.Series:
        wanted = {"layer": evidence.cell.layer, "objective": "original", "init": init}
        return evidence.get(ARD, **wanted, metric=metric)["value"].dropna()

    fitted, empty = values("svd_z", "value"), values("svd_z", "value_at_infinity")
    start = values("svd_random", "overlap_init")
    out = []
    if len(fitted) and len(empty):
        out.append(
            f"its value {number(fitted.min())} or more, of the empty Z {number(empty.min())}"
        )
    if len(start):
        out.append(f"started from a random space, {number(start.max())} of its energy in that one")
    return out


def bridge_is_linear(evidence: Evidence, asked: bool) -> dict[str, Any]:
    """Experiment D: R2 of the linear map, in sample as the protocol has it, and left out.

    asked: whether A or C succeeded by the protocol's rule.
    """
    alpha = evidence.rules.alpha
    question = Question(
        "bridge_is_linear",
        "D. Is the bridge between the languages linear?",
        f"if A or C succeeds: R2 in sample above {THIN:g}; partial: {NONLINEAR:g} or more",
        f"R2 of left-out pairs (ridge) above {THIN:g}, above energy-matched spaces, and above "
        f"pairings shuffled within categories (p < {alpha:g}); partial: the last only",
    )
    z, energy = (_bridge(evidence, space, "ridge_loo_r2") for space in ("z", "energy"))
    fitted, loo = (_bridge(evidence, "z", metric) for metric in ("protocol_r2", "loo_r2"))
    if z is None or fitted is None or loo is None or not known(z, "value", "p"):
        return question.unanswered("no bridge in the declared Z")
    numbers = (
        f"R2 in sample {number(fitted['value'])}, left out {number(loo['value'])}, ridge "
        f"{number(z['value'])} (p {z['p']:.2g}, shuffled {band(z)})"
    )
    controlled, shown = _controlled_r2(z, energy, alpha)
    r2 = fitted["value"]
    protocol = graded(r2 > THIN, r2 >= NONLINEAR) if asked else UNKNOWN
    return question.answered(protocol, controlled, z, numbers + shown + _gate(asked))


def bridge_is_orthogonal(evidence: Evidence, asked: bool) -> dict[str, Any]:
    """Experiment D: whether the map is a rotation, up to a scale."""
    alpha = evidence.rules.alpha
    question = Question(
        "bridge_is_orthogonal",
        "D. Is the bridge orthogonal?",
        f"if A or C succeeds: ||W'W - I|| / k is below {ROTATION:g}",
        f"a scaled rotation explains more than {THIN:g} (Procrustes R2), above energy-matched "
        f"spaces and above shuffled pairings (p < {alpha:g}); partial: the last only",
    )
    z, energy = (_bridge(evidence, space, "procrustes_r2") for space in ("z", "energy"))
    error = _bridge(evidence, "z", "orthogonality_error")
    if z is None or error is None or not known(z, "value", "p"):
        return question.unanswered("no bridge in the declared Z")
    numbers = (
        f"||W'W - I|| / k {number(error['value'])} ({evidence.cell.k**-0.5:.2f} for W = 0); "
        f"Procrustes R2 {number(z['value'])} (p {z['p']:.2g}, shuffled {band(z)})"
    )
    controlled, shown = _controlled_r2(z, energy, alpha)
    protocol = yes(error["value"] < ROTATION) if asked else UNKNOWN
    return question.answered(protocol, controlled, z, numbers + shown + _gate(asked))


def _bridge(evidence: Evidence, space: str, metric: str) -> pd.Series | None:
    what = {"space": space, "pooling": "mean", "direction": "en->zh", "metric": metric}
    return evidence.one(BRIDGE, **evidence.cell.of_z(), **what)


def _controlled_r2(z: pd.Series, energy: pd.Series | None, alpha: float) -> tuple[Answer, str]:
    """The verdict on a score of the bridge, and the control as text."""
    beaten = bool(z["p"] < alpha)
    full = beaten and bool(z["value"] > THIN)
    if energy is None or not known(energy, "ci_high"):
        return UNKNOWN if full else graded(False, beaten), ""
    answer = graded(full and bool(z["value"] > energy["ci_high"]), beaten)
    return answer, f", energy-matched {interval(energy)}"


def _gate(asked: bool) -> str:
    return "" if asked else "; neither A nor C succeeded, so the protocol would not have asked"
