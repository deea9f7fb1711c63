"""Scores of estimates, their intervals and nulls, and every word of the verdict."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from zscope.config.base import Bootstrap
from zscope.studies.components.attribution.scores import (
    ALL,
    MISSED,
    PEARSON,
    SPEARMAN,
    Cell,
    ScoreRule,
    correlation,
    correlation_interval,
    score,
    score_rows,
    work_rows,
    work_to_verify,
)
from zscope.studies.components.attribution.verdicts import FindRule, summary_rows
from zscope.verdicts import LEAST_DRAWS

BOOTSTRAP = Bootstrap(resamples=400)
RULE = ScoreRule(0.05, 0.025, 60, BOOTSTRAP, 0)
FIND = FindRule(0.9, 0.1, 0.05)


def cell(noise, pairs=30, each=6, seed=0):
    rng = np.random.default_rng(seed)
    effect = rng.standard_normal(pairs * each)
    pair = np.repeat(np.arange(pairs), each)
    return Cell(effect + noise * rng.standard_normal(len(effect)), effect, pair)


def rng():
    return np.random.default_rng(3)


def test_correlations_are_scipys_and_the_null_is_near_zero():
    c = cell(1.0)
    pearson, spearman = (score(c, m, RULE, rng()) for m in (PEARSON, SPEARMAN))
    kept = np.abs(c.effect) > 1e-3
    assert pearson["value"] == pytest.approx(stats.pearsonr(c.estimate, c.effect)[0])
    expected = stats.spearmanr(c.estimate[kept], c.effect[kept])[0]
    assert spearman["value"] == pytest.approx(expected)
    for row in (pearson, spearman):
        assert row["ci_low"] < row["value"] < row["ci_high"]
        assert row["null_low"] < 0 < row["null_high"]
        assert abs(row["null"]) < 0.05
        assert row["p"] == pytest.approx(1 / 61)
        assert row["pairs"] == 30


def test_the_interval_is_over_pairs_not_nodes():
    """Six copies of one node in every pair say no more than one."""
    one = cell(1.0, pairs=40, each=1)
    six = Cell(*(np.repeat(x, 6) for x in (one.estimate, one.effect, one.pair)))
    narrow, wide = correlation_interval(six, BOOTSTRAP), correlation_interval(one, BOOTSTRAP)
    assert narrow == pytest.approx(wide)
    # The same resamples, one by one.
    draws = np.random.default_rng(BOOTSTRAP.seed).multinomial(40, np.full(40, 1 / 40), 400)
    plain = [np.corrcoef(np.repeat(one.estimate, k), np.repeat(one.effect, k))[0, 1] for k in draws]
    assert wide == pytest.approx(tuple(np.quantile(plain, BOOTSTRAP.tails)))


def test_spearman_leaves_out_ties_of_zeros():
    """1000 nodes without an effect, and estimates that order the others backwards."""
    effect = np.concatenate([np.zeros(1000), np.arange(1, 21.0)])
    c = Cell(np.concatenate([np.zeros(1000), -np.arange(1, 21.0)]), effect, np.arange(1020))
    found = score(c, SPEARMAN, RULE, rng())
    assert found["value"] == pytest.approx(-1)
    assert found["n"] == 20


def test_false_negatives_are_large_effects_with_small_estimates():
    effect = np.array([0.06, -0.2, 0.3, -0.06, 0.04, 0.0])
    estimate = np.array([0.02, -0.01, 0.3, 0.06, 0.0, 0.5])
    found = score(Cell(estimate, effect, np.array([0, 0, 1, 1, 2, 2])), MISSED, RULE, rng())
    assert (found["value"], found["n"], found["pairs"]) == (0.5, 4, 2)
    low, high = stats.binomtest(2, 4).proportion_ci(0.95, "wilson")
    assert (found["ci_low"], found["ci_high"]) == pytest.approx((low, high))
    nothing = score(Cell(estimate, effect * 0, np.arange(6)), MISSED, RULE, rng())
    assert nothing["value"] is None
    assert nothing["n"] == 0


def test_a_constant_or_two_values_have_no_correlation():
    assert np.isnan(correlation(np.ones((1, 5)), np.arange(5.0)))
    assert np.isnan(correlation(np.ones((1, 2)), np.arange(2.0)))
    undefined = score(Cell(np.ones(5), np.arange(5.0), np.arange(5)), PEARSON, RULE, rng())
    assert undefined["value"] is undefined["null"] is undefined["p"] is undefined["ci_low"] is None


def frame(noise, primitives=("skip", "bigram"), pairs=30, seed=0):
    c = cell(noise, pairs=pairs, seed=seed)
    of_pair = np.array(primitives)[c.pair % len(primitives)]
    columns = {"pair": c.pair, "primitive": of_pair, "kind": "q", "layer": 0, "exact": c.effect}
    rest = dict.fromkeys(("atp_qk", "ig"), c.effect)
    return pd.DataFrame(
        {**columns, "atp": c.estimate, **rest, "graddrop": np.nan, "graddrop_all": np.abs(c.effect)}
    )


def test_rows_are_by_method_and_primitive_and_unsigned_methods_meet_the_size():
    rows = pd.DataFrame(score_rows(frame(1.0), RULE))
    assert set(rows["method"]) == {"atp", "atp_qk", "ig", "graddrop_all"}  # graddrop: one layer
    assert set(rows["primitive"]) == {ALL, "skip", "bigram"}
    of_all = rows[(rows["primitive"] == ALL) & (rows["metric"] == PEARSON)]
    assert of_all.groupby("method")["kind"].apply(list).tolist() == [["q", ALL]] * 4
    of_all = of_all[of_all["kind"] == "q"].set_index("method")
    assert of_all.loc["graddrop_all", "value"] == pytest.approx(1)
    assert of_all.loc["atp", "value"] < 0.9
    assert not rows.duplicated(["method", "kind", "layer", "primitive", "metric"]).any()


def test_work_is_1_for_the_right_order_and_random_order_needs_as_long_as_it_says():
    effect = np.arange(60.0)
    assert work_to_verify(effect, -effect, 5) == 1
    assert work_to_verify(-effect[::-1], effect, 5) == pytest.approx(60 / 5)
    draws = np.random.default_rng(0)
    found = [work_to_verify(draws.permutation(60) + 1.0, effect, 5) for _ in range(2000)]
    (row, *_) = work_rows(frame(0.1, pairs=20, seed=1).assign(pair=0), 5, BOOTSTRAP)
    assert np.mean(found) == pytest.approx((60 + 1) / 6, rel=0.02)
    assert row["random"] == pytest.approx((120 + 1) / 6)


# --- the verdict


def scores(models, noise, pairs=120, draws=100):
    rule = ScoreRule(0.05, 0.025, draws, BOOTSTRAP, 0)
    parts = []
    for i, (model, level) in enumerate(zip(models, noise, strict=True)):
        nodes = frame(level, pairs=pairs, seed=i)
        rows = pd.DataFrame(score_rows(nodes, rule))
        parts.append(rows.assign(subject="toylang/reference", model=model))
    return pd.concat(parts)


def verdict(rows, kind="q", method="atp"):
    found = pd.DataFrame(summary_rows(rows, FIND))
    (row,) = found[(found["method"] == method) & (found["kind"] == kind)].to_dict("records")
    return row


def test_every_word_of_the_verdict_can_be_said():
    five = ["s0", "s1", "s2", "s3", "s4"]
    assert verdict(scores(five, [0.01] * 5))["verdict"] == "found"
    assert verdict(scores(five, [2.0] * 5))["verdict"] == "not found"
    mixed = verdict(scores(five, [0.01, 0.01, 2.0, 0.01, 0.01]))
    assert mixed["verdict"] == "varies between trainings"
    assert mixed["trainings"] == "found 4, not found 1"
    # r lies at the bound itself.
    assert verdict(scores(five[:1], [0.48], pairs=8))["verdict"] == "cannot be told"
    few = scores(five[:1], [0.01], draws=LEAST_DRAWS - 1)
    assert verdict(few)["verdict"] == "cannot be told"


def test_false_negatives_alone_refute_and_the_whole_is_not_found_if_one_kind_is_not():
    nodes = frame(0.0, pairs=200)
    missed = nodes.assign(atp=np.where(nodes["exact"].abs() < 1, 0.0, nodes["exact"]))
    good = nodes.assign(kind="v")
    rule = ScoreRule(0.05, 0.025, 100, BOOTSTRAP, 0)
    rows = pd.DataFrame(score_rows(pd.concat([missed, good]), rule))
    rows = rows.assign(subject="toylang/reference", model="s0")
    of_q = rows[(rows["kind"] == "q") & (rows["primitive"] == ALL) & (rows["method"] == "atp")]
    assert of_q.set_index("metric").loc[PEARSON, "ci_low"] > 0.85
    assert verdict(rows)["verdict"] == "not found"
    assert verdict(rows, "v")["verdict"] == "found"
    assert verdict(rows, ALL)["verdict"] == "not found"
    assert verdict(rows, ALL, "atp_qk")["verdict"] == "found"
