"""The verdicts of the study, on planted tables: yes, partial, no, and cannot be told without data.

Those about patching, and what every verdict needs, are in test_planted_verdicts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from statsmodels.stats.proportion import proportion_confint

from zscope.stats import mcnemar_exact
from zscope.studies.crosslingual.accuracy import answer_rows
from zscope.studies.crosslingual.config import VerdictConfig
from zscope.studies.crosslingual.declared import DeclaredCell
from zscope.studies.crosslingual.questions.evidence import Evidence
from zscope.studies.crosslingual.questions.summary import summarise
from zscope.studies.crosslingual.tables import SUMMARY, TABLES
from zscope.tables.read import read_table
from zscope.tables.write import write_table
from zscope.verdicts import UNKNOWN

CELL = DeclaredCell(3, 16, "qk", "mean", "mismatched", "prefill", "exclude", "zh->en")
RULES = VerdictConfig(high=0.5, margin=0.1, alpha=0.05)
OF_Z = {"layer": 3, "k": 16, "kind": "qk"}
BY_NAME = {table.short: table for table in TABLES}
QUESTIONS = {
    "behaviour": "solves_more_in_chinese",
    "ranks": "heads_collapse",
    "ffn": "ffn_avoids_z",
    "geometry": "z_separates",
    "language": "language_is_outside",
    "causal": "is_causal",
    "carries": "carries_the_answer",
    "carries_at_site": "carries_the_answer_at_site",
    "necessary": "is_necessary",
    "updates": "z_dominated_layer",
    "ard": "ard_finds_z",
    "linear": "bridge_is_linear",
    "orthogonal": "bridge_is_orthogonal",
}


def table(name: str, rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows with every column of the table; what is not given is null."""
    columns = [c.name for c in BY_NAME[name].columns]
    assert {c for row in rows for c in row} <= set(columns)
    return pd.DataFrame([dict.fromkeys(columns) | row for row in rows], columns=columns)


def summary(
    model: str = "tiny-s0",
    level: float = 0.95,
    rules: VerdictConfig = RULES,
    **rows: list[dict[str, Any]],
):
    frames = {BY_NAME[name].name: table(name, r) for name, r in rows.items()}
    return pd.DataFrame(summarise(Evidence(frames, CELL, rules, level, model)))


def found(question: str, model: str = "tiny-s0", **given: Any) -> pd.Series:
    answered = summary(model, **given)
    return answered[answered["question"] == QUESTIONS[question]].iloc[0]


def verdicts(question: str, **given: Any) -> tuple[str, str]:
    row = found(question, **given)
    return row["protocol_verdict"], row["controlled_verdict"]


def null(mean, low, high, name="random", draws=40):
    return {"null": name, "null_mean": mean, "null_low": low, "null_high": high, "draws": draws}


def interval(value, low, high):
    return {"value": value, "ci_low": low, "ci_high": high}


def test_without_data_no_verdict_can_be_told(tmp_path):
    empty = summary()
    assert set(empty["protocol_verdict"]) == set(empty["controlled_verdict"]) == {UNKNOWN}
    assert list(QUESTIONS.values()) == empty["question"].to_list()
    assert not empty["numbers"].str.len().eq(0).any()
    numbers = ["value", "ci_low", "p", "p_draws", "p_least", "detectable", "draws", "n"]
    assert empty[numbers].isna().all(axis=None)
    write_table(empty.assign(model="m"), tmp_path / "x", SUMMARY, {})
    assert len(read_table(tmp_path / "x", SUMMARY)) == len(QUESTIONS)


def test_criteria_name_the_level_of_the_intervals():
    text = " ".join(summary(level=0.8)["controlled_criterion"])
    assert "80 % interval" in text
    assert "95 %" not in text


def outputs(zh: str, en: str) -> list[dict[str, Any]]:
    """One letter a problem: r for a right answer."""
    return [
        {"problem": f"p{i}", "space": "none", "design": "none", "direction": f"->{language}"}
        | {"correct": letter == "r"}
        for language, letters in (("zh", zh), ("en", en))
        for i, letter in enumerate(letters)
    ]


