"""The study of one model in a table: each question of the protocol by its rule and by ours. No torch.

A question is a function of the tables (`Evidence`) and of what was declared before the run
(`Declared`). Its thresholds stand in the text of its criteria. Without its data a verdict is
"undetermined".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import pandas as pd
from scipy.stats import norm

from zscope.stats import mcnemar_exact
from zscope.studies.crosslingual.patching.paired_tests import (
    Answer,
    DeclaredCell,
    controlled_criterion,
    controlled_verdict,
    protocol_criterion,
    protocol_verdict,
)
from zscope.tables.read import TABLES

UNKNOWN: Answer = "undetermined"
UNIFORM_RANK = 0.08  # the protocol's CV of the heads' ranks
FAR_ABOVE_ONE = 2.0  # what "R >> 1" is taken to be
AGREES = 0.5  # index overlap from which two spaces "agree"
THIN, NONLINEAR, ROTATION = 0.8, 0.5, 0.1  # the protocol's bounds of R2, and ours of ||W'W - I|| / k
# Numbers that the protocol quotes for Qwen2.5-3B.
QUOTED = {
    "ranks": "80.4 +- 6.0, CV < .08 (L33)",
    "ffn": ".57x chance (L32-L33); similarity of L32 and L33 .482",
    "geometry": "ratio_Z .730, ratio_Zperp .824 (L32, k 50, mean pool)",
}
QUOTED_MODEL = "qwen2.5-3b"


class Evidence:
    """Tables of one model, by their names without crosslingual_; outputs: the unpatched ones."""

    def __init__(self, tables: Mapping[str, pd.DataFrame]) -> None:
        self._tables = tables

    def __getitem__(self, name: str) -> pd.DataFrame:
        """The table, without rows if it is not given."""
        columns = [c.name for c in TABLES[f"crosslingual_{name}"].columns]
        return self._tables.get(name, pd.DataFrame(columns=columns))


@dataclass(frozen=True)
class Declared:
    """What was fixed before the run: the verdict's cell and rules, and the model's name."""

    cell: DeclaredCell
    high: float
    margin: float
    alpha: float
    model: str

    def of_z(self) -> dict[str, Any]:
        """The columns that name Z."""
        return {"layer": self.cell.layer, "k": self.cell.k, "kind": self.cell.kind}

    def quoted(self, name: str) -> str:
        return f"; seed quoted {QUOTED[name]}" if self.model == QUOTED_MODEL else ""


@dataclass(frozen=True)
class Finding:
    """A row of crosslingual_summary, without the model."""

    question: str
    protocol_criterion: str
    protocol_verdict: Answer
    controlled_criterion: str
    controlled_verdict: Answer
    why: str


def summarise(evidence: Evidence, declared: Declared) -> pd.DataFrame:
    """Every question, in the order of the study: crosslingual_summary without the model."""
    causal = is_causal(evidence, declared)
    ard = ard_finds_z(evidence, declared)
    succeeded = any(f.protocol_verdict in ("yes", "partial") for f in (causal, ard))
    findings = [
        behaviour_differs(evidence, declared),
        heads_collapse(evidence, declared),
        ffn_avoids_z(evidence, declared),
        z_separates(evidence, declared),
        language_is_outside(evidence, declared),
        causal,
        carries_the_answer(evidence, declared),
        is_necessary(evidence, declared),
        z_dominated_layer(evidence, declared),
        ard,
        bridge_is_linear(evidence, declared, succeeded),
        bridge_is_orthogonal(evidence, declared, succeeded),
    ]
    return pd.DataFrame([asdict(f) for f in findings])


def behaviour_differs(evidence: Evidence, declared: Declared) -> Finding:
    """Phase 0: right answers in the two languages, paired by problem."""
    question = "0. Does the model solve more in Chinese than in English?"
    seed, ours = (
        "more problems are right in Chinese than in English",
        f"and the exact McNemar test of the pairs has p < {declared.alpha:g}",
    )
    rows = evidence["outputs"]
    rows = rows[(rows["space"] == "none") & (rows["design"] == "none")]
    rows = rows.assign(prompt=rows["direction"].str.replace(".*->", "", regex=True))
    right = rows.drop_duplicates(["problem", "prompt"]).pivot(
        index="problem", columns="prompt", values="correct"
    )
    right = right.dropna()
    if right.empty or not {"zh", "en"} <= set(right.columns):
        return Finding(question, seed, UNKNOWN, ours, UNKNOWN, "no unpatched outputs")
    zh, en = (right[language].to_numpy(bool) for language in ("zh", "en"))
    p, more = mcnemar_exact(zh, en), bool(zh.sum() > en.sum())
    why = (
        f"{zh.sum()} of {len(zh)} right in Chinese, {en.sum()} in English; {(zh & ~en).sum()} in "
        f"Chinese alone, {(en & ~zh).sum()} in English alone, p {p:.2g}"
    )
    return Finding(question, seed, _yes(more), ours, _yes(more and p < declared.alpha), why)


def heads_collapse(evidence: Evidence, declared: Declared) -> Finding:
    """Phase 1: the entropy ranks of the declared layer's heads, and their spread."""
    question = "1. Do the heads collapse to a common rank?"
    seed, ours = (
        f"the coefficient of variation of the heads' effective rank is below {UNIFORM_RANK:g}",
        "the mean rank is below the interval of Gaussian heads, and the coefficient of variation "
        "not above that of Gaussian layers; partial: the first only",
    )
    wanted = {"layer": declared.cell.layer, "kind": declared.cell.kind}
    cv = _one(evidence["weights"], **wanted, head=None, metric="entropy_rank_cv")
    heads = _pick(evidence["weights"], **wanted, metric="entropy_rank")
    heads = heads[heads["head"].notna()]
    if cv is None or heads.empty:
        return Finding(question, seed, UNKNOWN, ours, UNKNOWN, "no ranks of the declared layer")
    mean, null = heads["value"].mean(), heads.iloc[0]
    why = (
        f"layer {declared.cell.layer}: rank {mean:.1f} +- {heads['value'].std(ddof=0):.1f}, "
        f"Gaussian {_band(null)}; CV {_n(cv['value'])}, Gaussian {_band(cv)}"
    )
    low, even = mean < null["null_low"], cv["value"] <= cv["null_high"]
    return Finding(
        question,
        seed,
        _yes(cv["value"] < UNIFORM_RANK),
        ours,
        _graded(low and even, low),
        why + declared.quoted("ranks"),
    )


