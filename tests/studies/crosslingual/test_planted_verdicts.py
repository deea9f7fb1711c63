"""Studies with a known answer, one for each verdict word, and studies in which nothing is special.

A planted output is a word: what a patched text is. The rates, tests and draws are counted from the
words, and judged by the study's own rules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from zscope.stats import sign_flip_test, wilson_interval
from zscope.studies.crosslingual.config import VerdictConfig
from zscope.studies.crosslingual.declared import DeclaredCell, verdict_nulls
from zscope.studies.crosslingual.questions.evidence import Evidence, Side
from zscope.studies.crosslingual.questions.patched import (
    carries_the_answer,
    carries_the_answer_at_site,
    controlled_verdict,
    is_causal,
    is_necessary,
)
from zscope.studies.crosslingual.questions.summary import over_models, summarise
from zscope.studies.crosslingual.tables import DRAWS, RATES, SUMMARY, TESTS, VERDICTS
from zscope.tables.read import read_table
from zscope.tables.write import write_table
from zscope.verdicts import LEAST_DRAWS, UNKNOWN, VARIES, detectable, least_paired_p

CELL = DeclaredCell(3, 16, "qk", "mean", "mismatched", "all", "exclude", "zh->en")
DECLARED, SITE, ABLATED = verdict_nulls(CELL)
RULES = VerdictConfig()
N, LEVEL = 80, 0.95

# What a patched text is, and what is counted of it. source: the source's answer; changed: another;
# both: another answer in another language; broken: no answer and no language.
WORDS = ("kept", "source", "changed", "switched", "both", "broken")
METRICS = {
    "answer_changed": {"source", "changed", "both"},
    "source_answer": {"source"},
    "correct": {"kept", "switched"},
    "broken": {"broken"},
    "language_switched": {"switched", "both"},
    "language_kept": {"kept", "source", "changed"},
    "answer_kept": {"kept", "switched"},
    "raw_answer_changed": {"source", "changed", "both", "broken"},
    "raw_language_changed": {"switched", "both", "broken"},
}
PATCHED = (is_causal, carries_the_answer, carries_the_answer_at_site, is_necessary)
DRAWN = ("energy", "energy_perp", "random")
# By the source of the patch: what is compared there, and the declared side.
TRANSFER = (
    ("z", "energy", "answer_changed", "above"),
    ("z", "energy", "source_answer", "above"),
    ("z", "z_perp", "source_answer", "above"),
    ("z_perp", "energy_perp", "language_switched", "above"),
)
COMPARED: dict[str, tuple[tuple[str, str, str, Side], ...]] = {
    "mismatched": TRANSFER,
    "mean": (
        ("z", "energy", "answer_changed", "above"),
        ("z", "random", "answer_changed", "above"),
    ),
}
# Shares of the words; what is left is kept.
Shares = Mapping[str, float]
Cell = Mapping[str, Shares]
Study = Mapping[DeclaredCell, Cell]

ORDINARY: Cell = {
    "z": {"changed": 0.2},
    "energy": {"changed": 0.2},
    "random": {"changed": 0.2},
    "z_perp": {"switched": 0.2},
    "energy_perp": {"switched": 0.2},
    "full": {"source": 0.95},
}
CARRIES: Cell = {
    **ORDINARY,
    "z": {"source": 0.7},
    "energy": {"source": 0.1, "changed": 0.1},
    "z_perp": {"switched": 0.9},
}
NEEDED: Cell = {**ORDINARY, "z": {"changed": 0.7}}


def words(shares: Shares, draws: int, n: int, spread: float, rng: np.random.Generator):
    """[draws, n] words. spread: sd, between draws, of the share that is not kept."""
    share = np.array([shares.get(word, 0.0) for word in WORDS[1:]])
    total = share.sum()
    moved = np.clip(total + spread * rng.normal(size=draws), 0, 1) if total else np.zeros(draws)
    edges = moved[:, None] * np.cumsum(share / (total or 1))
    u = rng.random((draws, n, 1))
    return np.where(u[..., 0] < edges[:, -1:], 1 + (u >= edges[:, None]).sum(-1), 0)


def counted(found: np.ndarray, metric: str) -> np.ndarray:
    return np.isin(found, [WORDS.index(word) for word in METRICS[metric]]).astype(float)


def rate_rows(space: str, found: np.ndarray) -> Iterator[dict[str, Any]]:
    n = found.shape[1]
    for metric in METRICS:
        value = counted(found, metric).mean()
        low, high = wilson_interval(value * n, n, LEVEL)
        row = {"space": space, "metric": metric, "value": value, "n": n}
        for stratum in ("all", "baseline_correct", "both_correct"):
            yield row | {"stratum": stratum, "ci_low": float(low), "ci_high": float(high)}


def paired_row(first: np.ndarray, second: np.ndarray, side: Side, *, drawn: bool) -> dict[str, Any]:
    """The paired test of the first space's one draw against the mean of the second's draws."""
    steps = len(second)
    mean = second.mean(0)
    difference = first[0] - mean
    rates = second.mean(1)
    row = {
        "value": difference.mean(),
        "ci_low": difference.mean() - 0.1,
        "ci_high": difference.mean() + 0.1,
        "p": sign_flip_test(difference, steps=steps),
        "test": "exact sign-flip",
        f"p_least_{side}": least_paired_p(mean, side, steps=steps),
        "sd": difference.std(ddof=1),
        "n": len(difference),
        "n_units": len(difference),
    }
    if drawn:
        row |= {
            "draws": steps,
            "draws_above": int(np.sum(rates >= first.mean() - 1e-12)),
            "draws_below": int(np.sum(rates <= first.mean() + 1e-12)),
            "matched_on": "prompt tokens",
        }
    return row


def planted(
    study: Study,
    n: int = N,
    draws: int = LEAST_DRAWS,
    spread: float = 0.05,
    seed: int = 0,
    few: Collection[tuple[DeclaredCell, str]] = (),
) -> Evidence:
    """The tables of a study in which the spaces do what `study` says. Z has one draw, and so have
    the nulls that are `few`."""
    rng = np.random.default_rng(seed)
    rows: dict[str, list[dict[str, Any]]] = {"rates": [], "tests": [], "draws": []}
    for cell, spaces in study.items():
        found = {
            space: words(
                shares, draws if space in DRAWN and (cell, space) not in few else 1, n, spread, rng
            )
            for space, shares in spaces.items()
        }
        place = vars(cell)
        for space, outcome in found.items():
            at = place | ({"k": None, "kind": None} if space == "full" else {})
            rows["rates"] += [at | row for row in rate_rows(space, outcome)]
        for first, second, metric, side in COMPARED[cell.source]:
            a, b = counted(found[first], metric), counted(found[second], metric)
            what = place | {"stratum": "baseline_correct", "metric": metric}
            pair = {"first": first, "second": second}
            rows["tests"].append(what | pair | paired_row(a, b, side, drawn=second in DRAWN))
            if second in DRAWN:
                rows["draws"] += [
                    what | {"space": second, "draw": i, "value": value, "n": n}
                    for i, value in enumerate(b.mean(1))
                ]
    frames = {
        table.name: pd.DataFrame(
            rows[table.short], columns=[c.name for c in table.columns], dtype=object
        )
        for table in (RATES, TESTS, DRAWS)
    }
    return Evidence(frames, CELL, RULES, LEVEL, "m")


def everywhere(declared: Cell, ablated: Cell = ORDINARY, site: Cell | None = None) -> Study:
    return {DECLARED: declared, ABLATED: ablated, SITE: declared if site is None else site}


def causal(declared: Cell, **how: Any) -> dict[str, Any]:
    return is_causal(planted({DECLARED: declared, SITE: ORDINARY}, **how))


def answers(evidence: Evidence) -> dict[str, tuple[str, str]]:
    """Both verdicts of the four questions about patching."""
    rows = (question(evidence) for question in PATCHED)
    return {row["question"]: (row["protocol_verdict"], row["controlled_verdict"]) for row in rows}


# --- a known answer for each word ----------------------------------------------------------------


def test_yes_where_z_truly_carries_the_answer():
    found = answers(planted(everywhere(CARRIES, NEEDED)))
    assert found == {
        "is_causal": ("yes", "yes"),
        "carries_the_answer": (UNKNOWN, "yes"),
        "carries_the_answer_at_site": (UNKNOWN, "yes"),
        "is_necessary": (UNKNOWN, "yes"),
    }


@pytest.mark.parametrize(
    "change",
    [
        {"z": {"both": 0.7}},  # Z changes answers, and the language with them
        {"z": {"source": 0.6, "broken": 0.3}},  # what Z breaks keeps no language
        {"z_perp": {"switched": 0.2}},  # Z-perp switches no more than other complements
        {"z_perp": {"both": 0.9}},  # Z-perp changes answers too
    ],
)
def test_partial_where_only_the_answers_follow_z(change):
    assert causal({**CARRIES, **change})["controlled_verdict"] == "partial"


def test_partial_where_the_sources_answer_arrives_by_the_rest_too():
    perp = {**CARRIES, "z_perp": {"source": 0.9}}
    assert answers(planted(everywhere(perp)))["carries_the_answer"] == (UNKNOWN, "partial")


def test_partial_where_any_space_of_this_energy_is_as_necessary():
    energy = {**NEEDED, "energy": {"changed": 0.7}}
    row = is_necessary(planted(everywhere(CARRIES, energy)))
    assert row["controlled_verdict"] == "partial"


@pytest.mark.parametrize("z", [{"changed": 0.2}, {"changed": 0.2, "source": 0.02}, {}])
def test_no_where_z_does_what_any_space_does(z):
    found = answers(planted(everywhere({**ORDINARY, "z": z}), seed=1))
    assert {controlled for _, controlled in found.values()} == {"no"}


def test_the_protocols_success_is_refuted_where_any_space_of_this_energy_does_as_much():
    study = {**CARRIES, "energy": {"source": 0.72}, "energy_perp": {"switched": 0.9}}
    row = causal(study)
    assert (row["protocol_verdict"], row["controlled_verdict"]) == ("yes", "no")


def test_another_cell_than_the_declared_one_tells_nothing():
    evidence = replace(planted(everywhere(CARRIES, NEEDED)), cell=replace(CELL, layer=2))
    assert set(answers(evidence).values()) == {(UNKNOWN, UNKNOWN)}
    assert "not tested in the declared cell" in is_causal(evidence)["numbers"]


def test_no_where_uniform_spaces_cost_as_much_as_z():
    uniform = {**NEEDED, "random": {"changed": 0.7}}
    assert is_necessary(planted(everywhere(CARRIES, uniform)))["controlled_verdict"] == "no"


def test_no_where_z_does_the_reverse():
    """Whatever the size of an effect against the declared direction."""
    reverse = {**ORDINARY, "energy": {"source": 0.5}, "z": {}}
    right = {**ORDINARY, "z": {}, "energy": {"changed": 0.6}, "random": {"changed": 0.6}}
    found = answers(planted(everywhere(reverse, right)))
    assert {controlled for _, controlled in found.values()} == {"no"}
    assert found["is_causal"] == ("no", "no")


@pytest.mark.parametrize("draws", [2, LEAST_DRAWS - 1])
def test_cannot_be_told_with_few_draws_however_small_the_paired_p(draws):
    evidence = planted(everywhere(CARRIES, NEEDED), draws=draws)
    assert {controlled for _, controlled in answers(evidence).values()} == {UNKNOWN}
    row = is_causal(evidence)
    assert row["p"] < 1e-6
    assert row["p_least"] == 1 / (1 + draws)
    assert f"cannot be told: {draws} draws, needs {LEAST_DRAWS}" in row["numbers"]


def test_cannot_be_told_where_no_outcome_would_have_been_enough():
    """Spaces that change every answer leave nothing to be above, and five problems no p < 0.05."""
    all_change = {**CARRIES, "energy": {"source": 1.0}}
    evidence = planted(everywhere(all_change), spread=0)
    for row in (is_causal(evidence), carries_the_answer(evidence)):
        assert row["controlled_verdict"] == UNKNOWN
        assert row["p_least"] == 1
        assert "the smallest p that could be reached is 1" in row["numbers"]
    few = planted(everywhere(CARRIES, NEEDED), n=5)
    assert {controlled for _, controlled in answers(few).values()} == {UNKNOWN}


def test_keeping_cannot_be_told_from_thirty_problems():
    """30 of 30 have an interval that begins at 0.886, below the declared 0.9."""
    every = {**CARRIES, "z": {"source": 0.9}, "z_perp": {"switched": 1.0}}
    assert causal(every, spread=0)["controlled_verdict"] == "yes"
    row = causal(every, spread=0, n=30)
    # The answers of Z were seen, which is the declared half.
    assert row["controlled_verdict"] == "partial"
    assert "n is too small, 30 of 30 would give 0.886 or more" in row["numbers"]


def test_trainings_that_disagree_vary():
    studies = [everywhere(CARRIES, NEEDED), everywhere(CARRIES, NEEDED), everywhere(ORDINARY)]
    summaries = [
        pd.DataFrame(summarise(planted(study, seed=5))).assign(model=f"m{i}")
        for i, study in enumerate(studies)
    ]
    alike = {f"m{i}": "m" for i in range(3)}
    together = {row["question"]: row for row in over_models(pd.concat(summaries), alike)}
    row = together["is_necessary"]
    assert (row["controlled_verdict"], row["controlled_tally"]) == (VARIES, "yes 2, no 1")
    assert (row["protocol_verdict"], row["protocol_tally"]) == (UNKNOWN, "cannot be told 3")
    values = [s.set_index("question").loc["is_necessary", "value"] for s in summaries]
    assert (row["low"], row["high"], row["n_models"]) == (min(values), max(values), 3)
    agree = {row["question"]: row for row in over_models(pd.concat(summaries[:2]), alike)}
    assert agree["is_necessary"]["controlled_verdict"] == "yes"
    assert list(together) == summaries[0]["question"].to_list()
    one = next(r for r in over_models(summaries[2], alike) if r["question"] == "is_necessary")
    assert (one["controlled_verdict"], one["n_models"]) == ("no", 1)
    # Another model is no training of the first ones: its verdict stands by itself.
    apart = [
        (row["family"], row["controlled_verdict"], row["n_models"])
        for row in over_models(pd.concat(summaries), alike | {"m2": "other"})
        if row["question"] == "is_necessary"
    ]
    assert apart == [("m", "yes", 2), ("other", "no", 1)]


def test_verdicts_and_summaries_are_tables(tmp_path):
    rows = pd.DataFrame(summarise(planted(everywhere(CARRIES, NEEDED)))).assign(model="m")
    write_table(rows, tmp_path / "summary", SUMMARY, {})
    read = read_table(tmp_path / "summary", SUMMARY)
    write_table(pd.DataFrame(over_models(read, {"m": "m"})), tmp_path / "verdicts", VERDICTS, {})
    assert len(read_table(tmp_path / "verdicts", VERDICTS)) == len(read)


# --- languages and broken text -------------------------------------------------------------------


def test_spaces_that_change_hardly_any_language_no_longer_block_a_yes():
    """Fewer languages than 1 % of 80 cannot be had with p < 0.05: keeping them can be shown."""
    changed = np.eye(N)[0]
    assert least_paired_p(changed, "below", steps=1) == 1
    study = {**CARRIES, "energy": {"source": 0.1, "both": 0.01}}
    assert causal(study)["controlled_verdict"] == "yes"


def test_no_language_change_at_all_is_a_no_of_that_part():
    row = causal({**CARRIES, "z_perp": {}, "energy_perp": {}})
    assert row["controlled_verdict"] == "partial"
    # Reachable, had Z-perp switched them; how often it must is the power line.
    needed = detectable(0.0, N, 0.05)
    line = "Z-perp against complements of energy-matched spaces: 0 and 0, difference 0 [-0.1, 0.1]"
    assert line in row["numbers"]
    assert f"could have found a difference of {needed:.3g}" in row["numbers"]


def test_broken_text_is_never_evidence_for_the_dissociation():
    """Z-perp leaves 95 of 99 texts empty: it changes no answer and switches no language."""
    broken = {**CARRIES, "z_perp": {"broken": 95 / 99}}
    for seed in range(5):
        row = causal(broken, n=99, spread=0, seed=seed)
        assert (row["protocol_verdict"], row["controlled_verdict"]) == ("no", "partial")
        nothing = causal({**broken, "z": {"changed": 0.2}}, n=99, spread=0, seed=seed + 10)
        assert nothing["controlled_verdict"] == "no"
    rates = planted({DECLARED: broken}, n=99, spread=0, seed=4).get(RATES, space="z_perp")
    rate = rates[rates["metric"] == "broken"]["value"].iloc[0]
    assert rate > 0.9
    assert "Broken text counts as changed here: broken texts: Z 0, Z-perp" in row["numbers"]
    assert row["numbers"].count(f"Z-perp {rate:.3g}") == 2  # for either rule
    # The same texts, in the other language, are the dissociation.
    switched = {**CARRIES, "z_perp": {"switched": 95 / 99}}
    assert causal(switched, n=99, spread=0)["controlled_verdict"] == "yes"


def test_the_protocols_rule_counts_broken_text_as_it_is_written():
    broken = {**ORDINARY, "z": {"broken": 0.9}, "z_perp": {}}
    row = causal(broken, spread=0)
    assert (row["protocol_verdict"], row["controlled_verdict"]) == ("partial", UNKNOWN)


# --- numbers -------------------------------------------------------------------------------------


def test_the_row_has_both_tests_and_what_could_have_been_found():
    evidence = planted(everywhere(CARRIES, NEEDED))
    for question, cell, metric, sign in (
        (is_causal, DECLARED, "answer_changed", 1),
        (carries_the_answer, DECLARED, "source_answer", 1),
        (carries_the_answer_at_site, SITE, "source_answer", 1),
        (is_necessary, ABLATED, "answer_changed", 1),
    ):
        row = question(evidence)
        test = evidence.one(TESTS, **vars(cell), metric=metric, first="z", second="energy")
        drawn = evidence.get(DRAWS, **vars(cell), metric=metric, space="energy")["value"].to_numpy()
        assert (row["value"], row["p"], row["n"]) == (test["value"], test["p"], N)
        assert (row["null"], row["draws"], row["matched_on"]) == ("energy", 40, "prompt tokens")
        assert row["p_draws"] == 1 / 41 == row["p_least"]
        assert row["null_low"] < row["null_mean"] == 0 < row["null_high"]
        assert sign * row["value"] > row["detectable"]
        assert row["detectable"] == detectable(test["sd"], N, 0.05, sign * drawn)
        assert f"could have found a difference of {row['detectable']:.3g}" in row["numbers"]
        assert "0 of 40 draws" in row["numbers"]


@pytest.mark.parametrize("question", PATCHED)
@pytest.mark.parametrize("planted_as", ["yes", "no"])
def test_where_the_whole_state_does_not_carry_the_answer_nothing_can_be_told(question, planted_as):
    """A yes neither: at that layer the patch breaks something, and transfers nothing."""
    study = everywhere(CARRIES, NEEDED) if planted_as == "yes" else everywhere(ORDINARY)
    straddled = 0
    for share in (0.95, *np.arange(0.3, 0.7, 0.03), 0.1):
        evidence = planted({**study, SITE: {**study[SITE], "full": {"source": share}}})
        full = evidence.one(
            RATES,
            **vars(SITE) | {"k": None, "kind": None},
            space="full",
            metric="source_answer",
            stratum="both_correct",
        )
        assert full is not None
        straddled += full["ci_low"] < 0.5 < full["value"]
        told = planted_as if full["ci_low"] >= 0.5 else UNKNOWN  # the whole interval counts
        row = question(evidence)
        assert row["controlled_verdict"] == told
        seen = "seen" if told == planted_as else "not seen"
        assert f"positive control {seen}: " in row["numbers"]
        assert "positive control: the whole state" in row["controlled_criterion"]
    assert straddled
    unmeasured = {cell: spaces for cell, spaces in study.items() if cell != SITE}
    row = question(planted(unmeasured))
    assert row["controlled_verdict"] == UNKNOWN
    assert "positive control not seen: not measured" in row["numbers"]


def test_verdicts_read_the_nulls_that_have_all_draws_and_no_others():
    study = everywhere(CARRIES, NEEDED)
    nulls = {(cell, space) for cell, spaces in verdict_nulls(CELL).items() for space in spaces}
    others = {(cell, s) for cell, spaces in study.items() for s in spaces if s in DRAWN} - nulls
    assert (len(nulls), len(others)) == (5, 4)
    told = answers(planted(study))
    assert answers(planted(study, few=others)) == told
    for null in nulls:
        assert answers(planted(study, few=[null])) != told


def test_the_protocols_verdict_knows_no_positive_control():
    study = everywhere(CARRIES, site={**CARRIES, "full": {"source": 0.1}})
    row = is_causal(planted(study))
    assert (row["protocol_verdict"], row["controlled_verdict"]) == ("yes", UNKNOWN)


def test_the_answer_is_looked_for_with_a_source_that_has_another_one():
    """Also where the declared source is the translation, whose answer is the prompt's own."""
    declared = replace(CELL, source="matched")
    evidence = replace(planted(everywhere(CARRIES)), cell=declared)
    assert carries_the_answer(evidence)["controlled_verdict"] == "yes"
    assert is_causal(evidence)["controlled_verdict"] == UNKNOWN  # not patched there