def accuracy(zh: str, en: str) -> list[dict[str, Any]]:
    rows = [{"category": "add", **row} for row in outputs(zh, en)]
    return list(answer_rows(pd.DataFrame(rows), 0.95))


def test_rates_and_discordant_pairs_are_counted_once_whatever_was_patched():
    zh, en = "rrrrww", "rwwrrw"
    plain = accuracy(zh, en)
    by = {(r["metric"], r["category"], r["language"]): r for r in plain}
    assert (by["accuracy", "all", "zh"]["value"], by["accuracy", "add", "en"]["n"]) == (4 / 6, 6)
    low, high = proportion_confint(4, 6, method="wilson")
    interval = by["accuracy", "all", "zh"]
    assert (interval["ci_low"], interval["ci_high"]) == pytest.approx((low, high))
    assert by["only_right", "all", "zh"]["value"] == 2
    assert by["only_right", "all", "en"]["value"] == 1
    right = [np.array([letter == "r" for letter in letters]) for letters in (zh, en)]
    assert by["mcnemar_p", "all", "both"]["value"] == mcnemar_exact(*right)
    # Outputs under a patch, and with a forced stem, are not the model's own answers.
    rows = pd.DataFrame([{"category": "add", **row} for row in outputs(zh, en)])
    others = [rows.assign(space="z", design="mean"), rows.assign(design="site_answer")]
    assert list(answer_rows(pd.concat([rows, *others]), 0.95)) == plain
    assert {r["metric"] for r in answer_rows(rows[rows["direction"] == "->zh"], 0.95)} == {
        "accuracy"
    }


def test_one_more_right_answer_is_a_difference_to_the_protocol_and_not_to_mcnemar():
    wrong = "w" * 6
    assert verdicts("behaviour", accuracy=accuracy("rr" + wrong, "rw" + wrong)) == ("yes", "no")
    assert verdicts("behaviour", accuracy=accuracy("rw" + wrong, "rr" + wrong)) == ("no", "no")
    assert verdicts("behaviour", accuracy=accuracy("rr" + wrong, "rr" + wrong)) == ("no", "no")
    # Six discordant pairs, all one way: p = 2 / 2**6 = 0.031.
    assert verdicts("behaviour", accuracy=accuracy("r" * 6, "w" * 6)) == ("yes", "yes")
    row = found("behaviour", accuracy=accuracy("r" * 6, "w" * 6))
    assert row["numbers"].startswith("6 of 6 right in Chinese, 0 in English")
    assert "p 0.031" in row["numbers"]
    assert (row["value"], row["p"], row["n"]) == (1.0, 2 / 2**6, 6)


def test_where_english_is_almost_always_right_chinese_cannot_be_better():
    """Five problems wrong in English allow no p below 0.0625, whatever happens in Chinese."""
    for wrong, answer in ((5, UNKNOWN), (6, "yes")):
        english = "r" * (90 - wrong) + "w" * wrong
        row = found("behaviour", accuracy=accuracy("r" * 90, english))
        assert (row["protocol_verdict"], row["controlled_verdict"]) == ("yes", answer)
        assert row["p_least"] == row["p"] == 2 ** (1 - wrong)
        assert f"could be reached {2 ** (1 - wrong):.2g}" in row["numbers"]


@pytest.mark.parametrize(
    ("rank", "cv", "expected"),
    [
        (8, 0.01, ("yes", "yes")),
        (8, 0.07, ("yes", "partial")),
        (8, 0.20, ("no", "partial")),
        (14, 0.01, ("yes", "no")),
    ],
)
def test_heads_collapse_only_below_gaussian_heads(rank, cv, expected):
    rows = [
        {"layer": 3, "kind": "qk", "head": h, "metric": "entropy_rank", "value": rank + h - 0.5}
        | null(14, 12, 16, "gaussian")
        for h in range(2)
    ]
    rows.append(
        {"layer": 3, "kind": "qk", "metric": "entropy_rank_cv", "value": cv}
        | null(0.02, 0.01, 0.03, "gaussian")
    )
    assert verdicts("ranks", weights=rows) == expected