def ffn_avoids_z(evidence: Evidence, declared: Declared) -> Finding:
    """Phase 2: what the FFN of the declared layer writes, in its Z."""
    question = "2. Does the FFN avoid the attention subspace?"
    seed, ours = (
        "the share of the FFN's writes in Z is below k/d",
        "it is below the interval of random spaces, and so is the overlap of Z with the k "
        "directions written to most; partial: one of the two",
    )
    found = {
        metric: _one(evidence["weights"], **declared.of_z(), metric=metric)
        for metric in ("ffn_write_share", "ffn_write_span")
    }
    share, span = found.values()
    if share is None or span is None:
        return Finding(question, seed, UNKNOWN, ours, UNKNOWN, "no overlaps of the declared Z")
    why = "; ".join(
        f"{name} {_n(row['value'])} = {row['value'] / row['null_mean']:.2f}x chance, random "
        f"{_band(row)}"
        for name, row in (("share", share), ("span", span))
    )
    below = [bool(row["value"] < row["null_low"]) for row in (share, span)]
    return Finding(
        question,
        seed,
        _yes(share["value"] < share["null_mean"]),
        ours,
        _graded(all(below), any(below)),
        why + declared.quoted("ffn"),
    )


def z_separates(evidence: Evidence, declared: Declared) -> Finding:
    """Phase 2: distances of translations over those of other problems, mean-pooled."""
    question = "2. Does Z separate problem from language (ratio_Z < ratio_Zperp)?"
    seed, ours = (
        "ratio_Z is below ratio_Zperp (mean pooling)",
        "the interval of their difference is below 0, and the difference below the interval of "
        "energy-matched spaces; partial: the first only",
    )
    rows = {
        metric: _geometry(evidence, declared, metric, "random")
        for metric in ("ratio_z", "ratio_z_perp", "ratio_difference")
    }
    z, perp, gap = rows.values()
    if z is None or perp is None or gap is None or not _known(gap, "value", "ci_high"):
        return Finding(question, seed, UNKNOWN, ours, UNKNOWN, "no distances in the declared Z")
    energy = _geometry(evidence, declared, "ratio_difference", "energy")
    why = (
        f"ratio_Z {_interval(z)}, ratio_Zperp {_interval(perp)}, difference {_interval(gap)}, "
        f"energy-matched {_band(energy)}, random {_band(gap)}, n {gap['n']}"
    )
    return Finding(
        question,
        seed,
        _yes(gap["value"] < 0),
        ours,
        _against_energy(gap["value"], energy, below=bool(gap["ci_high"] < 0)),
        why + declared.quoted("geometry"),
    )


