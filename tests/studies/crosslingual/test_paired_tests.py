"""Rates, draws and paired tests of outputs that are planted, against libraries and by hand."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from html.parser import HTMLParser
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from statsmodels.stats.proportion import proportion_confint

from zscope.config.base import Bootstrap
from zscope.core.errors import DataError
from zscope.stats import holm, sign_flip_test
from zscope.studies.crosslingual.declared import DeclaredCell, verdict_nulls
from zscope.studies.crosslingual.patching import paired_tests as tested
from zscope.studies.crosslingual.patching.paired_tests import (
    METRICS,
    RATED,
    STRATA,
    TESTED,
    by_output,
    draw_rates,
    units_of,
)
from zscope.studies.crosslingual.patching.patched_table import patched_html, patched_table
from zscope.studies.crosslingual.tables import DRAWS, ENERGY_SHARES, RATES, TESTS
from zscope.tables.write import write_table

N = 60
BOOTSTRAP = Bootstrap(level=0.95, resamples=1000, seed=0)
DECLARED = DeclaredCell(2, 16, "qk", "mean", "mismatched", "prefill", "exclude", "zh->en")
DRAWS_OF = {"random": 3, "random_perp": 3, "energy": 3, "energy_perp": 3}
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
        for draw in range(DRAWS_OF.get(space, 1)):
            answers, languages = (set(rng.permutation(N)[: round(x * N)]) for x in shares)
            rows += [
                _row(
                    i, space, draw, 100 + i if i in answers else i, "zh" if i in languages else "en"
                )
                for i in range(N)
            ]
    return pd.DataFrame(rows)


def _plain(wrong: Collection[str] = ()) -> pd.DataFrame:
    """The unpatched answers in both languages, right but for those named in Chinese."""
    rows = [
        {"problem": f"p{i}", "direction": f"->{x}", "correct": x == "en" or f"p{i}" not in wrong}
        for i in range(N)
        for x in ("zh", "en")
    ]
    return pd.DataFrame(rows)


def _by_output(outputs: pd.DataFrame) -> pd.DataFrame:
    return by_output(outputs, _plain())


def rates(outputs: pd.DataFrame) -> pd.DataFrame:
    return tested.rates(_by_output(outputs), BOOTSTRAP.level)


def paired_tests(outputs: pd.DataFrame, units: dict[str, str] | None = None) -> pd.DataFrame:
    """Each problem is its own unit unless `units` says otherwise."""
    own = {problem: problem for problem in outputs["problem"]} | (units or {})
    return tested.paired_tests(_by_output(outputs), own, BOOTSTRAP)


def draws(outputs: pd.DataFrame) -> pd.DataFrame:
    return draw_rates(_by_output(outputs), _shares(outputs), verdict_nulls(DECLARED))


def _shares(outputs: pd.DataFrame) -> pd.DataFrame:
    """The draw's number says its share."""
    matched = {"mean": "prompt tokens", "site_answer": "answer site"}
    names = [c.name for c in ENERGY_SHARES.columns]
    spaces = outputs[outputs["space"].isin(["energy", "energy_perp"])]
    out = spaces.assign(
        matched_on=spaces["design"].map(matched),
        energy_share=0.5 + spaces["draw"] / 100,
        z_energy_share=0.5,
    )[names]
    return out.drop_duplicates()


def _broken(outputs: pd.DataFrame, rows: pd.Series) -> pd.DataFrame:
    """The same with the texts of these rows lost."""
    outputs = outputs.astype({"answer": object, "changed": object})
    lost = {"text": "", "answer": None, "status": "none", "language": "undetermined",
            "well_formed": False, "correct": False, "source_answer": False, "changed": False,
            "language_changed": True}  # fmt: skip
    for column, value in lost.items():
        outputs.loc[rows, column] = value
    return outputs


# --- rates ---------------------------------------------------------------------------------


def test_rates_equal_a_loop_and_their_intervals_statsmodels():
    outputs = _plant(DISSOCIATION)
    table = rates(outputs)

    def of(metric: str, row: Any) -> bool:
        return {
            "answer_changed": row["changed"],
            "answer_kept": row["changed"] is False,
            "raw_answer_changed": row["answer"] != row["problem"].removeprefix("p"),
            "broken": not row["well_formed"],
            "language_switched": row["language"] == "zh",
            "language_kept": row["language"] == "en",
            "raw_language_changed": row["language"] == "zh",
        }.get(metric, row.get(metric))

    for row in table.to_dict("records"):
        cell = outputs[outputs["space"] == row["space"]].to_dict("records")
        assert row["value"] == pytest.approx(np.mean([of(row["metric"], r) for r in cell]))
        assert row["n"] == N, "problems, whatever the number of draws"
        low, high = proportion_confint(row["value"] * N, N, method="wilson")
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((low, high))
    none = table[table["space"] == "none"]
    assert set(none["metric"]) == {"correct", "broken"}
    assert set(table["metric"]) == set(METRICS)


