"""Questions about what is fitted: lengthscales (experiment C) and the bridge (experiment D)."""

from __future__ import annotations

from typing import Any

import pandas as pd

from zscope.studies.crosslingual.questions.evidence import (
    Evidence,
    Question,
    band,
    band_power,
    enough_draws,
    interval,
    known,
    largest,
    number,
    outside,
    power,
    ranks_above,
)
from zscope.studies.crosslingual.tables import ARD, BRIDGE
from zscope.verdicts import (
    UNKNOWN,
    Answer,
    all_of,
    graded,
    graded_if_told,
    least_rank_p,
    yes,
)

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
    index = evidence.get(ARD, **wanted, **from_z, metric="index_overlap")
    nothing_survives = len(index) > 0 and bool(index["value"].isna().all())
    index = index.dropna(subset="value")
    gap = {"objective": "gap", "basis": "coordinates", "metric": "overlap"}
    contrast = {
        null: evidence.one(ARD, **wanted, **gap, null=null)
        for null in ("energy", "shuffled", "random")
    }
    protocol: Answer = UNKNOWN
    numbers = []
    if len(index):
        best = largest(index)
        protocol = graded(yes(best["value"] >= AGREES), yes(best["value"] > best["null_mean"]))
        numbers.append(_index_overlap(evidence, best, claimed=protocol != "no"))
        numbers += _degeneracy(evidence)
    elif nothing_survives:
        protocol = "no"
        numbers.append("original objective: no dimension survives the fit from Z")
    above = {
        name: UNKNOWN if row is None else outside(row["value"], row, "above")
        for name, row in contrast.items()
    }
    controlled = graded_if_told(all_of((above["energy"], above["shuffled"])), above["random"])
    energy = contrast["energy"]
    fitted = evidence.one(ARD, **wanted, **gap, null="chance")
    if fitted is not None and pd.isna(fitted["value"]):
        numbers.append("contrast: no direction has a weight")
        return question.answered(protocol, "no", None, "; ".join(numbers))
    if energy is None:
        return question.answered(
            protocol, controlled, None, "; ".join(numbers) or "no fits of the layer"
        )
    found = band_power(energy, "above", evidence.level)
    bands = ", ".join(f"{name} {band(row)}" for name, row in contrast.items())
    numbers.append(f"contrast: energy in Z {number(energy['value'])}, {bands}, {power(found)}")
    row = {**energy, "detectable": found}
    return question.answered(protocol, controlled, row, "; ".join(numbers))


def _index_overlap(evidence: Evidence, best: pd.Series, *, claimed: bool) -> str:
    """The protocol's overlap, and what of it holds by construction.

    Half of the dimensions survive, so that the k with most of Z's energy are at most 2k/d of them.
    A fit that starts from Z starts from lengthscales in the order of this energy: at this most.
    """
    most = min(1.0, 2 * best["null_mean"])
    text = f"original objective: index overlap {number(best['value'])}, k/d "
    text += f"{number(best['null_mean'])}, at most {number(most)} at this k"
    begun = {"layer": evidence.cell.layer, "k": evidence.cell.k, "init": "svd_z"}
    # The start is the Z of the largest k; only that k has rows of overlap_init.
    if len(evidence.get(ARD, **begun, metric="overlap_init")):
        text += f", and {number(most)} before the first step"
    if claimed:
        text += ": what is maximal by construction is no evidence"
    return text


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
    controlled, shown = _controlled_r2(evidence, z, energy)
    r2 = fitted["value"]
    protocol = graded(yes(r2 > THIN), yes(r2 >= NONLINEAR)) if asked else UNKNOWN
    row, found = _row(evidence, z)
    return question.answered(protocol, controlled, row, numbers + shown + found + _gate(asked))


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
    controlled, shown = _controlled_r2(evidence, z, energy)
    protocol = yes(error["value"] < ROTATION) if asked else UNKNOWN
    row, found = _row(evidence, z)
    return question.answered(protocol, controlled, row, numbers + shown + found + _gate(asked))


def _bridge(evidence: Evidence, space: str, metric: str) -> pd.Series | None:
    what = {"space": space, "pooling": "mean", "direction": "en->zh", "metric": metric}
    return evidence.one(BRIDGE, **evidence.cell.of_z(), **what)


def _controlled_r2(
    evidence: Evidence, z: pd.Series, energy: pd.Series | None
) -> tuple[Answer, str]:
    """The verdict on a score of the bridge, and the control as text."""
    paired = ranks_above(z, evidence.rules.alpha)
    answers = paired, yes(z["value"] > THIN), _beyond_drawn(z, energy)
    answer = graded_if_told(all_of(answers), paired)
    if energy is None:
        return answer, ", no energy-matched spaces"
    drawn = f" ({int(energy['draws'])} draws)" if known(energy, "draws") else ""
    return answer, f", energy-matched {interval(energy)}{drawn}"


def _beyond_drawn(z: pd.Series, energy: pd.Series | None) -> Answer:
    """Whether a score lies above those of drawn spaces, whose row holds their mean and band."""
    if energy is None or not enough_draws(energy) or not known(energy, "ci_high"):
        return UNKNOWN
    return yes(z["value"] > energy["ci_high"])


def _row(evidence: Evidence, z: pd.Series) -> tuple[dict[str, Any], str]:
    """The columns of the verdict on a score of the bridge, and its power line."""
    found = band_power(z, "above", evidence.level)
    row = {**z.drop("p"), "p_draws": z["p"], "detectable": found}
    if known(z, "draws"):
        row["p_least"] = least_rank_p(int(z["draws"]))
    return row, f"; against shuffled pairings, {power(found)}"


def _gate(asked: bool) -> str:
    return "" if asked else "; neither A nor C succeeded, so the protocol would not have asked"
