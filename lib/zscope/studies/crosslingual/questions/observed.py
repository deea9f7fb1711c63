"""Questions about the model as it is: answers, weights and states (phases 0 to 2, experiment B)."""

from __future__ import annotations

from typing import Any

import pandas as pd
from scipy.stats import norm

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
from zscope.studies.crosslingual.tables import ACCURACY, GEOMETRY, UPDATES, WEIGHTS

UNIFORM_RANK = 0.08  # the protocol's bound of the coefficient of variation of the heads' ranks
FAR_ABOVE_ONE = 2.0  # what "R >> 1" is taken to be


def solves_more_in_chinese(evidence: Evidence) -> dict[str, Any]:
    """Phase 0: right answers in the two languages, paired by problem."""
    alpha = evidence.rules.alpha
    question = Question(
        "solves_more_in_chinese",
        "0. Does the model solve more in Chinese than in English?",
        "more problems are right in Chinese than in English",
        f"and the exact McNemar test of the pairs has p < {alpha:g}",
    )
    test = evidence.one(ACCURACY, metric="mcnemar_p")
    if test is None:
        return question.unanswered("no unpatched outputs in both languages")
    n, p = int(test["n"]), float(test["value"])
    right, only = (
        {
            language: float(evidence.get(ACCURACY, **what, language=language)["value"].iloc[0])
            for language in ("zh", "en")
        }
        for what in ({"metric": "accuracy", "category": "all"}, {"metric": "only_right"})
    )
    more = only["zh"] > only["en"]
    numbers = (
        f"{right['zh'] * n:.0f} of {n} right in Chinese, {right['en'] * n:.0f} in English; "
        f"{only['zh']:.0f} in Chinese alone, {only['en']:.0f} in English alone, p {p:.2g}"
    )
    row = {"value": right["zh"] - right["en"], "p": p, "n": n}
    return question.answered(yes(more), yes(more and p < alpha), row, numbers)


def heads_collapse(evidence: Evidence) -> dict[str, Any]:
    """Phase 1: the entropy ranks of the declared layer's heads, and their spread."""
    question = Question(
        "heads_collapse",
        "1. Do the heads collapse to a common rank?",
        f"the coefficient of variation of the heads' effective rank is below {UNIFORM_RANK:g}",
        f"the mean rank is below the {evidence.interval} of Gaussian heads, and the coefficient of "
        "variation not above that of Gaussian layers; partial: the first only",
    )
    cell = evidence.cell
    wanted = {"layer": cell.layer, "kind": cell.kind}
    cv = evidence.one(WEIGHTS, **wanted, head=None, metric="entropy_rank_cv")
    heads = evidence.get(WEIGHTS, **wanted, metric="entropy_rank").dropna(subset=["head"])
    if cv is None or heads.empty:
        return question.unanswered("no ranks of the declared layer")
    mean, null = heads["value"].mean(), heads.iloc[0]
    numbers = (
        f"layer {cell.layer}: rank {mean:.1f} +- {heads['value'].std(ddof=0):.1f}, Gaussian "
        f"{band(null)}; CV {number(cv['value'])}, Gaussian {band(cv)}" + evidence.quoted("ranks")
    )
    low, even = mean < null["null_low"], cv["value"] <= cv["null_high"]
    protocol = yes(cv["value"] < UNIFORM_RANK)
    row = {**cv, "n": len(heads)}
    return question.answered(protocol, graded(low and even, low), row, numbers)


def ffn_avoids_z(evidence: Evidence) -> dict[str, Any]:
    """Phase 2: what the FFN of the declared layer writes, in its Z."""
    question = Question(
        "ffn_avoids_z",
        "2. Does the FFN avoid the attention subspace?",
        "the share of the FFN's writes in Z is below k/d",
        f"it is below the {evidence.interval} of random spaces, and so is the overlap of Z with "
        "the k directions written to most; partial: one of the two",
    )
    share, span = (
        evidence.one(WEIGHTS, **evidence.cell.of_z(), metric=metric)
        for metric in ("ffn_write_share", "ffn_write_span")
    )
    if share is None or span is None:
        return question.unanswered("no overlaps of the declared Z")
    numbers = "; ".join(
        f"{name} {number(row['value'])} = {row['value'] / row['null_mean']:.2f}x chance, random "
        f"{band(row)}"
        for name, row in (("share", share), ("span", span))
    )
    below = [bool(row["value"] < row["null_low"]) for row in (share, span)]
    protocol = yes(share["value"] < share["null_mean"])
    controlled = graded(all(below), any(below))
    return question.answered(protocol, controlled, share, numbers + evidence.quoted("ffn"))