@pytest.mark.parametrize(
    ("share", "span", "expected"),
    [
        (0.14, 0.14, ("yes", "yes")),
        (0.14, 0.25, ("yes", "partial")),
        (0.24, 0.24, ("yes", "no")),
        (0.40, 0.40, ("no", "no")),
    ],
)
def test_the_ffn_avoids_z_only_below_random_spaces(share, span, expected):
    rows = [
        {**OF_Z, "metric": metric, "value": value, **null(0.25, 0.2, 0.3)}
        for metric, value in (("ffn_write_share", share), ("ffn_write_span", span))
    ]
    assert verdicts("ffn", weights=rows) == expected
    assert f"{share / 0.25:.2f}x chance" in found("ffn", weights=rows)["numbers"]


def geometry(metric: str, numbers: dict[str, Any], band: dict[str, Any]) -> dict[str, Any]:
    place = {**OF_Z, "pooling": "mean", "position_0": "exclude", "metric": metric, "n": 100}
    return place | numbers | band


@pytest.mark.parametrize(
    ("gap", "band", "expected"),
    [
        (interval(-0.2, -0.3, -0.1), null(0, -0.05, 0.05, "energy"), ("yes", "yes")),
        (interval(-0.2, -0.3, -0.1), null(-0.2, -0.25, -0.15, "energy"), ("yes", "partial")),
        (interval(-0.02, -0.1, 0.1), null(0, -0.01, 0.01, "energy"), ("yes", "no")),
        (interval(0.2, 0.1, 0.3), null(0, -0.05, 0.05, "energy"), ("no", "no")),
        (interval(-0.2, -0.3, -0.1), null(0, 0, 0, "none"), ("yes", UNKNOWN)),
        (interval(-0.2, -0.3, -0.1), null(0, -0.05, 0.05, "energy", 39), ("yes", UNKNOWN)),
        (interval(0.2, 0.1, 0.3), null(0, -0.05, 0.05, "energy", 39), ("no", "no")),
        (interval(0.2, 0.1, 0.3), null(0, 0, 0, "none"), ("no", "no")),
    ],
)
def test_z_separates_only_if_energy_matched_spaces_do_not(gap, band, expected):
    rows = [
        geometry("ratio_z", interval(0.7, 0.6, 0.8), null(1, 1, 1)),
        geometry("ratio_z_perp", interval(0.9, 0.8, 1), null(1, 1, 1)),
        geometry("ratio_difference", gap, null(0, -9, 9)),
        geometry("ratio_difference", gap, band),
    ]
    # Z of a single head, and another position_0, must not be mistaken for the declared one.
    wrong = ({"head": 0}, {"head": 1}, {"position_0": "include"}, {"pooling": "last"})
    others = [{**row, "value": 9.0, **other} for row in rows for other in wrong]
    assert verdicts("geometry", geometry=others + rows) == expected


@pytest.mark.parametrize(
    ("share", "energy", "expected"),
    [
        (interval(0.1, 0.05, 0.2), null(0.3, 0.2, 0.4, "energy"), ("yes", "yes")),
        (interval(0.1, 0.05, 0.2), null(0.1, 0.05, 0.2, "energy"), ("yes", "partial")),
        (interval(0.2, 0.1, 0.3), null(0.4, 0.35, 0.5, "energy"), ("yes", "no")),
        (interval(0.4, 0.3, 0.5), null(0.6, 0.5, 0.7, "energy"), ("no", "no")),
    ],
)
def test_language_energy_is_below_chance_with_its_whole_interval(share, energy, expected):
    rows = [
        geometry("language_energy", share, null(0.25, None, None, "chance")),
        geometry("language_energy", share, energy),
    ]
    assert verdicts("language", geometry=rows) == expected


def rates(z, z_perp):
    """(answers changed, languages changed) of both spaces, by the protocol's reading."""
    return [
        vars(CELL) | {"space": space, "stratum": "all", "metric": metric, "value": value, "n": 50}
        for space, pair in (("z", z), ("z_perp", z_perp))
        for metric, value in zip(("raw_answer_changed", "raw_language_changed"), pair, strict=True)
    ]


