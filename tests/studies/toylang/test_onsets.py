"""Onsets, their medians and comparisons: planted curves with known answers."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from planted_curves import BOOTSTRAP, NO_READOUTS, curve, only, onsets, readout
from zscope.core.errors import DataError
from zscope.studies.toylang.config import ToyOnsetConfig
from zscope.studies.toylang.onsets import compare, ordered, paired, run_onsets, summarise, worst
from zscope.studies.toylang.tables import COMPARISONS, ONSET_SUMMARY, ONSETS
from zscope.toy_language.config import LanguageConfig
from zscope.toy_language.distributions import LABELS
from zscope.toy_language.language import ToyLanguage

# --- one run -------------------------------------------------------------------------------------


def test_behaviour_sets_in_below_a_share_of_the_first_excess():
    config = ToyOnsetConfig(excess=0.1, consecutive=2)
    # .35 is below .1 x 4 once, but not twice in a row before step 40.
    row = only(run_onsets(curve([4, 0.35, 0.5, 0.3, 0.2]), NO_READOUTS, config))
    assert row == {
        "condition": "reference",
        "seed": 0,
        "kind": "behaviour",
        "primitive": "skip",
        "metric": "excess",
        "threshold": 0.4,
        "onset": 40,
        "last_step": 80,
    }
    assert only(run_onsets(curve([4, 3, 2, 1, 0.3]), NO_READOUTS, config))["onset"] is None


def test_rows_in_any_order_and_other_metrics_change_nothing():
    config = ToyOnsetConfig()
    rows = curve([4, 2, 0.3, 0.2, 0.1])
    other = rows.assign(metric="lr", value=0.0, primitive="all")
    train = rows.assign(split="train", value=0.0)
    mixed = pd.concat([other, rows.iloc[::-1], train], ignore_index=True)
    assert run_onsets(mixed, NO_READOUTS, config) == run_onsets(rows, NO_READOUTS, config)


def test_the_share_cannot_be_reached_from_the_last_token_alone():
    """The best predictor that sees one token stays above the default threshold of everything that
    needs more, and half of the first excess would be passed by all."""
    language = ToyLanguage(LanguageConfig())
    tokens = language.sample(2000, np.random.default_rng(0)).tokens
    rows, p = language.rows(tokens)[:, 1:].ravel(), language.distributions.p
    counts = np.zeros((len(language.vocabulary), len(p)))
    np.add.at(counts, (tokens[:, :-1].ravel(), rows), 1)
    seen = counts @ p / np.maximum(counts.sum(1), 1)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        divergence = np.where(p[None] > 0, p[None] * np.log(p[None] / seen[:, None]), 0)
    divergence = np.nansum(divergence, axis=2)  # last token, row
    first = math.log(len(language.vocabulary)) - language.distributions.entropy
    share = {}
    for label in np.unique(language.distributions.label[rows]):
        of_label = counts * (language.distributions.label == label)
        left = np.where(of_label > 0, of_label * np.nan_to_num(divergence), 0)
        share[LABELS[label]] = left.sum() / (of_label * first).sum()
    threshold = ToyOnsetConfig().excess
    for primitive in ("long_range", "induction", "skip", "suppress", "bracket"):
        assert 2 * threshold < share[primitive] < 0.5
    assert share["bigram"] < threshold
    assert share["novel"] < threshold


def test_weights_set_in_at_their_thresholds():
    readouts = pd.concat(
        [
            readout([3.37, 0.5, 0.29, 0.01, 0.01], "direct", "kl_self"),
            readout([9e4, 10, 3, 1, 1], "rules", "rank_all_paths", "beach .. big -> at"),
            readout([9e4, 300, 11, 10, 2], "rules", "rank_all_paths", "lake .. new -> or"),
            readout([0, 4, 4, 5, 6], "induction", "hits"),
            readout([0, 6, 6, 6, 6], "induction", "hits", "L0H3->L1H0"),
            readout([0, 1, 6, 4, 6], "suppression", "below"),
        ]
    )
    found = run_onsets(curve([4, 3, 2, 1, 1]), readouts, ToyOnsetConfig())
    when = {row["primitive"]: row["onset"] for row in found if row["kind"] == "weights"}
    assert when == {"bigram": 20, "skip": 40, "induction": 40, "suppress": None}


# --- over seeds ----------------------------------------------------------------------------------


def test_censored_runs_are_kept_in_the_median():
    row = only(summarise(onsets({"reference": [10, 20, None, None, 30]}), BOOTSTRAP))
    assert (row["median"], row["n"], row["n_censored"]) == (30, 5, 2)
    assert row["ci_low"] == 10
    assert row["ci_high"] is None  # beyond the last step
    row = only(summarise(onsets({"reference": [10, None, None]}), BOOTSTRAP))
    assert row["median"] is None


def how(*conditions):
    return dict.fromkeys(conditions, ("removed", "bigram"))


def test_shift_is_the_paired_median_in_doublings():
    frame = onsets({"reference": [10, 20, 40], "other": [20, 80, 40]})
    row = only(compare(frame, how("other"), "reference", BOOTSTRAP))
    assert row["shift"] == 1
    assert (row["ci_low"], row["ci_high"]) == (0, 2)
    assert (row["verdict"], row["p"], row["n"], row["n_censored"]) == ("unclear", 0.5, 3, 0)


@pytest.mark.parametrize(
    ("n", "factor", "verdict"),
    [
        (2, 2, "unclear"),
        (3, 2, "all later"),
        (5, 0.5, "all earlier"),
        (6, 2, "later"),
        (6, 1, "unclear"),
    ],
)
def test_a_verdict_needs_seeds(n, factor, verdict):
    times = [20 * (i + 1) for i in range(n)]
    frame = onsets({"reference": times, "other": [int(t * factor) for t in times]}, last=1000)
    row = only(compare(frame, how("other"), "reference", BOOTSTRAP))
    assert row["verdict"] == verdict
    if factor != 1:
        assert row["p"] == pytest.approx(2 ** (1 - n))


def test_one_seed_against_takes_the_word_all_away():
    frame = onsets({"reference": [10, 10, 10, 10], "other": [20, 20, 20, 5]})
    assert only(compare(frame, how("other"), "reference", BOOTSTRAP))["verdict"] == "unclear"


def test_holm_counts_every_tested_row():
    """Six seeds decide one row (p = 1/32), and no longer two."""
    times = [10, 12, 14, 16, 18, 20]
    later = [2 * t for t in times]
    frame = pd.concat(
        [
            onsets({"reference": times, "other": later}),
            onsets({"reference": times, "other": later}, "induction"),
        ]
    )
    both = compare(frame, how("other"), "reference", BOOTSTRAP)
    assert [row["verdict"] for row in both] == ["all later"] * 2
    assert [row["p_adjusted"] for row in both] == pytest.approx([2 * binom.pmf(0, 6, 0.5) * 2] * 2)
    # The primitive that was delayed is not tested, and does not count.
    delayed = compare(frame, {"other": ("delayed", "skip")}, "reference", BOOTSTRAP)
    assert {row["primitive"]: row["verdict"] for row in delayed} == {
        "skip": "changed",
        "induction": "later",
    }
    assert [row["p"] for row in delayed if row["primitive"] == "skip"] == [None]


def test_censored_pairs():
    frame = onsets({"reference": [10, 20, None, None], "other": [None, None, 50, None]})
    row = only(compare(frame, how("other"), "reference", BOOTSTRAP))
    # Two later by an unknown size, one earlier, one that says nothing.
    assert (row["shift"], row["n"], row["n_censored"], row["p"]) == (None, 4, 4, 1)
    frame = onsets({"reference": [10, 20, 30], "other": [None, None, None]})
    row = only(compare(frame, how("other"), "reference", BOOTSTRAP))
    assert (row["verdict"], row["shift"], row["ci_low"]) == ("never", None, None)
    # A run that ended before the reference's onset says nothing.
    short = onsets({"other": [None]}, last=5)
    both = pd.concat([onsets({"reference": [10]}), short])
    row = only(compare(both, how("other"), "reference", BOOTSTRAP))
    assert (row["p"], row["verdict"]) == (None, "unclear")
    # Half of the pairs infinite: the finite middle value stands.
    frame = onsets({"reference": [10, 10], "other": [20, None]})
    assert only(compare(frame, how("other"), "reference", BOOTSTRAP))["shift"] == 1


def test_only_shared_seeds_count_and_a_reference_is_needed():
    frame = onsets({"reference": [10, 10, 10], "other": [20]})
    assert only(compare(frame, how("other"), "reference", BOOTSTRAP))["n"] == 1
    assert compare(frame, how("absent"), "reference", BOOTSTRAP) == []
    with pytest.raises(DataError, match="'wrong'"):
        compare(frame, how("other"), "wrong", BOOTSTRAP)


def test_rows_hold_the_columns_of_their_tables():
    frame = onsets({"reference": [10, 20], "other": [20, 30]})
    for table, rows in (
        (ONSET_SUMMARY, summarise(frame, BOOTSTRAP)),
        (COMPARISONS, compare(frame, how("other"), "reference", BOOTSTRAP)),
        (ONSETS, run_onsets(curve([4, 3, 2, 1, 0]), NO_READOUTS, ToyOnsetConfig())),
    ):
        assert all(set(row) == {c.name for c in table.columns} for row in rows)


def test_primitives_in_the_order_of_their_onset():
    summary = pd.DataFrame(
        {
            "kind": "behaviour",
            "primitive": ["induction", "skip", "bigram"],
            "median": [np.nan, 300, 50],
        }
    )
    assert ordered(summary) == ["bigram", "skip", "induction"]


def test_pairs_are_of_shared_seeds_and_infinite_where_one_run_is_censored():
    own = onsets({"a": [200, None, 100, None]}, last=1000)
    reference = onsets({"ref": [100, 100, None, None, 100]}, last=1000)
    found = paired(own, reference)
    assert found["seed"].tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(found["shift"], [1, np.inf, -np.inf, np.nan])


def test_the_worst_of_several_needs_them_all():
    assert worst(pd.Series([1.0, 7.0])) == 7
    assert math.isnan(worst(pd.Series([1.0, None])))


def test_intervals_follow_the_level():
    frame = onsets({"reference": list(range(10, 30))}, last=1000)
    wide, narrow = (
        only(summarise(frame, BOOTSTRAP.model_copy(update={"level": level})))
        for level in (0.99, 0.5)
    )
    assert wide["ci_low"] < narrow["ci_low"] <= narrow["ci_high"] < wide["ci_high"]
    other = frame.assign(condition="other", onset=[3 * (7 * i % 20 + 1) for i in range(20)])
    both = pd.concat([frame, other.astype({"onset": "Int64"})])
    wide, narrow = (
        only(
            compare(both, how("other"), "reference", BOOTSTRAP.model_copy(update={"level": level}))
        )
        for level in (0.99, 0.5)
    )
    assert wide["ci_low"] < narrow["ci_low"] <= narrow["ci_high"] < wide["ci_high"]