def z_separates(evidence: Evidence) -> dict[str, Any]:
    """Phase 2: distances of translations over those of other problems, mean-pooled."""
    question = Question(
        "z_separates",
        "2. Does Z separate problem from language (ratio_Z < ratio_Zperp)?",
        "ratio_Z is below ratio_Zperp (mean pooling)",
        f"the {evidence.interval} of their difference is below 0, and the difference below that of "
        "energy-matched spaces; partial: the first only",
    )
    z, perp, gap = (
        _geometry(evidence, metric, "random")
        for metric in ("ratio_z", "ratio_z_perp", "ratio_difference")
    )
    if z is None or perp is None or gap is None or not known(gap, "value", "ci_high"):
        return question.unanswered("no distances in the declared Z")
    energy = _geometry(evidence, "ratio_difference", "energy")
    numbers = (
        f"ratio_Z {interval(z)}, ratio_Zperp {interval(perp)}, difference {interval(gap)}, "
        f"energy-matched {band(energy)}, random {band(gap)}, n {gap['n']}"
        + evidence.quoted("geometry")
    )
    controlled = _against_energy(gap["value"], energy, below=bool(gap["ci_high"] < 0))
    row = gap if energy is None else energy
    return question.answered(yes(gap["value"] < 0), controlled, row, numbers)


def language_is_outside(evidence: Evidence) -> dict[str, Any]:
    """Phase 2: how much of the difference of the languages' means lies in Z, mean-pooled."""
    question = Question(
        "language_is_outside",
        "2. Is the language energy in Z below chance?",
        "the share of the language difference in Z is below k/d",
        f"the {evidence.interval} of the share is below k/d, and the share below that of "
        "energy-matched spaces; partial: the first only",
    )
    chance, energy = (_geometry(evidence, "language_energy", null) for null in ("chance", "energy"))
    if chance is None or not known(chance, "value", "ci_high"):
        return question.unanswered("no language energy of Z")
    limit = chance["null_mean"]
    numbers = f"share {interval(chance)}, k/d {number(limit)}, energy-matched {band(energy)}"
    controlled = _against_energy(chance["value"], energy, below=bool(chance["ci_high"] < limit))
    row = chance if energy is None else energy
    return question.answered(yes(chance["value"] < limit), controlled, row, numbers)


def z_dominated_layer(evidence: Evidence) -> dict[str, Any]:
    """Experiment B: the largest R(l), in the declared Z."""
    alpha = evidence.rules.alpha
    question = Question(
        "z_dominated_layer",
        "B. Is there a Z-dominated layer (R >> 1)?",
        f"R(l) is above {FAR_ABOVE_ONE:g} at some layer; partial: above 1",
        "at some layer R is above 1, and above energy-matched spaces (normal p, Bonferroni over "
        f"layers, < {alpha:g}); partial: above those, not above 1",
    )
    cell = evidence.cell
    wanted = {
        "basis_layer": cell.layer,
        "k": cell.k,
        "kind": cell.kind,
        "language": "both",
        "pooling": "mean",
        "position_0": cell.position_0,
    }
    energy = evidence.get(UPDATES, **wanted, metric="ratio", null="energy").dropna(subset="value")
    scaled = evidence.get(UPDATES, **wanted, metric="ratio_over_null").dropna(subset="value")
    if energy.empty or scaled.empty:
        return question.unanswered("no updates in the declared Z")
    top, over = largest(energy), largest(scaled)
    special = energy[energy["z"] > norm.isf(alpha / len(energy))]
    numbers = (
        f"largest R {interval(top)} at layer {top['layer']}, energy-matched {band(top)}; R over "
        f"its null at most {interval(over)} (layer {over['layer']}); above energy-matched spaces "
        f"at {len(special)} of {len(energy)} layers"
    )
    protocol = graded(bool(top["value"] > FAR_ABOVE_ONE), bool(top["value"] > 1))
    controlled = graded(bool((special["value"] > 1).any()), len(special) > 0)
    if not energy["z"].notna().any():
        controlled = UNKNOWN
    return question.answered(protocol, controlled, top, numbers)


def _geometry(evidence: Evidence, metric: str, null: str) -> pd.Series | None:
    return evidence.one(
        GEOMETRY,
        **evidence.cell.of_z(),
        head=None,
        pooling="mean",
        position_0=evidence.cell.position_0,
        metric=metric,
        null=null,
    )


def _against_energy(value: float, energy: pd.Series | None, *, below: bool) -> Answer:
    """yes: below chance (`below`) and below the energy-matched spaces; partial: the first only.

    Where no space has the energy of Z, the control can be neither passed nor failed.
    """
    if not below:
        return "no"
    if energy is None or not known(energy, "null_low"):
        return UNKNOWN
    return graded(value < energy["null_low"], True)