@pytest.mark.parametrize(
    ("z", "z_perp", "answer"),
    [
        ((0.9, 0.1), (0.1, 0.9), "yes"),
        ((0.5, 0.4), (0.4, 0.5), "yes"),
        ((0.5, 0.5), (0.4, 0.5), "partial"),  # the language of Z is not kept
        ((0.4, 0.0), (0.3, 0.9), "partial"),  # the margin, met exactly
        ((0.3, 0.0), (0.25, 0.9), "no"),
        ((0.9, 0.0), (0.9, 0.9), "no"),
        ((0.2, 0.1), (0.9, 0.9), "no"),
    ],
)
def test_the_protocols_thresholds(z, z_perp, answer):
    assert verdicts("causal", rates=rates(z, z_perp)) == (answer, UNKNOWN)
    shown = found("causal", rates=rates(z, z_perp))["numbers"]
    assert f"patching Z changes {z[0]:.0%} of the answers and {z[1]:.0%} of the languages" in shown
    other = [{**row, "layer": 2} for row in rates(z, z_perp)]
    assert verdicts("causal", rates=other) == (UNKNOWN, UNKNOWN)
    assert verdicts("causal", rates=rates(z, z_perp)[:2]) == (UNKNOWN, UNKNOWN)


NULLS = ("energy_input", "energy_output", "energy_own")


def updates(ratios, ranks, low=None, draws=40):
    """R of each layer, and the largest R's rank among the draws of each null."""
    place = {"basis_layer": 3, "k": 16, "kind": "qk", "language": "both", "pooling": "mean"}
    place |= {"position_0": "exclude", "n": 80}
    rows = [
        place
        | {"layer": layer, "metric": "ratio", "null": "chance", "null_mean": 0.5}
        | interval(value, value - 0.1 if low is None else low, value + 0.1)
        for layer, value in enumerate(ratios)
    ]
    rows += [
        place
        | {"metric": "largest_ratio", "p": (1 + hits) / (1 + draws), "matched_on": "layer"}
        | interval(max(ratios), max(ratios) - 0.1, max(ratios) + 0.1)
        | null(0.7, 0.6, 0.8, name, draws)
        for name, hits in zip(NULLS, ranks, strict=True)
    ]
    return rows


@pytest.mark.parametrize(
    ("ratios", "ranks", "expected"),
    [
        ([0.5, 2.5], (0, 0, 0), ("yes", "yes")),
        ([0.5, 1.2], (20, 1, 20), ("partial", "yes")),
        ([0.5, 1.05], (0, 0, 0), ("partial", "partial")),  # the interval holds 1
        ([0.5, 0.9], (0, 0, 0), ("no", "partial")),
        ([0.5, 2.5], (0, 2, 0), ("yes", "no")),  # 3 / 41 > 0.05
        ([2.5, 0.5], (0, 7, 0), ("yes", "no")),  # ordinary for what layer 0 writes
    ],
)
def test_a_layer_is_z_dominated_against_spaces_with_as_much_of_its_output(ratios, ranks, expected):
    assert verdicts("updates", updates=updates(ratios, ranks)) == expected
    row = found("updates", updates=updates(ratios, ranks))
    assert (row["null"], row["p_draws"]) == ("energy_output", (1 + ranks[1]) / 41)
    assert (row["null_high"], row["draws"], row["p_least"]) == (0.8, 40, 1 / 41)
    for part in ("of the layer's input", "of the layer's output", "of the input of Z's own layer"):
        assert part in row["numbers"]


def test_few_draws_or_none_leave_the_layer_untold():
    few = updates([0.5, 2.5], (0, 0, 0), draws=39)
    assert verdicts("updates", updates=few) == ("yes", UNKNOWN)
    ranked = [row for row in updates([0.5, 2.5], (0, 0, 0)) if row["null"] != "energy_output"]
    assert verdicts("updates", updates=ranked) == ("yes", UNKNOWN)
    strict = VerdictConfig(alpha=0.02)  # 1 / 41 is above it
    assert verdicts("updates", rules=strict, updates=updates([2.5], (0, 0, 0))) == ("yes", UNKNOWN)