def test_broken_text_switches_no_language_and_keeps_no_answer():
    """All outputs but one are empty; the original protocol sees as many languages changed."""
    outputs = _plant(dict.fromkeys(DISSOCIATION, (0.0, 0.0)))
    here = (outputs["space"] == "z_perp") & (outputs["problem"] != "p0")
    table = rates(_broken(outputs, here)).set_index(["space", "stratum", "metric"])["value"]
    lost = (N - 1) / N
    for stratum in STRATA:
        found = {metric: table.loc["z_perp", stratum, metric] for metric in METRICS}
        for metric in ("broken", "raw_language_changed", "raw_answer_changed"):
            assert found[metric] == pytest.approx(lost)
        assert found["language_switched"] == found["answer_changed"] == 0
        for metric in ("answer_kept", "language_kept"):
            assert found[metric] == pytest.approx(1 - lost)


@pytest.mark.parametrize(
    ("language", "formed", "before", "switched", "kept"),
    [
        ("zh", True, "en", 1, 0),
        ("en", True, "en", 0, 1),
        ("zh", False, "en", 0, 0),
        ("en", False, "en", 0, 0),
        ("mixed", True, "en", 0, 0),
        ("undetermined", True, "en", 0, 0),
        ("en", True, "zh", 1, 0),
        ("en", True, "undetermined", None, None),
    ],
)
def test_a_switch_is_well_formed_text_in_the_other_language(
    language, formed, before, switched, kept
):
    rows = [_row(0, "none", 0, 0, "en"), _row(0, "z", 0, 0, "en", well_formed=formed)]
    found = _by_output(pd.DataFrame(rows).assign(language=[before, language])).iloc[1]
    for metric, value in (("language_switched", switched), ("language_kept", kept)):
        assert np.isnan(found[metric]) if value is None else found[metric] == value


def test_a_source_that_was_answered_wrong_has_no_part_in_the_stratum_of_both():
    outputs = _plant(DISSOCIATION)
    outputs.loc[outputs["problem"] == "p3", "baseline_correct"] = False
    # p7 is the source of p6, and its English answer, which is right, is of no matter.
    found = by_output(outputs, _plain({"p7"}))
    patched = found["space"] != "none"
    assert set(found.loc[patched & ~found["both_correct"], "problem"]) == {"p3", "p6"}
    assert set(found.loc[~patched & ~found["both_correct"], "problem"]) == {"p3"}
    nothing = by_output(outputs, _plain().assign(correct=False))
    assert not nothing.loc[patched, "both_correct"].any(), "a model that is never right"
    own = by_output(outputs.assign(source_problem=None), _plain({"p7"}))
    assert (own["both_correct"] == own["baseline_correct"]).all()
    table = tested.rates(found, BOOTSTRAP.level).set_index(["space", "stratum", "metric"])
    assert table.loc[("z", "both_correct", "source_answer"), "n"] == N - 2
    assert table.loc[("z", "baseline_correct", "source_answer"), "n"] == N - 1
    tests = tested.paired_tests(found, {f"p{i}": f"p{i}" for i in range(N)}, BOOTSTRAP)
    assert set(tests["stratum"]) == {"all", "baseline_correct"}


def test_strata_and_their_denominators():
    outputs = _plant(DISSOCIATION)
    wrong = {f"p{i}" for i in range(10)}
    bad = outputs["problem"].isin(wrong)
    outputs.loc[bad, "baseline_correct"] = False
    outputs.loc[bad & (outputs["space"] == "z"), "changed"] = None  # no answer to change
    outputs.loc[bad & (outputs["space"] == "z"), "source_answer"] = True
    table = rates(outputs).set_index(["space", "stratum", "metric"])
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
    measures = _by_output(pd.concat([plain, forced, site]))
    assert measures.loc[measures["space"] == "z", "raw_answer_changed"].tolist() == [0.0]
    with pytest.raises(DataError, match="unpatched output is missing"):
        _by_output(pd.concat([plain, site]))


# --- draws ---------------------------------------------------------------------------------