def language_is_outside(evidence: Evidence, declared: Declared) -> Finding:
    """Phase 2: how much of the difference of the languages' means lies in Z, mean-pooled."""
    question = "2. Is the language energy in Z below chance?"
    seed, ours = (
        "the share of the language difference in Z is below k/d",
        "the interval of the share is below k/d, and the share below that of energy-matched "
        "spaces; partial: the first only",
    )
    chance = _geometry(evidence, declared, "language_energy", "chance")
    energy = _geometry(evidence, declared, "language_energy", "energy")
    if chance is None or not _known(chance, "value", "ci_high"):
        return Finding(question, seed, UNKNOWN, ours, UNKNOWN, "no language energy of Z")
    limit = chance["null_mean"]
    why = f"share {_interval(chance)}, k/d {_n(limit)}, energy-matched {_band(energy)}"
    return Finding(
        question,
        seed,
        _yes(chance["value"] < limit),
        ours,
        _against_energy(chance["value"], energy, below=bool(chance["ci_high"] < limit)),
        why,
    )


def is_causal(evidence: Evidence, declared: Declared) -> Finding:
    """Experiment A, by the rules of `verdict`."""
    seed = protocol_verdict(evidence["rates"], declared.cell, declared.high, declared.margin)
    ours = controlled_verdict(evidence["tests"], evidence["rates"], declared.cell, declared.alpha)
    return Finding(
        "A. Is Z causal? Patching it changes answers, not the language",
        protocol_criterion(declared.high, declared.margin),
        seed.answer,
        controlled_criterion(declared.alpha),
        ours.answer,
        f"{seed.why}. {ours.why}",
    )


def carries_the_answer(evidence: Evidence, declared: Declared) -> Finding:
    """Experiment A: whether the answer of the source arrives, and not merely another one."""
    question = "A. Does Z carry the answer? The output becomes the source's"
    seed, ours = (
        "none: the protocol's sources share the answer of the prompt, so that nothing can be seen",
        "more outputs give the source's answer than with energy-matched random spaces, and than "
        f"with Z-perp (paired tests, Holm, p < {declared.alpha:g}); partial: than with "
        "energy-matched ones only",
    )
    cell, metric = replace(declared.cell, source="mismatched"), "source_answer"
    found = {
        other: _one(
            evidence["tests"],
            **asdict(cell),
            stratum="baseline_correct",
            metric=metric,
            first="z",
            second=other,
        )
        for other in ("energy", "z_perp")
    }
    if any(row is None or not _known(row, "value", "p_holm") for row in found.values()):
        return Finding(question, seed, UNKNOWN, ours, UNKNOWN, "not tested in the declared cell")
    rows = {name: row for name, row in found.items() if row is not None}
    more = {n: row["p_holm"] < declared.alpha and row["value"] > 0 for n, row in rows.items()}
    why = "source's answers with Z minus " + ", ".join(
        f"with {name} {_interval(row)} (p {row['p_holm']:.2g})" for name, row in rows.items()
    )
    answer = _graded(more["energy"] and more["z_perp"], more["energy"])
    return Finding(question, seed, UNKNOWN, ours, answer, why)