def ard(overlap=0.5, index=0.2, draws=40):
    place = {"layer": 3, "k": 16}
    original = {**place, "objective": "original", "basis": "coordinates", "init": "svd_z"}
    gap = {**place, "objective": "gap", "basis": "coordinates", "metric": "overlap"}
    bands = {"energy": (0.3, 0.4), "shuffled": (0.25, 0.35), "random": (0.2, 0.3)}
    return [
        {**original, "penalty": 0.1, "metric": "index_overlap", "value": 0.1, "null_mean": 0.25},
        {**original, "penalty": 0.01, "metric": "index_overlap", "value": index, "null_mean": 0.25},
        {**original, "k": None, "penalty": 0.1, "metric": "value", "value": 1.5},
        {**original, "k": None, "penalty": 0.1, "metric": "value_at_infinity", "value": 0.0},
        *(
            {**gap, "value": overlap, **null(low, low, high, name, draws)}
            for name, (low, high) in bands.items()
        ),
        {**original, "penalty": 0.1, "metric": "overlap_init", "value": 0.9, "null": "chance"},
    ]


@pytest.mark.parametrize(
    ("overlap", "index", "expected"),
    [
        (0.5, 0.6, ("yes", "yes")),
        (0.38, 0.4, ("partial", "partial")),
        (0.28, 0.2, ("no", "no")),
    ],
)
def test_ard_finds_z_only_beyond_what_energy_explains(overlap, index, expected):
    assert verdicts("ard", ard=ard(overlap, index)) == expected
    assert "its value 1.5 or more, of the empty Z 0" in found("ard", ard=ard())["numbers"]


def test_a_fit_of_which_nothing_survives_is_a_no():
    """And not a missing one: both rules ask what the fit found."""
    bare = [row for row in ard(index=None) if row["metric"] != "overlap"]
    bare = [row | {"value": None} if row["metric"] == "index_overlap" else row for row in bare]
    gap = {"layer": 3, "k": 16, "objective": "gap", "basis": "coordinates", "metric": "overlap"}
    nothing = [*bare, {**gap, "value": None, "null": "chance", "null_mean": 0.25}]
    row = found("ard", ard=nothing)
    assert (row["protocol_verdict"], row["controlled_verdict"]) == ("no", "no")
    assert "no dimension survives" in row["numbers"]
    assert "no direction has a weight" in row["numbers"]
    assert verdicts("ard", ard=bare) == ("no", UNKNOWN)


def test_what_is_maximal_by_construction_is_called_so():
    """k/d is 0.25 here, and half of the dimensions survive: 0.5 is the most, and the start."""
    text = found("ard", ard=ard(index=0.5))["numbers"]
    assert "index overlap 0.5, k/d 0.25, at most 0.5 at this k, and 0.5 before the first" in text
    assert "maximal by construction is no evidence" in text
    assert "no evidence" not in found("ard", ard=ard(index=0.2))["numbers"]  # claimed by nobody
    smaller_k = [row for row in ard(index=0.5) if row["metric"] != "overlap_init"]
    assert "before the first" not in found("ard", ard=smaller_k)["numbers"]


def test_a_band_of_few_draws_tells_nothing():
    assert verdicts("ard", ard=ard(0.5, 0.2, draws=39))[1] == UNKNOWN
    few = [
        {"layer": 3, "kind": "qk", "head": h, "metric": "entropy_rank", "value": 8}
        | null(14, 12, 16, "gaussian", 39)
        for h in range(2)
    ]
    few.append(
        {"layer": 3, "kind": "qk", "metric": "entropy_rank_cv", "value": 0.01}
        | null(0.02, 0.01, 0.03, "gaussian", 39)
    )
    assert verdicts("ranks", weights=few) == ("yes", UNKNOWN)
    few = [
        {**OF_Z, "metric": metric, "value": 0.1, **null(0.25, 0.2, 0.3, draws=draws)}
        for metric, draws in (("ffn_write_share", 40), ("ffn_write_span", 39))
    ]
    # One of the two is seen, which is partial; the other cannot be.
    assert verdicts("ffn", weights=few) == ("yes", "partial")
    low = bridge(0.95, 0.9, 0.005, 0.5, draws=39)
    assert verdicts("linear", bridge=low)[1] == UNKNOWN
    assert verdicts("orthogonal", bridge=low)[1] == UNKNOWN
    shuffled = bridge(0.95, 0.9, 0.005, 0.5, permutations=39)
    assert verdicts("linear", bridge=shuffled)[1] == UNKNOWN


