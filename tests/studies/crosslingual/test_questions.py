"""The verdicts of the study, on planted tables: yes, partial, no, and undetermined without data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
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

CELL = DeclaredCell(3, 16, "qk", "mean", "mismatched", "prefill", "exclude", "zh->en")
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


def summary(model: str = "tiny-s0", level: float = 0.95, **rows: list[dict[str, Any]]):
    frames = {BY_NAME[name].name: table(name, r) for name, r in rows.items()}
    rules = VerdictConfig(high=0.5, margin=0.1, alpha=0.05)
    return pd.DataFrame(summarise(Evidence(frames, CELL, rules, level, model)))


def found(question: str, model: str = "tiny-s0", **rows: list[dict[str, Any]]) -> pd.Series:
    answered = summary(model, **rows)
    return answered[answered["question"] == QUESTIONS[question]].iloc[0]


def verdicts(question: str, **rows: list[dict[str, Any]]) -> tuple[str, str]:
    row = found(question, **rows)
    return row["protocol_verdict"], row["controlled_verdict"]


def null(mean, low, high, name="random"):
    return {"null": name, "null_mean": mean, "null_low": low, "null_high": high}


def interval(value, low, high):
    return {"value": value, "ci_low": low, "ci_high": high}


def test_without_data_every_verdict_is_undetermined(tmp_path):
    empty = summary()
    assert set(empty["protocol_verdict"]) == set(empty["controlled_verdict"]) == {"undetermined"}
    assert list(QUESTIONS.values()) == empty["question"].to_list()
    assert not empty["numbers"].str.len().eq(0).any()
    assert empty[["value", "ci_low", "p", "n"]].isna().all(axis=None)
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
    assert verdicts("behaviour", accuracy=accuracy("rr", "rw")) == ("yes", "no")
    assert verdicts("behaviour", accuracy=accuracy("rw", "rr")) == ("no", "no")
    assert verdicts("behaviour", accuracy=accuracy("rr", "rr")) == ("no", "no")
    # Six discordant pairs, all one way: p = 2 / 2**6 = 0.031.
    assert verdicts("behaviour", accuracy=accuracy("r" * 6, "w" * 6)) == ("yes", "yes")
    assert verdicts("behaviour", accuracy=accuracy("w" * 6, "r" * 6)) == ("no", "no")
    row = found("behaviour", accuracy=accuracy("r" * 6, "w" * 6))
    assert row["numbers"].startswith("6 of 6 right in Chinese, 0 in English")
    assert "p 0.031" in row["numbers"]
    assert (row["value"], row["p"], row["n"]) == (1.0, 2 / 2**6, 6)


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
        (interval(-0.2, -0.3, -0.1), null(0, 0, 0, "none"), ("yes", "undetermined")),
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


def cell(**changes):
    columns = vars(CELL) | changes
    return {name: columns[name] for name in columns}


def rates(z, z_perp):
    """(answers changed, languages changed) of both spaces."""
    return [
        cell(space=space, stratum="all", metric=metric, value=value, n=50)
        for space, pair in (("z", z), ("z_perp", z_perp))
        for metric, value in zip(("raw_answer_changed", "language_changed"), pair, strict=True)
    ]


def test_the_verdict_of_patching_is_that_of_its_own_module():
    assert verdicts("causal", rates=rates((0.9, 0.1), (0.1, 0.9))) == ("yes", "undetermined")
    assert verdicts("causal", rates=rates((0.9, 0.9), (0.1, 0.1)))[0] == "partial"
    assert verdicts("causal", rates=rates((0.2, 0.1), (0.9, 0.9)))[0] == "no"
    controlled = [
        cell(first=first, second=second, metric=metric, value=value, p_holm=0.001, n=50)
        | {"stratum": "baseline_correct"}
        for first, second, metric, value in (
            ("z", "energy", "answer_changed", 0.3),
            ("z", "energy", "language_changed", -0.3),
            ("z_perp", "energy_perp", "answer_changed", -0.3),
            ("z_perp", "energy_perp", "language_changed", 0.3),
        )
    ]
    tables = {"rates": rates((0.9, 0.1), (0.1, 0.9)), "tests": controlled}
    assert verdicts("causal", **tables) == ("yes", "yes")


@pytest.mark.parametrize(
    ("energy", "perp", "expected"),
    [
        ((0.3, 0.01), (0.3, 0.01), "yes"),
        ((0.3, 0.01), (0.3, 0.2), "partial"),
        ((0.02, 0.5), (0.3, 0.01), "no"),
        ((-0.3, 0.01), (-0.3, 0.01), "no"),
    ],
)
def test_z_carries_the_answer_only_if_the_sources_answer_comes_out(energy, perp, expected):
    """However many answers change: they must be the source's, of another problem."""
    rows = [
        cell(source="mismatched", stratum="baseline_correct", metric="source_answer", first="z")
        | {"second": second, "p_holm": p}
        | interval(value, value - 0.1, value + 0.1)
        for second, (value, p) in (("energy", energy), ("z_perp", perp))
    ]
    assert verdicts("carries", tests=rows) == ("undetermined", expected)
    assert verdicts("carries", tests=rows[:1])[1] == "undetermined"