def is_necessary(evidence: Evidence, declared: Declared) -> Finding:
    """Experiment A with the mean over problems as source: what is lost without Z."""
    question = "A. Is Z necessary? Mean ablation"
    seed, ours = (
        "none: the protocol patches, and never ablates",
        "with Z at its mean fewer answers are right than with a random space of the same energy "
        f"(paired test, Holm, p < {declared.alpha:g}); partial: than with a uniform one only",
    )
    cell = replace(declared.cell, source="mean")
    found = {
        other: _one(
            evidence["tests"],
            **asdict(cell),
            stratum="baseline_correct",
            metric="correct",
            first="z",
            second=other,
        )
        for other in ("energy", "random")
    }
    if found["energy"] is None or not _known(found["energy"], "value", "p_holm"):
        return Finding(question, seed, UNKNOWN, ours, UNKNOWN, "not tested in the declared cell")
    worse = {
        name: row is not None and row["p_holm"] < declared.alpha and row["value"] < 0
        for name, row in found.items()
    }
    why = "right answers with Z at its mean minus " + ", ".join(
        f"with {name} {_interval(row)} (p {row['p_holm']:.2g})"
        for name, row in found.items()
        if row is not None
    )
    return Finding(question, seed, UNKNOWN, ours, _graded(worse["energy"], worse["random"]), why)


def z_dominated_layer(evidence: Evidence, declared: Declared) -> Finding:
    """Experiment B: the largest R(l), in the declared Z."""
    question = "B. Is there a Z-dominated layer (R >> 1)?"
    seed, ours = (
        f"R(l) is above {FAR_ABOVE_ONE:g} at some layer; partial: above 1",
        "at some layer R is above 1, and above energy-matched spaces (normal p, Bonferroni over "
        f"layers, < {declared.alpha:g}); partial: above those, not above 1",
    )
    cell = declared.cell
    rows = _pick(
        evidence["updates"],
        basis_layer=cell.layer,
        k=cell.k,
        kind=cell.kind,
        language="both",
        pooling="mean",
        position_0=cell.position_0,
    )
    energy = _pick(rows, metric="ratio", null="energy").dropna(subset=["value"])
    scaled = _pick(rows, metric="ratio_over_null").dropna(subset=["value"])
    if energy.empty or scaled.empty:
        return Finding(question, seed, UNKNOWN, ours, UNKNOWN, "no updates in the declared Z")
    top = _largest(energy)
    over = _largest(scaled)
    special = energy[energy["z"] > norm.isf(declared.alpha / len(energy))]
    why = (
        f"largest R {_interval(top)} at layer {top['layer']}, energy-matched {_band(top)}; R over "
        f"its null at most {_interval(over)} (layer {over['layer']}); above energy-matched spaces "
        f"at {len(special)} of {len(energy)} layers"
    )
    answer = _graded(bool((special["value"] > 1).any()), len(special) > 0)
    return Finding(
        question,
        seed,
        _graded(bool(top["value"] > FAR_ABOVE_ONE), bool(top["value"] > 1)),
        ours,
        answer if energy["z"].notna().any() else UNKNOWN,
        why,
    )