def bridge(r2, loo, p, energy_high, error=0.05, rotation=0.9, draws=40, permutations=200):
    place = {**OF_Z, "pooling": "mean", "direction": "en->zh"}
    shuffled = null(0, -0.1, 0.1, "permutation", permutations)
    z = {
        "protocol_r2": {"value": r2},
        "loo_r2": {"value": loo},
        "ridge_loo_r2": {"value": loo, "p": p, **shuffled},
        "procrustes_r2": {"value": rotation, "p": p, **shuffled},
        "orthogonality_error": {"value": error},
    }
    rows = [{**place, "space": "z", "metric": m, **numbers} for m, numbers in z.items()]
    high = interval(energy_high, energy_high, energy_high)
    rows += [
        {**place, "space": "energy", "metric": m, "draws": draws, **high}
        for m in ("ridge_loo_r2", "procrustes_r2")
    ]
    return rows


@pytest.mark.parametrize(
    ("numbers", "linear", "orthogonal"),
    [
        (bridge(0.95, 0.9, 0.005, 0.5), ("yes", "yes"), ("yes", "yes")),
        (bridge(0.95, 0.9, 0.005, 0.95), ("yes", "partial"), ("yes", "partial")),
        (bridge(1, -1, 0.6, 0.5), ("yes", "no"), ("yes", "no")),  # more dimensions than pairs
        (bridge(0.7, 0.4, 0.005, 0.2, 0.3, 0.5), ("partial", "partial"), ("no", "partial")),
        (bridge(0.3, 0.1, 0.5, 0.2, 0.3, 0.1), ("no", "no"), ("no", "no")),
    ],
)
def test_the_bridge_is_judged_by_left_out_pairs_and_controls(numbers, linear, orthogonal):
    success = rates((0.9, 0.1), (0.1, 0.9))
    assert verdicts("linear", bridge=numbers, rates=success) == linear
    assert verdicts("orthogonal", bridge=numbers, rates=success) == orthogonal


def test_the_protocol_asks_about_the_bridge_only_after_a_success():
    numbers = bridge(0.95, 0.9, 0.005, 0.5)
    assert verdicts("linear", bridge=numbers) == (UNKNOWN, "yes")
    assert "would not have asked" in found("linear", bridge=numbers)["numbers"]
    assert verdicts("linear", bridge=numbers, ard=ard(index=0.6)) == ("yes", "yes")


def test_the_protocols_numbers_are_quoted_for_its_own_model_alone():
    rows = [
        {**OF_Z, "metric": m, "value": 0.1, **null(0.25, 0.2, 0.3)}
        for m in ("ffn_write_share", "ffn_write_span")
    ]
    assert "protocol quotes 0.57x chance" in found("ffn", "qwen2.5-3b", weights=rows)["numbers"]
    assert "quotes" not in found("ffn", weights=rows)["numbers"]


def test_numbers_are_columns_and_those_of_the_controlled_verdict():
    gap = geometry("ratio_difference", interval(-0.2, -0.3, -0.1), null(0, -0.05, 0.05, "energy"))
    gap["matched_on"] = "mean-pooled vectors"
    random = {**gap, **null(0, -9, 9)}
    others = [
        geometry(m, interval(0.7, 0.6, 0.8), null(1, 1, 1)) for m in ("ratio_z", "ratio_z_perp")
    ]
    row = found("geometry", geometry=[random, gap, *others])
    columns = ("value", "ci_low", "ci_high", "null", "null_low", "null_high", "n")
    assert tuple(row[list(columns)]) == (-0.2, -0.3, -0.1, "energy", -0.05, 0.05, 100)
    assert (
        "energy-matched (matched on mean-pooled vectors) 0 [-0.05, 0.05] (40 draws)"
        in (row["numbers"])
    )
    # From the null's mean to the end of its band, and 0.84 standard errors of the value more.
    error = 0.2 / (2 * norm.isf(0.025))
    assert row["detectable"] == pytest.approx(0.05 + norm.isf(0.2) * error)
    assert (
        f"could have found a difference of {row['detectable']:.3g} (80 % power)" in (row["numbers"])
    )
