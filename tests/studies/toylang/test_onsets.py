"""Onsets, their medians and comparisons, and the summary: planted curves with known answers."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from zscope.core.errors import DataError
from zscope.studies.toylang.claims import summary_rows
from zscope.studies.toylang.config import ToylangConfig, ToyOnsetConfig
from zscope.toy_language.config import LanguageConfig
from zscope.studies.toylang.onsets import compare, ordered, run_onsets, summarise
from zscope.studies.toylang.tables import TABLES
from zscope.toy_language.distributions import LABELS
from zscope.toy_language.language import ToyLanguage

BOOTSTRAP = {"level": 0.95, "resamples": 200, "seed": 0}
STEPS = [0, 10, 20, 40, 80]


def curve(values, primitive="skip", condition="reference", seed=0, steps=STEPS):
    return pd.DataFrame(
        {
            "condition": condition,
            "seed": seed,
            "step": steps[: len(values)],
            "split": "held_out",
            "primitive": primitive,
            "metric": "excess",
            "value": values,
        }
    )


def readout(values, name, metric, item="all", n=6, seed=0):
    return pd.DataFrame(
        {
            "condition": "reference",
            "seed": seed,
            "step": STEPS[: len(values)],
            "readout": name,
            "item": item,
            "metric": metric,
            "value": values,
            "n": n,
        }
    )


def only(rows):
    (row,) = rows
    return row


# --- one run -------------------------------------------------------------------------------------


def test_behaviour_sets_in_below_a_share_of_the_first_excess():
    config = ToyOnsetConfig(excess=0.1, consecutive=2)
    # .35 is below .1 x 4 once, but not twice in a row before step 40.
    row = only(run_onsets(curve([4, 0.35, 0.5, 0.3, 0.2]), None, config))
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
    assert only(run_onsets(curve([4, 3, 2, 1, 0.3]), None, config))["onset"] is None


def test_rows_in_any_order_and_other_metrics_change_nothing():
    config = ToyOnsetConfig()
    rows = curve([4, 2, 0.3, 0.2, 0.1])
    other = rows.assign(metric="lr", value=0.0, primitive="all")
    train = rows.assign(split="train", value=0.0)
    mixed = pd.concat([other, rows.iloc[::-1], train], ignore_index=True)
    assert run_onsets(mixed, None, config) == run_onsets(rows, None, config)


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
            readout([np.nan, 0.5, 0.95, 0.96, 0.97], "direct", "r"),
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


def onsets(of_condition, primitive="skip", last=100):
    """A frame of onsets: of each condition those of its seeds, None for never."""
    rows = [
        {
            "condition": condition,
            "seed": seed,
            "kind": "behaviour",
            "primitive": primitive,
            "metric": "excess",
            "threshold": 1.0,
            "onset": onset,
            "last_step": last,
        }
        for condition, times in of_condition.items()
        for seed, onset in enumerate(times)
    ]
    return pd.DataFrame(rows).astype({"onset": "Int64"})


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
    for name, rows in (
        ("toylang_onset_summary", summarise(frame, BOOTSTRAP)),
        ("toylang_comparisons", compare(frame, how("other"), "reference", BOOTSTRAP)),
        ("toylang_onsets", run_onsets(curve([4, 3, 2, 1, 0]), None, ToyOnsetConfig())),
    ):
        assert all(set(row) == {c.name for c in TABLES[name].columns} for row in rows)


def test_primitives_in_the_order_of_their_onset():
    summary = pd.DataFrame(
        {
            "kind": "behaviour",
            "primitive": ["induction", "skip", "bigram"],
            "median": [np.nan, 300, 50],
        }
    )
    assert ordered(summary) == ["bigram", "skip", "induction"]


# --- the summary ---------------------------------------------------------------------------------

CONFIG = ToylangConfig()


def claims(rows, condition="reference"):
    return {row["claim"]: row for row in rows if row["condition"] == condition}


def find(rows, word):
    (row,) = [row for claim, row in claims(rows).items() if word in claim]
    return row


def test_excess_is_judged_seed_by_seed():
    training = pd.concat(
        [
            curve([4, 2, 0.5, 0.009, last], "all", seed=seed)
            for seed, last in enumerate((0.005, 0.009, 0.02))
        ]
        + [curve([4, 2, 0.5, 0.1, 0.04], "skip", seed=seed) for seed in range(3)]
    )
    rows = summary_rows({"toylang_training": training}, CONFIG)
    overall = find(rows, "at most 0.01 nats")
    assert overall["holds"] == "partly: 2 of 3 seeds"
    assert overall["measured"] == "median 0.009 (0.005 to 0.02)"
    assert find(rows, "every primitive")["holds"] == "yes"
    assert [row["n"] for row in rows] == [3, 3]


def test_readouts_are_those_of_the_last_checkpoint():
    readouts = pd.concat(
        [
            readout([np.nan, 0.99, 0.94], "direct", "r", n=30),
            readout([0, 6, 6], "direct", "top1"),
            readout([9e4, 1, 9], "rules", "rank", "a"),
            readout([9e4, 1, 12], "rules", "rank", "b"),
            readout([0, 0.5, 1.0], "rules", "precision_at_10", n=10),
            readout([np.nan, 3, 8], "window", "edge", "a"),
            readout([np.nan, 3, 7], "window", "edge", "b"),
            readout([0, 6, 6], "induction", "hits"),
            readout([0, 6, 1], "induction", "hits", "L0H3->L1H0"),
            readout([0, 6, 5], "suppression", "below"),
        ]
    )
    rows = summary_rows({"toylang_readouts": readouts}, CONFIG)
    verdicts = {
        "have r": ("no", "0.94"),
        "top verb is right": ("yes", "6"),
        "among the first": ("no", "12"),
        "P@10": ("yes", "1"),
        "max_skip": ("no", "7"),
        "matches every object": ("yes", "6"),
        "below the others": ("no", "5"),
    }
    for word, (holds, measured) in verdicts.items():
        row = find(rows, word)
        assert (row["holds"], row["measured"]) == (holds, measured), word


def ablation(chosen_by, heads, value, draw=0, primitive="induction"):
    return {
        "condition": "reference",
        "seed": 0,
        "chosen_by": chosen_by,
        "heads": heads,
        "draw": draw,
        "primitive": primitive,
        "metric": "change",
        "value": value,
    }


@pytest.mark.parametrize(("random", "holds"), [(0.3, "yes"), (0.6, "no")])
def test_named_heads_are_compared_with_random_ones_of_the_same_layers(random, holds):
    rows = [
        ablation("induction", "L0H3+L1H1", 0.5),
        ablation("random", "L0H0+L1H2", random),
        ablation("random", "L0H3+L1H1", 0.9, 1),  # the named ones, drawn by chance
        ablation("random", "L0H0+L0H1", 2.0, 2),  # of other layers
        ablation("random", "L0H0+L1H2", 3.0, primitive="skip"),
    ]
    found = summary_rows({"toylang_ablations": pd.DataFrame(rows)}, CONFIG)
    row = only(found)
    assert row["holds"] == holds
    assert "induction" in row["claim"]


def phenomenon(experiment, case, metric, value, x=None, truth=None, ci_low=None):
    return {
        "condition": "reference",
        "seed": 0,
        "experiment": experiment,
        "case": case,
        "x": x,
        "metric": metric,
        "value": value,
        "ci_low": ci_low,
        "truth": truth,
    }


def test_phenomena_are_judged():
    heads = {"L0H0": (0.0, -0.01), "L0H1": (0.1, -0.02), "L1H0": (1.3, -0.24), "L1H1": (1.5, -0.23)}
    rows = [
        *(
            phenomenon("suppression", f"{case} never", "p_top", value, x=x, truth=truth)
            for case, x, value, truth in (
                ("with", 5.0, 0.01, 0.0),
                ("with", 6.0, 0.04, 0.0),
                ("with", 7.0, 0.5, 0.7),
                ("with", 8.0, 0.7, 0.7),
                *(("without", float(x), 0.0, 0.7) for x in range(5, 9)),
            )
        ),
        *(
            phenomenon("suppression", f"{head} ablated", metric, value)
            for head, pair in heads.items()
            for metric, value in zip(("by_weights", "change"), pair, strict=True)
        ),
        phenomenon("suppression", "named L1H1 ablated", "change", -0.23),
        phenomenon("error_correction", "third occurrence", "fall", 0.4, x=1.0),
        phenomenon("error_correction", "fourth occurrence", "corrects", 0.6, x=2.0),
        phenomenon("error_correction", "L0H1", "repair", 0.02, ci_low=-0.01),
        phenomenon("reuse", "L0H1:keys", "n_primitives", 2.0),
        phenomenon("reuse", "L0H1:values", "n_primitives", 0.0),
    ]
    found = summary_rows({"toylang_phenomena": pd.DataFrame(rows)}, CONFIG)
    for word, holds in {
        "in its window": "yes",
        "beyond its window": "no",
        "carries more of it": "no",
        "rank correlation": "no",  # .8 over 4 heads may be chance
        "one wrong repeat": "no",
        "said twice": "yes",
        "make up for": "no",
        "two primitives": "yes",
    }.items():
        assert find(found, word)["holds"] == holds, word


def test_onsets_are_judged():
    frame = pd.concat(
        [onsets({"reference": [times]}, name) for name, times in (("bigram", 10), ("skip", 20))]
        + [onsets({"reference": [None]}, "induction")]
        + [onsets({"reference": [90]}, "induction").assign(kind="weights")]
    )
    tables = {
        "toylang_onsets": frame,
        "toylang_onset_summary": pd.DataFrame(summarise(frame, BOOTSTRAP)),
    }
    rows = summary_rows(tables, CONFIG)
    assert find(rows, "induction last")["holds"] == "yes"
    assert find(rows, "in the weights when")["holds"] == "no"
    assert find(rows, "order of onset")["measured"] == "bigram 10, skip 20, induction never"


@pytest.mark.parametrize(("n", "holds"), [(6, "yes"), (5, "unclear: later in all seeds")])
def test_models_are_compared_with_a_verdict_only_if_seeds_support_it(n, holds):
    frame = onsets({"reference": [10] * n, "softmax": [40] * n}, "induction")
    rows = compare(frame, {"softmax": ("model", "softmax")}, "reference", BOOTSTRAP)
    row = only(summary_rows({"toylang_comparisons": pd.DataFrame(rows)}, CONFIG))
    assert row["holds"].startswith(holds)
    assert row["measured"] == "induction +2.00 doublings (+2.00 to +2.00)"


def test_dependencies_are_listed_without_the_primitive_itself():
    frame = pd.concat(
        [
            onsets({"reference": [10] * 3, "delayed_skip": [40] * 3}, "skip"),
            onsets({"reference": [10] * 3, "delayed_skip": [20] * 3}, "induction"),
        ]
    )
    rows = compare(frame, {"delayed_skip": ("delayed", "skip")}, "reference", BOOTSTRAP)
    row = only(summary_rows({"toylang_comparisons": pd.DataFrame(rows)}, CONFIG))
    assert row["measured"].startswith("all later: induction +1.00")
    assert "skip" not in row["measured"]
    assert row["holds"] == "unclear"