def test_an_ablation_that_breaks_the_text_does_not_show_that_z_is_necessary():
    """Every answer is lost, as in a loop of full stops behind each of them."""
    broken = {**NEEDED, "z": {"broken": 1.0}}
    row = is_necessary(planted(everywhere(CARRIES, broken)))
    assert row["controlled_verdict"] == UNKNOWN
    assert "of the texts of Z are broken" in row["numbers"]


# --- Z drawn at random ---------------------------------------------------------------------------

STUDIES, SPREAD = 200, 0.1
# Z has its own draw, like any other space. The other parts of each rule are made to hold.
RANDOM: Cell = {
    "z": {"source": 0.4},
    "energy": {"source": 0.4},
    "random": {"source": 0.4},
    "z_perp": {"switched": 0.9},
    "energy_perp": {"switched": 0.3},
    "full": {"source": 0.95},
}


def test_a_random_z_is_special_in_at_most_five_percent_of_studies():
    """Up to the counting error of 200 studies: 18 of them are the 99 % bound for a rate of 5 %.

    The paired test over two of the draws alone would claim it far more often: it takes the spread
    of the spaces for an effect of Z.
    """
    bound = binom.ppf(0.99, STUDIES, 0.05)
    assert bound == 18
    claimed, paired_only = Counter[str](), 0
    for seed in range(STUDIES):
        evidence = planted(
            {DECLARED: RANDOM, ABLATED: RANDOM, SITE: ORDINARY}, spread=SPREAD, seed=seed
        )
        found = {
            "causal": controlled_verdict(evidence)[0],
            "carries": carries_the_answer(evidence)["controlled_verdict"],
            "necessary": is_necessary(evidence)["controlled_verdict"],
        }
        for question, answer in found.items():
            assert answer in ("yes", "partial", "no")  # each could have said yes
            claimed[question] += answer != "no"
        # The same Z, and the first two of the same draws.
        rng = np.random.default_rng(seed)
        z, energy = (words(RANDOM[x], d, N, SPREAD, rng) for x, d in (("z", 1), ("energy", 40)))
        two = counted(energy[:2], "answer_changed")
        row = paired_row(counted(z, "answer_changed"), two, "above", drawn=True)
        paired_only += row["value"] > 0 and row["p"] < 0.05
    assert max(claimed.values()) <= bound, claimed
    assert paired_only > 1.5 * bound, paired_only
