"""Questions about the model as it is: answers, weights and states (phases 0 to 2, experiment B)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from zscope.studies.crosslingual.questions.evidence import (
    Evidence,
    Question,
    band,
    band_power,
    interval,
    known,
    largest,
    number,
    outside,
    power,
    ranks_above,
)
from zscope.studies.crosslingual.tables import ACCURACY, GEOMETRY, UPDATES, UPDATES_NULL, WEIGHTS
from zscope.verdicts import (
    UNKNOWN,
    Answer,
    all_of,
    any_of,
    detectable,
    graded,
    graded_if_told,
    least_paired_p,
    least_rank_p,
    special,
    yes,
)

UNIFORM_RANK = 0.08  # the protocol's bound of the coefficient of variation of the heads' ranks
FAR_ABOVE_ONE = 2.0  # what "R >> 1" is taken to be
# What the spaces that R is compared with hold as much of as Z does, by the name of the null.
MATCHED = {
    "energy_input": "the layer's input",
    "energy_output": "the layer's output",
    "energy_own": "the input of Z's own layer",
}


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
    alone = only["zh"], only["en"]
    difference = (alone[0] - alone[1]) / n
    # Had Chinese been right everywhere: the problems that are wrong in English decide.
    english = np.arange(n) < round(right["en"] * n)
    least = least_paired_p(english, "above", steps=1)
    found = detectable(float(np.sqrt(sum(alone) / n - difference**2)), n, alpha)
    numbers = (
        f"{right['zh'] * n:.0f} of {n} right in Chinese, {right['en'] * n:.0f} in English; "
        f"{alone[0]:.0f} in Chinese alone, {alone[1]:.0f} in English alone, p {p:.2g}, smallest "
        f"p that could be reached {least:.2g}; {power(found)}"
    )
    row = {"value": difference, "p": p, "p_least": least, "detectable": found, "n": n}
    controlled = special(difference, p, least, None, alpha)
    return question.answered(yes(difference > 0), controlled, row, numbers)


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
    low, uneven = outside(mean, null, "below"), outside(cv["value"], cv, "above")
    even: Answer = UNKNOWN if uneven == UNKNOWN else yes(uneven == "no")
    controlled = graded_if_told(all_of((low, even)), low)
    found = band_power(null, "below", evidence.level)
    row = {**null, "value": mean, "detectable": found, "n": len(heads)}
    numbers += f"; of the mean rank, {power(found)}"
    return question.answered(yes(cv["value"] < UNIFORM_RANK), controlled, row, numbers)


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
    below = [outside(row["value"], row, "below") for row in (share, span)]
    controlled = graded(all_of(below), any_of(below))
    found = band_power(share, "below", evidence.level)
    numbers += f"; of the share, {power(found)}" + evidence.quoted("ffn")
    row = {**share, "detectable": found}
    return question.answered(yes(share["value"] < share["null_mean"]), controlled, row, numbers)


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
        f"{_energy(evidence, energy)}, random {band(gap)}, n {gap['n']}"
        + evidence.quoted("geometry")
    )
    controlled = _against_energy(gap["value"], energy, below=bool(gap["ci_high"] < 0))
    return question.answered(
        yes(gap["value"] < 0), controlled, _with_power(evidence, gap, energy), numbers
    )


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
    numbers = (
        f"share {interval(chance)}, k/d {number(limit)}, {_energy(evidence, energy)}, "
        f"n {chance['n']}"
    )
    controlled = _against_energy(chance["value"], energy, below=bool(chance["ci_high"] < limit))
    return question.answered(
        yes(chance["value"] < limit), controlled, _with_power(evidence, chance, energy), numbers
    )


def z_dominated_layer(evidence: Evidence) -> dict[str, Any]:
    """Experiment B: the largest R(l), in the declared Z.

    A layer's update becomes part of its output, so the null holds fixed how much of that output the
    space holds. The other two nulls are shown.
    """
    alpha = evidence.rules.alpha
    question = Question(
        "z_dominated_layer",
        "B. Is there a Z-dominated layer (R >> 1)?",
        f"R(l) is above {FAR_ABOVE_ONE:g} at some layer; partial: above 1",
        f"where R is largest its {evidence.interval} lies above 1, and R is larger than the "
        "largest R of random spaces that hold as much of each layer's output (rank among the "
        f"draws, p < {alpha:g}); partial: the second only",
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
    by_layer = evidence.get(UPDATES, **wanted, metric="ratio", null="chance").dropna(subset="value")
    if by_layer.empty:
        return question.unanswered("no updates in the declared Z")
    top = largest(by_layer)
    over = {
        null: evidence.one(UPDATES, **wanted, metric="largest_ratio", null=null) for null in MATCHED
    }
    special_there = {null: ranks_above(row, alpha) for null, row in over.items()}
    large = yes(top["ci_low"] > 1) if known(top, "ci_low") else UNKNOWN
    output = over[UPDATES_NULL]
    found = band_power(output, "above", evidence.level)
    shown = ", ".join(
        f"of {MATCHED[null]} {band(row)} (p {'none' if row is None else number(row['p'])}: "
        f"{special_there[null]})"
        for null, row in over.items()
    )
    numbers = (
        f"largest R {interval(top)} at layer {int(top['layer'])} of {len(by_layer)}, n {top['n']}; "
        f"largest R of spaces with as large a share {shown}; the verdict uses that of the output, "
        f"which the update becomes part of; {power(found)}"
    )
    row = {name: top[name] for name in ("value", "ci_low", "ci_high", "n")}
    if output is not None:
        columns = ("null", "null_mean", "null_low", "null_high", "draws", "matched_on")
        row |= {name: output[name] for name in columns}
        row |= {"p_draws": output["p"], "detectable": found}
        if known(output, "draws"):
            row["p_least"] = least_rank_p(int(output["draws"]))
    protocol = graded(yes(top["value"] > FAR_ABOVE_ONE), yes(top["value"] > 1))
    above = special_there[UPDATES_NULL]
    return question.answered(protocol, graded(all_of((above, large)), above), row, numbers)


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


def _energy(evidence: Evidence, energy: pd.Series | None) -> str:
    """The energy-matched spaces as text: their band, what they are matched on, and the power."""
    if energy is None:
        return "no energy-matched spaces"
    on = "" if pd.isna(energy["matched_on"]) else f" (matched on {energy['matched_on']})"
    return (
        f"energy-matched{on} {band(energy)}, {power(band_power(energy, 'below', evidence.level))}"
    )


def _with_power(
    evidence: Evidence, row: pd.Series, energy: pd.Series | None
) -> dict[str, Any] | pd.Series:
    """The columns of the verdict: those of the energy-matched null, where there is one."""
    if energy is None:
        return row
    return {**energy, "detectable": band_power(energy, "below", evidence.level)}


def _against_energy(value: float, energy: pd.Series | None, *, below: bool) -> Answer:
    """yes: below chance (`below`) and below the energy-matched spaces; partial: the first only.

    Without spaces of the energy of Z, or with few, the control can be neither passed nor failed.
    """
    return graded_if_told(all_of((yes(below), outside(value, energy, "below"))), yes(below))