def ard_finds_z(evidence: Evidence, declared: Declared) -> Finding:
    """Experiment C: overlap of what each objective finds with the declared Z."""
    question = "C. Does ARD find Z?"
    seed, ours = (
        f"{AGREES:.0%} or more of the surviving dimensions are among the k with most of Z's "
        "energy (started from Z, best lambda); partial: more than k/d",
        "the contrast's directions hold more energy in Z than in energy-matched spaces, and in Z "
        "than its shuffled weights do; partial: than in uniform spaces only",
    )
    wanted = {"layer": declared.cell.layer, "k": declared.cell.k}
    index = _pick(evidence["ard"], **wanted, objective="original", init="svd_z", metric="index_overlap")
    contrast = {
        null: _one(
            evidence["ard"],
            **wanted,
            objective="gap",
            basis="coordinates",
            metric="overlap",
            null=null,
        )
        for null in ("energy", "shuffled", "random")
    }
    index = index.dropna(subset=["value"])
    protocol_answer, controlled, why = UNKNOWN, UNKNOWN, []
    if len(index):
        best = _largest(index)
        protocol_answer = _graded(best["value"] >= AGREES, bool(best["value"] > best["null_mean"]))
        # Half of the dimensions survive by construction, so k of them are at most 2 k/d.
        most = min(1.0, 2 * best["null_mean"])
        why.append(
            f"original objective: index overlap {_n(best['value'])}, k/d {_n(best['null_mean'])}, "
            f"at most {_n(most)}"
        )
        why += _degeneracy(evidence, declared)
    if all(row is not None and _known(row, "value", "null_high") for row in contrast.values()):
        above = {
            name: row is not None and bool(row["value"] > row["null_high"])
            for name, row in contrast.items()
        }
        bands = ", ".join(f"{name} {_band(row)}" for name, row in contrast.items())
        value = contrast["energy"]["value"] if contrast["energy"] is not None else None
        controlled = _graded(above["energy"] and above["shuffled"], above["random"])
        why.append(f"contrast: energy in Z {_n(value)}, {bands}")
    return Finding(
        question, seed, protocol_answer, ours, controlled, "; ".join(why) or "no fits of the layer"
    )


def _degeneracy(evidence: Evidence, declared: Declared) -> list[str]:
    """What the original objective is worth at its fit, and what it owes to its start."""
    fits = _pick(evidence["ard"], layer=declared.cell.layer, objective="original", init="svd_z")
    values = _pick(fits, metric="value")["value"].dropna()
    empty = _pick(fits, metric="value_at_infinity")["value"].dropna()
    out = []
    if len(values) and len(empty):
        out.append(f"its value {_n(values.min())} or more, of the empty Z {_n(empty.min())}")
    start = _pick(
        evidence["ard"],
        layer=declared.cell.layer,
        objective="original",
        init="svd_random",
        metric="overlap_init",
    )["value"].dropna()
    if len(start):
        out.append(f"started from a random space, {_n(start.max())} of its energy in that one")
    return out


def bridge_is_linear(evidence: Evidence, declared: Declared, gate: bool) -> Finding:
    """Experiment D: R2 of the linear map, as the protocol has it and left out.

    gate: whether A or C succeeded by the protocol's rule.
    """
    question = "D. Is the bridge between the languages linear?"
    seed, ours = (
        f"if A or C succeeds: R2 in sample above {THIN:g}; partial: {NONLINEAR:g} or more",
        f"R2 of left-out pairs (ridge) above {THIN:g}, above energy-matched spaces, and above "
        f"pairings shuffled within categories (p < {declared.alpha:g}); partial: the last only",
    )
    z, energy = (_bridge(evidence, declared, s, "ridge_loo_r2") for s in ("z", "energy"))
    fitted, loo = (_bridge(evidence, declared, "z", m) for m in ("protocol_r2", "loo_r2"))
    if z is None or fitted is None or loo is None or not _known(z, "value", "p"):
        return Finding(question, seed, UNKNOWN, ours, UNKNOWN, "no bridge in the declared Z")
    why = (
        f"R2 in sample {_n(fitted['value'])}, left out {_n(loo['value'])}, ridge {_n(z['value'])} "
        f"(p {z['p']:.2g}, shuffled {_band(z)})"
    )
    answer, shown = _controlled_r2(z, energy, declared.alpha)
    r2 = fitted["value"]
    return Finding(
        question,
        seed,
        _graded(r2 > THIN, r2 >= NONLINEAR) if gate else UNKNOWN,
        ours,
        answer,
        why + shown + _gate(gate),
    )


