"""Rates, paired tests and verdicts on outputs that are planted, against libraries and by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from statsmodels.stats.proportion import proportion_confint

from zscope.config.base import Bootstrap
from zscope.core.errors import DataError
from zscope.stats import holm
from zscope.studies.crosslingual.config import VerdictConfig
from zscope.studies.crosslingual.declared import DeclaredCell
from zscope.studies.crosslingual.patching import paired_tests as tested
from zscope.studies.crosslingual.patching.paired_tests import METRICS, by_problem
from zscope.studies.crosslingual.patching.patched_table import patched_html, patched_table
from zscope.studies.crosslingual.questions.evidence import Evidence
from zscope.studies.crosslingual.questions.patched import controlled_verdict, protocol_verdict
from zscope.studies.crosslingual.tables import RATES, TESTS

N = 60
BOOTSTRAP = Bootstrap(level=0.95, resamples=1000, seed=0)
DECLARED = DeclaredCell(2, 16, "qk", "mean", "mismatched", "prefill", "exclude", "zh->en")
DRAWS = {"random": 3, "random_perp": 3, "energy": 3, "energy_perp": 3}
# Share of the problems whose answer, and whose language, a space changes.
Effects = dict[str, tuple[float, float]]
DISSOCIATION: Effects = {
    "z": (0.9, 0.0),
    "energy": (0.2, 0.4),
    "random": (0.1, 0.1),
    "z_perp": (0.05, 0.95),
    "energy_perp": (0.6, 0.3),
    "random_perp": (0.8, 0.8),
    "full": (1.0, 1.0),
}


def _row(problem: int, space: str, draw: int, answer: int, language: str, **more: Any):
    sentence = {"en": " The answer is {}.", "zh": "答案是{}。"}[language]
    patched = space != "none"
    source = 100 + problem
    return {
        "model": "m",
        "problem": f"p{problem}",
        "category": "add",
        "layer": 2,
        "k": None if space in ("none", "full") else 16,
        "kind": None if space in ("none", "full") else "qk",
        "design": "mean" if patched else "none",
        "space": space,
        "source": "mismatched" if patched else "none",
        "where": "prefill" if patched else "none",
        "position_0": "exclude",
        "direction": "zh->en",
        "draw": draw,
        "source_problem": f"p{(problem + 1) % N}" if patched else None,
        "text": sentence.format(answer),
        "finished": True,
        "answer": str(answer),
        "status": "ok",
        "language": language,
        "degenerate": False,
        "well_formed": True,
        "correct": answer == problem,
        "baseline_correct": True,
        "changed": answer != problem if patched else None,
        "source_answer": answer == source if patched else None,
        "language_changed": language != "en" if patched else None,
    } | more


def _plant(effects: Effects, seed: int = 0) -> pd.DataFrame:
    """Outputs in which each space changes exactly these shares, of problems drawn at random."""
    rng = np.random.default_rng(seed)
    rows = [_row(i, "none", 0, i, "en") for i in range(N)]
    for space, shares in effects.items():
        for draw in range(DRAWS.get(space, 1)):
            answers, languages = (set(rng.permutation(N)[: round(x * N)]) for x in shares)
            rows += [
                _row(
                    i, space, draw, 100 + i if i in answers else i, "zh" if i in languages else "en"
                )
                for i in range(N)
            ]
    return pd.DataFrame(rows)


def rates(measures: pd.DataFrame) -> pd.DataFrame:
    return tested.rates(measures, BOOTSTRAP.level)


def paired_tests(measures: pd.DataFrame) -> pd.DataFrame:
    return tested.paired_tests(measures, BOOTSTRAP, 0)


def _evidence(cell: DeclaredCell = DECLARED, **tables: pd.DataFrame) -> Evidence:
    names = {"rates": RATES.name, "tests": TESTS.name}
    frames = {names[name]: frame for name, frame in tables.items()}
    return Evidence(frames, cell, VerdictConfig(), BOOTSTRAP.level, "m")


def _verdicts(outputs: pd.DataFrame) -> tuple[str, str, str, str]:
    measures = by_problem(outputs)
    evidence = _evidence(rates=rates(measures), tests=paired_tests(measures))
    (protocol, protocol_why), (controlled, why) = (
        rule(evidence) for rule in (protocol_verdict, controlled_verdict)
    )
    return protocol, controlled, protocol_why, why


# --- verdicts ------------------------------------------------------------------------------


def test_a_planted_double_dissociation_passes_both_rules_and_says_its_numbers():
    protocol, controlled, protocol_why, controlled_why = _verdicts(_plant(DISSOCIATION))
    assert (protocol, controlled) == ("yes", "yes")
    for number in ("90%", "95%", "5%", "0%"):
        assert number in protocol_why
    for number in (
        "90% against 20%",
        "0% against 40%",
        "5% against 60%",
        "95% against 30%",
        "60 p",
    ):
        assert number in controlled_why


def test_the_protocols_success_is_refuted_where_a_space_of_the_same_energy_does_as_much():
    effects = DISSOCIATION | {"energy": (0.88, 0.02), "energy_perp": (0.08, 0.93)}
    assert _verdicts(_plant(effects))[:2] == ("yes", "no")


def test_the_protocols_partial_success_is_refuted_by_energy_and_upheld_without_it():
    effects = DISSOCIATION | {"z_perp": (0.4, 0.1)}
    assert _verdicts(_plant(effects | {"energy": (0.86, 0.0)}))[:2] == ("partial", "no")
    assert _verdicts(_plant(effects | {"energy": (0.3, 0.0)}))[:2] == ("partial", "partial")


def test_no_effect_is_null_by_both():
    effects = dict.fromkeys(DISSOCIATION, (0.3, 0.1))
    assert _verdicts(_plant(effects))[:2] == ("no", "no")


@pytest.mark.parametrize(
    "change",
    [
        {"energy": (0.2, 0.0)},  # Z does not stay below it on language
        {"energy_perp": (0.05, 0.3)},  # Z-perp does not stay below it on answers
        {"energy_perp": (0.6, 0.95)},  # Z-perp does not beat it on language
    ],
)
def test_each_half_of_the_double_dissociation_is_needed(change):
    assert _verdicts(_plant(DISSOCIATION | change))[1] == "partial"
    assert _verdicts(_plant(DISSOCIATION | {"energy": (0.9, 0.4)}))[1] == "no"


@pytest.mark.parametrize(
    ("shares", "answer"),
    [
        (((0.5, 0.4), (0.4, 0.5)), "yes"),
        (((0.5, 0.5), (0.4, 0.5)), "partial"),  # the language of Z is not kept
        (((0.4, 0.0), (0.3, 0.9)), "partial"),
        (((0.3, 0.0), (0.25, 0.9)), "no"),  # a margin of .05
        (((0.9, 0.0), (0.9, 0.9)), "no"),
    ],
)
def test_the_protocols_thresholds(shares, answer):
    effects = DISSOCIATION | {"z": shares[0], "z_perp": shares[1]}
    found = _evidence(rates=rates(by_problem(_plant(effects))))
    assert protocol_verdict(found)[0] == answer


def test_broken_texts_count_for_the_protocol_and_not_for_the_controls():
    outputs = _plant(dict.fromkeys(DISSOCIATION, (0.0, 0.0)))
    broken = outputs["space"] == "z"
    lost = {"answer": None, "status": "none", "well_formed": False, "correct": False}
    outputs = pd.concat([outputs[~broken], outputs[broken].assign(**lost, changed=False)])
    protocol, controlled, protocol_why, _ = _verdicts(outputs)
    assert (protocol, controlled) == ("partial", "no")
    assert "Z changes 100% of the answers" in protocol_why


def test_without_the_declared_cell_there_is_no_verdict():
    measures = by_problem(_plant(DISSOCIATION))
    found, tests = rates(measures), paired_tests(measures)
    other = _evidence(replace(DECLARED, layer=3), rates=found, tests=tests)
    assert protocol_verdict(other)[0] == "undetermined"
    answer, why = controlled_verdict(other)
    assert answer == "undetermined"
    assert "not tested" in why
    untested = _evidence(rates=found, tests=tests[:0])
    assert controlled_verdict(untested)[0] == "undetermined"


# --- rates ---------------------------------------------------------------------------------


def test_rates_equal_a_loop_and_their_intervals_statsmodels():
    outputs = _plant(DISSOCIATION)
    table = rates(by_problem(outputs))
    column = {"answer_changed": "changed"}
    for row in table.to_dict("records"):
        if row["metric"] in ("language_preserved", "raw_answer_changed"):
            continue
        cell = outputs[outputs["space"] == row["space"]]
        values = [bool(x) for x in cell[column.get(row["metric"], row["metric"])]]
        assert row["value"] == pytest.approx(np.mean(values))
        assert row["n"] == N, "problems, whatever the number of draws"
        low, high = proportion_confint(row["value"] * N, N, method="wilson")
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((low, high))
    none = table[table["space"] == "none"]
    assert set(none["metric"]) == {"correct", "well_formed", "language_preserved"}
    assert set(table["metric"]) == set(METRICS)


def test_strata_and_their_denominators():
    outputs = _plant(DISSOCIATION)
    wrong = {f"p{i}" for i in range(10)}
    bad = outputs["problem"].isin(wrong)
    outputs.loc[bad, "baseline_correct"] = False
    outputs.loc[bad & (outputs["space"] == "z"), "changed"] = None  # no answer to change
    outputs.loc[bad & (outputs["space"] == "z"), "source_answer"] = True
    table = rates(by_problem(outputs)).set_index(["space", "stratum", "metric"])
    assert table.loc[("z", "all", "answer_changed"), "n"] == N - 10
    assert table.loc[("z", "all", "source_answer"), "n"] == N
    assert table.loc[("z", "baseline_correct", "source_answer"), "n"] == N - 10
    here = outputs[(outputs["space"] == "z") & ~bad]
    assert table.loc[("z", "baseline_correct", "source_answer"), "value"] == pytest.approx(
        here["source_answer"].astype(bool).mean()
    )


def test_the_forced_stem_has_a_baseline_of_its_own():
    forced = pd.DataFrame([_row(0, "none", 0, 5, "en", design="site_answer", correct=False)])
    site = pd.DataFrame([_row(0, "z", 0, 5, "en", design="site_answer", changed=False)])
    plain = pd.DataFrame([_row(0, "none", 0, 0, "en")])
    measures = by_problem(pd.concat([plain, forced, site]))
    assert measures.loc[measures["space"] == "z", "raw_answer_changed"].tolist() == [0.0]
    with pytest.raises(DataError, match="unpatched output is missing"):
        by_problem(pd.concat([plain, site]))


# --- tests ---------------------------------------------------------------------------------


def test_mcnemar_where_both_have_one_output_and_a_permutation_test_elsewhere():
    outputs = _plant(DISSOCIATION)
    tests = paired_tests(by_problem(outputs))
    both = tests.set_index(["stratum", "metric", "first", "second"])
    row = both.loc["all", "answer_changed", "z", "z_perp"]
    changed = outputs[outputs["space"].isin(["z", "z_perp"])].pivot(
        index="problem", columns="space", values="changed"
    )
    up = int((changed["z"] & ~changed["z_perp"].astype(bool)).sum())
    down = int((changed["z_perp"] & ~changed["z"].astype(bool)).sum())
    assert row["test"] == "exact McNemar"
    assert row["p"] == pytest.approx(min(1, binomtest(up, up + down, 0.5).pvalue))
    assert row["value"] == pytest.approx((up - down) / N)
    assert row["ci_low"] < row["value"] < row["ci_high"]
    energy = both.loc["all", "answer_changed", "z", "energy"]
    assert energy["test"] == "paired permutation"
    assert energy["value"] == pytest.approx(0.7)
    assert energy["n"] == N
    again = paired_tests(by_problem(outputs))
    pd.testing.assert_frame_equal(tests, again)


def test_holm_is_over_a_cells_comparisons_in_one_stratum():
    outputs = _plant(DISSOCIATION)
    elsewhere = _plant(DISSOCIATION, seed=1).assign(layer=3)
    tests = paired_tests(by_problem(pd.concat([outputs, elsewhere])))
    assert len(tests) == 2 * 2 * 5 * 5  # layers, strata, metrics, comparisons (none with own)
    for _, family in tests.groupby(["layer", "stratum"]):
        np.testing.assert_allclose(family["p_holm"], holm(family["p"].to_numpy()))


def test_every_interval_follows_the_level_and_the_resamples_and_no_p_does():
    outputs = _plant(DISSOCIATION)
    measures = by_problem(outputs)
    wide, narrow = (
        tested.paired_tests(measures, Bootstrap(level=level, resamples=n, seed=0), 0)
        for level, n in ((0.95, 1000), (0.5, 50))
    )
    pd.testing.assert_frame_equal(
        wide.drop(columns=["ci_low", "ci_high"]), narrow.drop(columns=["ci_low", "ci_high"])
    )
    differ = wide["value"].abs().between(0.01, 0.99)
    inside = (wide["ci_low"] < narrow["ci_low"]) & (narrow["ci_high"] < wide["ci_high"])
    assert differ.any()
    assert inside[differ].all()
    low, high = (tested.rates(measures, level) for level in (0.5, 0.95))
    assert (high["ci_high"] - high["ci_low"] > low["ci_high"] - low["ci_low"]).all()


def test_own_is_the_same_space_with_the_prompts_own_mean():
    outputs = _plant(DISSOCIATION)
    own = _plant({"z": (0.5, 0.0)}, seed=2).assign(source="own", source_answer=None)
    own = own[own["space"] == "z"]
    tests = paired_tests(by_problem(pd.concat([outputs, own])))
    row = tests[(tests["second"] == "own") & (tests["metric"] == "answer_changed")].iloc[0]
    assert (row["first"], row["source"], row["n"]) == ("z", "mismatched", N)
    assert row["value"] == pytest.approx(0.9 - 0.5)
    assert "source_answer" not in set(tests.loc[tests["second"] == "own", "metric"])


def test_equal_outputs_have_p_1():
    same = dict.fromkeys(DISSOCIATION, (0.0, 0.0))
    tests = paired_tests(by_problem(_plant(same)))
    assert (tests["p"] == 1).all()
    assert (tests["value"] == 0).all()


# --- the protocol's table ------------------------------------------------------------------------


def _problems() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "problem": [f"p{i}" for i in range(N)],
            "answer": range(N),
            "en": [f"How much is {i}?" for i in range(N)],
            "zh": "多少？",
        }
    )


def test_the_protocols_table_shows_each_problem_with_its_outputs():
    outputs = _plant(DISSOCIATION)
    table = patched_table(outputs, _problems(), DECLARED)
    assert len(table) == N
    row = table.set_index("problem").loc["p7"]
    assert (row["prompt"], row["right_answer"], row["source_answer"]) == (
        "How much is 7?",
        "7",
        "8",
    )
    for column, space in (
        ("original", "none"),
        ("z_patched", "z"),
        ("z_perp_patched", "z_perp"),
        ("full_patched", "full"),
    ):
        here = outputs[(outputs["space"] == space) & (outputs["problem"] == "p7")]
        assert row[column] == here["text"].iloc[0]
    with pytest.raises(DataError, match="declared cell are missing"):
        patched_table(outputs[outputs["space"] != "z_perp"], _problems(), DECLARED)


class _Cells(HTMLParser):
    """What a browser would show in the cells, and every tag it would see."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells and self.tags[-1] in ("td", "th"):
            self.cells[-1] += data


def _hostile() -> Iterator[str]:
    yield "<script>alert(1)</script>"
    yield "</td></table><img src=x onerror=alert(1)>"
    yield "&lt;b&gt; & \"quotes\" 'single'"
    yield "line\nbreak"


@pytest.mark.parametrize("text", list(_hostile()))
def test_no_output_can_write_markup_into_the_page(text):
    table = patched_table(_plant(DISSOCIATION), _problems(), DECLARED)[:2]
    table = table.assign(z_patched=text, prompt=text, source_answer=None)
    page = _Cells()
    page.feed(patched_html(table, text))
    ours = "html head meta title style body h1 table thead tbody tr th td"
    assert set(page.tags) == set(ours.split())
    columns = len(table.columns)
    assert len(page.cells) == 3 * columns
    shown = dict(zip(table.columns, page.cells[columns : 2 * columns], strict=True))
    assert shown["z_patched"] == shown["prompt"] == text
    assert shown["source_answer"] == ""