@pytest.mark.parametrize(
    ("energy", "random", "expected"),
    [
        ((-0.3, 0.01), (-0.4, 0.01), "yes"),
        ((-0.1, 0.3), (-0.4, 0.01), "partial"),
        ((-0.1, 0.3), (-0.1, 0.3), "no"),
        ((0.3, 0.01), (0.3, 0.01), "no"),
    ],
)
def test_z_is_necessary_if_its_mean_hurts_more_than_a_random_mean(energy, random, expected):
    rows = [
        cell(source="mean", stratum="baseline_correct", metric="correct", first="z", second=second)
        | interval(value, value - 0.1, value + 0.1)
        | {"p_holm": p}
        for second, (value, p) in (("energy", energy), ("random", random))
    ]
    assert verdicts("necessary", tests=rows) == ("undetermined", expected)
    declared_source = [{**row, "source": "mismatched"} for row in rows]
    assert verdicts("necessary", tests=declared_source)[1] == "undetermined"


@pytest.mark.parametrize(
    ("r", "z", "expected"),
    [
        ([0.5, 2.5], [0, 5], ("yes", "yes")),
        ([0.5, 1.2], [0, 5], ("partial", "yes")),
        ([0.5, 0.9], [0, 5], ("no", "partial")),
        ([0.5, 1.2], [0, 1.8], ("partial", "no")),
        ([0.5, 1.2], [5, 0], ("partial", "partial")),  # special where R is small
    ],
)
def test_a_layer_is_z_dominated_against_its_null_not_against_one(r, z, expected):
    place = {"basis_layer": 3, "k": 16, "kind": "qk", "language": "both", "pooling": "mean"}
    rows = []
    for layer, (value, score) in enumerate(zip(r, z, strict=True)):
        of_layer = {**place, "position_0": "exclude", "layer": layer}
        numbers = interval(value, value - 0.1, value + 0.1)
        rows.append(
            {**of_layer, "metric": "ratio", **numbers, "z": score, **null(1, 1, 1, "energy")}
        )
        scaled = interval(value / 0.5, value / 0.5, value / 0.5)
        rows.append({**of_layer, "metric": "ratio_over_null", **scaled, "null": "chance"})
    assert verdicts("updates", updates=rows) == expected


def ard(overlap=0.5, index=0.2):
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
            {**gap, "value": overlap, **null(low, low, high, name)}
            for name, (low, high) in bands.items()
        ),
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


def bridge(r2, loo, p, energy_high, error=0.05, rotation=0.9):
    place = {**OF_Z, "pooling": "mean", "direction": "en->zh"}
    z = {
        "protocol_r2": {"value": r2},
        "loo_r2": {"value": loo},
        "ridge_loo_r2": {"value": loo, "p": p, **null(0, -0.1, 0.1, "permutation")},
        "procrustes_r2": {"value": rotation, "p": p, **null(0, -0.1, 0.1, "permutation")},
        "orthogonality_error": {"value": error},
    }
    rows = [{**place, "space": "z", "metric": m, **numbers} for m, numbers in z.items()]
    high = interval(energy_high, energy_high, energy_high)
    rows += [
        {**place, "space": "energy", "metric": m, **high} for m in ("ridge_loo_r2", "procrustes_r2")
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
    assert verdicts("linear", bridge=numbers) == ("undetermined", "yes")
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
    random = {**gap, **null(0, -9, 9)}
    others = [
        geometry(m, interval(0.7, 0.6, 0.8), null(1, 1, 1)) for m in ("ratio_z", "ratio_z_perp")
    ]
    row = found("geometry", geometry=[random, gap, *others])
    columns = ("value", "ci_low", "ci_high", "null", "null_low", "null_high", "n")
    assert tuple(row[list(columns)]) == (-0.2, -0.3, -0.1, "energy", -0.05, 0.05, 100)
    tests = [
        cell(source="mismatched", stratum="baseline_correct", metric="source_answer", first="z")
        | {"second": second, "p": 0.001, "p_holm": 0.01, "n": 40}
        | interval(0.3, 0.2, 0.4)
        for second in ("energy", "z_perp")
    ]
    row = found("carries", tests=tests)
    assert tuple(row[["value", "ci_low", "ci_high", "p", "n"]]) == (0.3, 0.2, 0.4, 0.01, 40)