def bridge_is_orthogonal(evidence: Evidence, declared: Declared, gate: bool) -> Finding:
    """Experiment D: whether the map is a rotation, up to a scale."""
    question = "D. Is the bridge orthogonal?"
    seed, ours = (
        f"if A or C succeeds: ||W'W - I|| / k is below {ROTATION:g}",
        f"a scaled rotation explains more than {THIN:g} (Procrustes R2), above energy-matched "
        f"spaces and above shuffled pairings (p < {declared.alpha:g}); partial: the last only",
    )
    z, energy = (_bridge(evidence, declared, s, "procrustes_r2") for s in ("z", "energy"))
    error = _bridge(evidence, declared, "z", "orthogonality_error")
    if z is None or error is None or not _known(z, "value", "p"):
        return Finding(question, seed, UNKNOWN, ours, UNKNOWN, "no bridge in the declared Z")
    why = (
        f"||W'W - I|| / k {_n(error['value'])} ({declared.cell.k**-0.5:.2f} for W = 0); Procrustes "
        f"R2 {_n(z['value'])} (p {z['p']:.2g}, shuffled {_band(z)})"
    )
    answer, shown = _controlled_r2(z, energy, declared.alpha)
    return Finding(
        question,
        seed,
        _yes(error["value"] < ROTATION) if gate else UNKNOWN,
        ours,
        answer,
        why + shown + _gate(gate),
    )


def _against_energy(value: float, energy: pd.Series | None, *, below: bool) -> Answer:
    """yes: below chance (`below`) and below the energy-matched spaces; partial: the first only.

    Where no space has the energy of Z, the control can be neither passed nor failed.
    """
    if not below:
        return "no"
    if energy is None or not _known(energy, "null_low"):
        return UNKNOWN
    return _graded(value < energy["null_low"], True)


def _controlled_r2(z: pd.Series, energy: pd.Series | None, alpha: float) -> tuple[Answer, str]:
    """The verdict on a score of the bridge, and the control as text."""
    beaten = bool(z["p"] < alpha)
    full = beaten and bool(z["value"] > THIN)
    if energy is None or not _known(energy, "ci_high"):
        return UNKNOWN if full else _graded(False, beaten), ""
    answer = _graded(full and bool(z["value"] > energy["ci_high"]), beaten)
    return answer, f", energy-matched {_interval(energy)}"


# --- looking things up -------------------------------------------------------------------------


def _pick(frame: pd.DataFrame, **equal: Any) -> pd.DataFrame:
    """The rows whose columns have these values; None stands for null."""
    keep = pd.Series(True, index=frame.index)
    for name, value in equal.items():
        same = frame[name].isna() if value is None else (frame[name] == value).fillna(False)
        keep &= same.astype(bool)
    return frame[keep]


def _one(frame: pd.DataFrame, **equal: Any) -> pd.Series | None:
    """The first of these rows, if there is one."""
    rows = _pick(frame, **equal)
    return None if rows.empty else rows.iloc[0]


def _largest(frame: pd.DataFrame) -> pd.Series:
    """The row with the largest value."""
    return frame.iloc[int(frame["value"].to_numpy(float).argmax())]


def _geometry(evidence: Evidence, declared: Declared, metric: str, null: str) -> pd.Series | None:
    return _one(
        evidence["geometry"],
        **declared.of_z(),
        head=None,
        pooling="mean",
        position_0=declared.cell.position_0,
        metric=metric,
        null=null,
    )


def _bridge(evidence: Evidence, declared: Declared, space: str, metric: str) -> pd.Series | None:
    return _one(
        evidence["bridge"],
        **declared.of_z(),
        space=space,
        pooling="mean",
        direction="en->zh",
        metric=metric,
    )


def _known(row: pd.Series, *columns: str) -> bool:
    return bool(row[list(columns)].notna().all())


def _yes(holds: Any) -> Answer:
    return "yes" if holds else "no"


def _graded(full: Any, half: Any) -> Answer:
    return "yes" if full else "partial" if half else "no"


# --- numbers as text ---------------------------------------------------------------------------


def _n(value: Any) -> str:
    return "none" if pd.isna(value) else f"{float(value):.3g}"


def _interval(row: Mapping[str, Any] | pd.Series) -> str:
    return f"{_n(row['value'])} [{_n(row['ci_low'])}, {_n(row['ci_high'])}]"


def _band(row: Any) -> str:
    if row is None or pd.isna(row["null_mean"]):
        return "none"
    return f"{_n(row['null_mean'])} [{_n(row['null_low'])}, {_n(row['null_high'])}]"


def _gate(succeeded: bool) -> str:
    return "" if succeeded else "; neither A nor C succeeded, so the protocol would not have asked"