def test_each_draw_has_a_rate_of_its_own_in_the_nulls_of_a_verdict_alone():
    outputs = _plant(DISSOCIATION)
    site = outputs.assign(design="site_answer")
    patched = outputs[outputs["space"] != "none"]
    others = [patched.assign(source=source) for source in ("mean", "matched")]
    table = draws(pd.concat([outputs, site, *others]))
    read = (
        ("mean", "mismatched", "energy"),
        ("mean", "mismatched", "energy_perp"),
        ("mean", "mean", "energy"),
        ("mean", "mean", "random"),
        ("site_answer", "mismatched", "energy"),
    )
    wanted = {(*null, *of) for null, *of in product(read, range(3), RATED, TESTED)}
    found = table.set_index(["design", "source", "space", "draw", "stratum", "metric"])
    assert {*found.index} == wanted
    found = found.xs("mismatched", level="source")
    for draw in range(3):
        here = outputs[(outputs["space"] == "energy") & (outputs["draw"] == draw)]
        row = found.loc["mean", "energy", draw, "all", "answer_changed"]
        assert (row["value"], row["n"]) == (here["changed"].astype(bool).mean(), N)
        assert (row["energy_share"], row["z_energy_share"]) == (0.5 + draw / 100, 0.5)
        assert row["matched_on"] == "prompt tokens"
        assert found.loc["site_answer", "energy", draw, "all", "broken"]["matched_on"] == (
            "answer site"
        )
    random = table[table["space"] == "random"]
    assert random[["matched_on", "energy_share", "z_energy_share"]].isna().all(axis=None)


@pytest.mark.parametrize("changed", [3, 5, 6])
def test_draws_are_counted_that_reach_the_first_space(changed):
    """By hand: draws with 2, 5 and 5 changed answers of 10; ties count on both sides."""
    rows = [_row(i, "none", 0, i, "en") for i in range(10)]
    for space, draw, n in (("z", 0, changed), *(("energy", i, x) for i, x in enumerate((2, 5, 5)))):
        rows += [_row(i, space, draw, 100 + i if i < n else i, "en") for i in range(10)]
    tests = paired_tests(pd.DataFrame(rows)).set_index(["stratum", "metric", "second"])
    row = tests.loc["all", "answer_changed", "energy"]
    above, below = {3: (2, 1), 5: (2, 3), 6: (0, 3)}[changed]
    assert (row["draws"], row["draws_above"], row["draws_below"]) == (3, above, below)
    assert row["matched_on"] == "prompt tokens"


def test_the_ranks_of_tests_are_those_of_the_table_of_draws():
    outputs = _plant(DISSOCIATION)
    tests, table = paired_tests(outputs), draws(outputs)
    known = rates(outputs).set_index(["space", "stratum", "metric"])["value"]
    # No verdict reads random spaces in the declared cell, so the table has none of their draws.
    tests = tests[~tests["second"].str.startswith("random")]
    assert {*tests["second"]} > {"energy", "z_perp"}
    for row in tests.to_dict("records"):
        null = table[
            (table["space"] == row["second"])
            & (table["stratum"] == row["stratum"])
            & (table["metric"] == row["metric"])
        ]["value"].to_numpy()
        if not len(null):
            assert row["second"] == "z_perp"
            assert np.isnan(row["draws"])
            assert pd.isna(row["matched_on"])
            continue
        value = known[row["first"], row["stratum"], row["metric"]]
        assert row["draws_above"] == sum(x > value or np.isclose(x, value) for x in null)
        assert row["draws_below"] == sum(x < value or np.isclose(x, value) for x in null)


def test_every_column_of_the_tables_is_there(tmp_path):
    outputs = _plant(DISSOCIATION)
    for table, rows in ((RATES, rates(outputs)), (TESTS, paired_tests(outputs)),
                        (DRAWS, draws(outputs))):  # fmt: skip
        write_table(rows.assign(model="m"), tmp_path / f"{table.short}.parquet", table, {})


# --- tests ---------------------------------------------------------------------------------


def _difference(outputs: pd.DataFrame, first: str, second: str) -> pd.Series:
    means = outputs.assign(changed=outputs["changed"].astype(float)).pivot_table(
        index="problem", columns="space", values="changed"
    )
    return means[first] - means[second]


def test_one_output_each_is_mcnemar_and_several_are_every_sign_pattern():
    outputs = _plant(DISSOCIATION)
    both = paired_tests(outputs).set_index(["stratum", "metric", "first", "second"])
    row = both.loc["all", "answer_changed", "z", "z_perp"]
    difference = _difference(outputs, "z", "z_perp")
    up, down = int((difference > 0).sum()), int((difference < 0).sum())
    assert row["test"] == "exact McNemar"
    assert row["p"] == pytest.approx(min(1, binomtest(up, up + down, 0.5).pvalue))
    assert row["value"] == pytest.approx((up - down) / N)
    assert row["ci_low"] < row["value"] < row["ci_high"]
    assert (row["n"], row["n_units"]) == (N, N)
    assert row["sd"] == pytest.approx(np.std(difference, ddof=1))
    # Had Z changed every answer, or none.
    base = outputs[outputs["space"] == "z_perp"]["changed"].sum()
    assert row["p_least_above"] == pytest.approx(binomtest(N - base, N - base).pvalue)
    assert row["p_least_below"] == pytest.approx(binomtest(base, base).pvalue)


