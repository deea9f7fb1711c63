"""The claims of the toy language study: planted measurements with known verdicts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from planted_curves import BOOTSTRAP, curve, only, onsets, readout
from zscope.studies.toylang.claims import summary_rows
from zscope.studies.toylang.config import ToylangConfig
from zscope.studies.toylang.onsets import compare, summarise
from zscope.studies.toylang.tables import (
    ABLATIONS,
    COMPARISONS,
    DEGREES,
    ONSET_SUMMARY,
    ONSETS,
    PHENOMENA,
    READOUTS,
    SUMMARY,
    TRAINING,
)
from zscope.tables.write import write_table

CONFIG = ToylangConfig()


def find(rows, claim, condition="reference"):
    return only(r for r in rows if (r["claim"], r["condition"]) == (claim, condition))


def test_excess_is_judged_seed_by_seed():
    training = pd.concat(
        [
            curve([4, 2, 0.5, 0.009, last], "all", seed=seed)
            for seed, last in enumerate((0.005, 0.009, 0.02))
        ]
        + [curve([4, 2, 0.5, 0.1, 0.04], "skip", seed=seed) for seed in range(3)]
    )
    rows = summary_rows({TRAINING: training}, CONFIG)
    overall = find(rows, "excess_overall")
    assert overall["text"] == "the excess over the floor is at most 0.01 nats"
    assert (overall["verdict"], overall["n_held"], overall["n"]) == ("partly", 2, 3)
    assert (overall["value"], overall["low"], overall["high"]) == (0.009, 0.005, 0.02)
    assert overall["unit"] == "nats"
    assert overall["measured"] == "median 0.009 (0.005 to 0.02)"
    assert find(rows, "excess_every_primitive")["verdict"] == "yes"
    assert [row["n"] for row in rows] == [3, 3]


def test_a_number_that_is_undefined_on_some_seeds_is_left_out_of_the_median():
    known, missing = ([np.nan, 8], [np.nan, np.nan])
    edges = [readout(e, "window", "edge", seed=i) for i, e in enumerate((known, missing))]
    row = find(summary_rows({READOUTS: pd.concat(edges)}, CONFIG), "window_in_weights")
    assert (row["value"], row["low"], row["high"]) == (8, 8, 8)
    assert (row["verdict"], row["measured"]) == ("partly", "median 8 (8 to 8), undefined in 1")
    row = find(summary_rows({READOUTS: edges[1]}, CONFIG), "window_in_weights")
    assert (row["value"], row["verdict"], row["measured"]) == (None, "no", "undefined")


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
    rows = summary_rows({READOUTS: readouts}, CONFIG)
    verdicts = {
        "bigram_in_weights": ("no", 0.94),
        "top_verb_in_weights": ("yes", 6),
        "skip_rules_first_one_head": ("no", 12),
        "first_triples_true_one_head": ("yes", 1),
        "window_in_weights": ("no", 7),
        "induction_in_weights": ("yes", 6),
        "suppression_in_weights": ("no", 5),
    }
    assert {row["claim"] for row in rows} == set(verdicts)
    for claim, expected in verdicts.items():
        row = find(rows, claim)
        assert (row["verdict"], row["value"]) == expected, claim
        assert row["measured"] == f"{expected[1]:.3g}"


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
    found = summary_rows({ABLATIONS: pd.DataFrame(rows)}, CONFIG)
    row = only(found)
    assert (row["claim"], row["verdict"], row["value"]) == ("ablation_induction", holds, 0.5)


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
    found = summary_rows({PHENOMENA: pd.DataFrame(rows)}, CONFIG)
    assert {row["claim"]: row["verdict"] for row in found} == {
        "suppression_within_window": "yes",
        "suppression_beyond_window": "no",
        "suppression_named_head": "no",
        "suppression_head_order": "no",  # 0.8 over 4 heads may be chance
        "one_wrong_repeat": "no",
        "two_wrong_repeats": "yes",
        "self_repair": "no",
        "path_reuse": "yes",
    }


def test_onsets_are_judged():
    frame = pd.concat(
        [onsets({"reference": [times]}, name) for name, times in (("bigram", 10), ("skip", 20))]
        + [onsets({"reference": [None]}, "induction")]
        + [onsets({"reference": [90]}, "induction").assign(kind="weights")]
    )
    tables = {
        ONSETS: frame,
        ONSET_SUMMARY: pd.DataFrame(summarise(frame, BOOTSTRAP)),
    }
    rows = summary_rows(tables, CONFIG)
    assert find(rows, "bigram_first_induction_last")["verdict"] == "yes"
    assert find(rows, "induction_onset_in_weights")["verdict"] == "no"
    order = find(rows, "onset_order")
    assert order["measured"] == "bigram 10, skip 20, induction never"
    assert (order["verdict"], order["value"], order["n_held"]) == ("described", None, None)


@pytest.mark.parametrize(("n", "verdict"), [(6, "yes"), (5, "unclear")])
def test_models_are_compared_with_a_verdict_only_if_seeds_support_it(n, verdict):
    frame = onsets({"reference": [10] * n, "softmax": [40] * n}, "induction")
    rows = compare(frame, {"softmax": ("model", "softmax")}, "reference", BOOTSTRAP)
    row = only(summary_rows({COMPARISONS: pd.DataFrame(rows)}, CONFIG))
    assert (row["claim"], row["verdict"]) == ("induction_before_model", verdict)
    hint = "; later in all seeds, too few for a test (p = 0.062)" if n == 5 else ""
    assert row["measured"] == f"induction +2.00 doublings (+2.00 to +2.00){hint}"
    assert (row["value"], row["ci_low"], row["ci_high"], row["unit"]) == (2, 2, 2, "doublings")
    assert row["p"] == pytest.approx(2 ** (1 - n))


def test_dependencies_are_listed_without_the_primitive_itself():
    frame = pd.concat(
        [
            onsets({"reference": [10] * 3, "delayed_skip": [40] * 3}, "skip"),
            onsets({"reference": [10] * 3, "delayed_skip": [20] * 3}, "induction"),
        ]
    )
    rows = compare(frame, {"delayed_skip": ("delayed", "skip")}, "reference", BOOTSTRAP)
    row = only(summary_rows({COMPARISONS: pd.DataFrame(rows)}, CONFIG))
    assert row["claim"] == "other_onsets_move"
    assert row["text"] == "other onsets move when skip is delayed"
    assert row["measured"].startswith("all later: induction +1.00")
    assert "skip" not in row["measured"]
    assert (row["verdict"], row["value"], row["unit"]) == ("unclear", 0, "primitives")


def test_all_claims_fit_the_table_and_have_ids_of_their_own(tmp_path):
    frame = onsets({"reference": [10] * 3, "softmax": [40] * 3, "x": [20] * 3}, "induction")
    how = {"softmax": ("model", "softmax"), "x": ("removed", "skip")}
    tables = {
        TRAINING: curve([4, 2, 0.5, 0.009, 0.005], "all"),
        READOUTS: readout([0, 5, 6], "induction", "hits"),
        ABLATIONS: pd.DataFrame(
            [ablation("induction", "L0H3", 0.5), ablation("random", "L0H1", 0)]
        ),
        DEGREES: pd.DataFrame({"condition": ["reference"], "seed": [0], "error": [1e-12]}),
        ONSETS: frame,
        ONSET_SUMMARY: pd.DataFrame(summarise(frame, BOOTSTRAP)),
        COMPARISONS: pd.DataFrame(compare(frame, how, "reference", BOOTSTRAP)),
    }
    rows = summary_rows(tables, CONFIG)
    assert len({(row["condition"], row["claim"]) for row in rows}) == len(rows) > 6
    assert all(row["claim"].isidentifier() and " " in row["text"] for row in rows)
    write_table(rows, tmp_path / "summary.parquet", SUMMARY, {})


def test_tables_without_rows_have_no_claims():
    """As those of the weights are if no model is a polynomial."""
    given = (TRAINING, READOUTS, ABLATIONS, DEGREES, PHENOMENA, ONSETS, ONSET_SUMMARY, COMPARISONS)
    empty = {table: pd.DataFrame(columns=[c.name for c in table.columns]) for table in given}
    assert summary_rows(empty, CONFIG) == []