def test_the_test_of_a_mean_over_draws_is_that_of_all_sign_patterns():
    few = {f"p{i}" for i in range(10)}
    outputs = _plant({"z": (0.6, 0.0), "energy": (0.3, 0.0)})
    outputs = outputs[outputs["problem"].isin(few)]
    tests = paired_tests(outputs).set_index(["stratum", "metric", "first", "second"])
    row = tests.loc["all", "answer_changed", "z", "energy"]
    d = _difference(outputs, "z", "energy").to_numpy()
    sums = [abs(np.dot(signs, d)) for signs in product((-1, 1), repeat=len(d))]
    assert row["test"] == "exact sign flips"
    assert row["p"] == pytest.approx(np.mean(np.array(sums) >= abs(d.sum()) - 1e-9))


def test_a_p_is_the_same_whatever_the_seed_and_the_order():
    outputs = _plant(DISSOCIATION)
    own = {problem: problem for problem in outputs["problem"]}
    key = ["stratum", "metric", "first", "second"]
    found = [
        tested.paired_tests(
            _by_output(rows), own, Bootstrap(level=0.95, resamples=100, seed=seed)
        ).set_index(key)
        for seed, rows in ((0, outputs), (9, outputs.sample(frac=1, random_state=1)))
    ]
    exact = ["p", "p_holm", "p_least_above", "p_least_below"]
    np.testing.assert_allclose(found[0][exact], found[1].loc[found[0].index, exact], rtol=1e-9)


def test_problems_with_the_same_operands_are_one_unit():
    outputs = _plant(DISSOCIATION)
    units = {f"p{i}": f"unit {i // 2}" for i in range(20)}
    tests = paired_tests(outputs, units).set_index(["stratum", "metric", "first", "second"])
    alone = paired_tests(outputs).set_index(["stratum", "metric", "first", "second"])
    for second, steps in (("z_perp", 1), ("energy", 3)):
        row = tests.loc["all", "answer_changed", "z", second]
        d = _difference(outputs, "z", second)
        named = [units.get(problem, problem) for problem in d.index]
        assert row["p"] == pytest.approx(sign_flip_test(d.to_numpy(), steps=steps, clusters=named))
        assert row["p"] > alone.loc["all", "answer_changed", "z", second]["p"]
        assert (row["n"], row["n_units"], row["test"]) == (N, N - 10, "exact sign flips")
    problems = pd.DataFrame(
        {
            "problem": list("abcdef"),
            "category": ["add", "add", "add", "two", "by hand", "by hand"],
            "operands": ["1,2", "1,2", "2,1", "1,2", "", ""],
        }
    )
    found = units_of(problems)
    assert found["a"] == found["b"]
    assert len(set(found.values())) == 5


def test_holm_is_over_a_cells_comparisons_in_one_stratum():
    outputs = _plant(DISSOCIATION)
    elsewhere = _plant(DISSOCIATION, seed=1).assign(layer=3)
    tests = paired_tests(pd.concat([outputs, elsewhere]))
    assert len(tests) == 2 * 2 * 5 * 5  # layers, strata, metrics, comparisons (none with own)
    for _, family in tests.groupby(["layer", "stratum"]):
        np.testing.assert_allclose(family["p_holm"], holm(family["p"].to_numpy()))


def test_every_interval_follows_the_level_and_the_resamples_and_no_p_does():
    outputs = _plant(DISSOCIATION)
    measures = _by_output(outputs)
    own = {problem: problem for problem in outputs["problem"]}
    wide, narrow = (
        tested.paired_tests(measures, own, Bootstrap(level=level, resamples=n, seed=0))
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
    tests = paired_tests(pd.concat([outputs, own]))
    row = tests[(tests["second"] == "own") & (tests["metric"] == "answer_changed")].iloc[0]
    assert (row["first"], row["source"], row["n"]) == ("z", "mismatched", N)
    assert row["value"] == pytest.approx(0.9 - 0.5)
    assert "source_answer" not in set(tests.loc[tests["second"] == "own", "metric"])


def test_equal_outputs_have_p_1():
    same = dict.fromkeys(DISSOCIATION, (0.0, 0.0))
    tests = paired_tests(_plant(same))
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
