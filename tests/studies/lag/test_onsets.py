"""Planted curves give the onsets, lags, phases and medians that were planted."""

import math

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from zscope.config.base import Bootstrap
from zscope.studies.lag.config import Onset, OnsetConfig
from zscope.studies.lag.onsets import (
    align_onsets,
    describe_run,
    find_onsets,
    find_phases,
    probe_curves,
    relative_onsets,
    summarise_onsets,
    threshold_of,
    training_curves,
)
from zscope.studies.lag.run_config import RunConfig
from zscope.studies.lag.tables import (
    ALIGNMENT,
    CONDITION_ONSETS,
    CONDITION_PHASES,
    CONDITION_RUNS,
    ONSETS,
    SUMMARY,
)
from zscope.tables.write import write_table

CONFIG = OnsetConfig()
BOOTSTRAP = Bootstrap(resamples=200)
STEPS = list(range(0, 1001, 50))
BEST = {
    "first_loss": 0.0,
    "first_accuracy": 1.0,
    "set_mass": 1.0,
    "candidate_loss": 0.0,
    "candidate_accuracy": 1.0,
    "z_gap": 5.0,
}


def config_of(seed=0, **data):
    values = {"k": 4, "n_unique_b": 100, "b_length": 4, **data}
    return RunConfig.model_validate(
        {"seed": seed, "data": values, "training": {"batch_size": 50, "steps": 1000}}
    )


def step_curve(run, metric, onset, before, after):
    """A series that jumps at `onset` (None: never)."""
    return [
        {
            "run": run,
            "source": "training",
            "metric": metric,
            "step": s,
            "value": after if onset is not None and s >= onset else before,
            "ci_low": None,
            "ci_high": None,
        }
        for s in STEPS
    ]


def guesses(run):
    return {
        "first_loss": run["uniform_first_loss"],
        "first_accuracy": 0.0,
        "set_mass": run["chance_set_mass"],
        "candidate_loss": run["log_k"],
        "candidate_accuracy": 1 / run["n_candidates"],
        "z_gap": 0.0,
    }


def tables_of(planted, **data):
    """Runs and curves; `planted` is the onset step of each metric, per seed."""
    runs, curves = [], []
    for seed, onsets in enumerate(planted):
        run = describe_run(f"r{seed}", config_of(seed, **data)) | {"label": "k 4"}
        runs.append(run)
        for metric, step in onsets.items():
            curves += step_curve(run["run"], metric, step, guesses(run)[metric], BEST[metric])
    return pd.DataFrame(curves), pd.DataFrame(runs)


def onsets_of(planted, **data):
    curves, runs = tables_of(planted, **data)
    found = find_onsets(curves, runs, CONFIG)
    return {(o["run"], o["metric"]): o for o in found}


# --- onsets and lag ---------------------------------------------------------------------------


def test_planted_onsets_are_found():
    planted = dict.fromkeys(BEST, 300) | {"set_mass": 150, "z_gap": 600}
    found = onsets_of([planted])
    for metric, step in planted.items():
        row = found["r0", metric]
        assert (row["onset_step"], row["censored"], row["last_step"]) == (step, False, 1000)
        assert row["source"] == "training"
    lag = found["r0", "lag"]
    assert (lag["onset_step"], lag["censored"]) == (450, False)


def test_the_order_of_the_rows_does_not_matter():
    curves, runs = tables_of([{"set_mass": 150, "z_gap": 600}])
    shuffled = curves.sample(frac=1, random_state=0)
    assert find_onsets(shuffled, runs, CONFIG) == find_onsets(curves, runs, CONFIG)


def test_one_evaluation_past_the_threshold_is_no_onset():
    curves, runs = tables_of([{"z_gap": 600}])
    curves.loc[curves["step"] == 200, "value"] = 5.0
    assert find_onsets(curves, runs, CONFIG)[0]["onset_step"] == 600
    one = CONFIG.model_copy(update={"consecutive": 1})
    assert find_onsets(curves, runs, one)[0]["onset_step"] == 200
    curves.loc[curves["step"] == 250, "value"] = 5.0
    assert find_onsets(curves, runs, CONFIG)[0]["onset_step"] == 200


def test_what_never_comes_is_censored_at_the_last_step():
    found = onsets_of([{"set_mass": 150, "z_gap": None}])
    gap, lag = found["r0", "z_gap"], found["r0", "lag"]
    assert (gap["onset_step"], gap["censored"], gap["last_step"]) == (None, True, 1000)
    # The lag is longer than from the onset of set_mass to the end.
    assert (lag["onset_step"], lag["censored"], lag["last_step"]) == (None, True, 850)


def test_a_run_that_never_knew_b_has_no_lag():
    for planted in (
        {"set_mass": None, "z_gap": 600},
        {"set_mass": None, "z_gap": None},
        {"set_mass": 100},
        {"z_gap": 100},
    ):
        assert ("r0", "lag") not in onsets_of([planted])


def test_a_lag_may_be_zero_or_negative():
    assert onsets_of([{"set_mass": 150, "z_gap": 150}])["r0", "lag"]["onset_step"] == 0
    assert onsets_of([{"set_mass": 300, "z_gap": 150}])["r0", "lag"]["onset_step"] == -150


# --- thresholds -------------------------------------------------------------------------------


def test_thresholds_of_every_scale():
    run = describe_run("r", config_of())
    chance = 4 / 36
    assert run["chance_set_mass"] == pytest.approx(chance)
    for rule, metric, wanted in (
        (Onset(above=0.3), "z_gap", 0.3),
        (Onset(below=0.5, scale="log_k"), "candidate_loss", 0.5 * math.log(4)),
        (Onset(below=0.5, scale="uniform"), "first_loss", 0.5 * math.log(36)),
        (Onset(above=0.5, scale="chance"), "set_mass", chance + 0.5 * (1 - chance)),
        (Onset(above=0.2, scale="chance"), "candidate_accuracy", 0.25 + 0.2 * 0.75),
    ):
        threshold, words = threshold_of(rule, metric, run)
        assert threshold == pytest.approx(wanted)
        assert metric in words
        assert (">" if rule.above else "<") in words


def test_a_value_at_its_threshold_is_not_past_it():
    curves, runs = tables_of([{"z_gap": 600}])
    curves.loc[curves["step"] < 600, "value"] = 0.5
    row = find_onsets(curves, runs, CONFIG)[0]
    assert row["onset_step"] == 600
    assert row["rule"] == "z_gap > 0.5 at 2 evaluations in a row"


def test_where_a_guess_is_as_good_as_can_be_nothing_sets_in():
    """K = 1 (log K = 0), and K = the alphabet (the candidates are every first character)."""
    assert onsets_of([{"candidate_loss": 300}], k=1) == {}
    assert onsets_of([{"candidate_accuracy": 300}], k=1) == {}
    curves, runs = tables_of([{"set_mass": 300}], k=36)
    curves["value"] = 1.0 + 1e-12  # a sum of probabilities
    assert find_onsets(curves, runs, CONFIG) == []


# --- levels that mean the same for every K ----------------------------------------------------


def three_phases(k, known, used, task="bz_to_a"):
    """Onsets by metric of a model that knows B from `known` on and uses z from `used` on."""
    run = describe_run("r0", config_of(k=k, task=task)) | {"label": f"k {k}"}
    curves = []
    for metric in ("first_loss", "set_mass", "z_gap"):
        before, best = guesses(run)[metric], BEST[metric]
        middle = {"first_loss": run["log_k"], "set_mass": best, "z_gap": before}[metric]
        if metric == "z_gap" and k == 1:
            continue
        rows = step_curve("r0", metric, used, middle, best)
        curves += [row | {"value": before} if row["step"] < known else row for row in rows]
    found = find_onsets(pd.DataFrame(curves), pd.DataFrame([run]), CONFIG)
    return {row["metric"]: row["onset_step"] for row in found}


@pytest.mark.parametrize("k", [2, 4, 8, 16])
def test_every_k_knows_b_and_uses_z_at_the_planted_steps(k):
    found = three_phases(k, known=150, used=600)
    assert found["set_mass"] == 150
    assert found["z_gap"] == found["first_loss_over_log_k"] == 600
    # Half of a uniform guess's loss is 1.79 nats: up to K = 5 knowing B is enough.
    assert found["first_loss"] == (150 if k < 6 else 600)


def test_with_one_target_only_knowing_b_has_a_level():
    assert three_phases(1, known=150, used=600) == {"set_mass": 150, "first_loss": 150}


def test_without_z_the_loss_never_falls_below_half_of_log_k():
    found = three_phases(4, known=150, used=None, task="b_to_a")
    assert found["set_mass"] == 150
    assert found["first_loss_over_log_k"] is None


def test_an_onset_of_another_metric_says_what_it_reads():
    curves, runs = tables_of([{"first_loss": 300}])
    rows = {row["metric"]: row for row in find_onsets(curves, runs, CONFIG)}
    row = rows["first_loss_over_log_k"]
    assert row["rule"] == "first_loss < 0.5 log K at 2 evaluations in a row"
    assert row["threshold"] == pytest.approx(0.5 * math.log(4))
    assert row["onset_step"] == rows["first_loss"]["onset_step"] == 300


def test_a_probe_has_one_series():
    with pytest.raises(ValidationError, match="random_z has one series"):
        OnsetConfig(probes={"random_z": Onset(above=0.5, of="first_loss")})


def test_chance_of_candidates_that_may_share_a_first_character():
    data = {"k": 50, "unique_first_char": False, "z_length": 3, "n_unique_b": 200, "a_length": 6}
    run = describe_run("r", config_of(**data))
    rng = np.random.default_rng(0)
    drawn = [len(set(rng.integers(36, size=50))) / 36 for _ in range(4000)]
    assert run["chance_set_mass"] == pytest.approx(np.mean(drawn), abs=0.005)


@pytest.mark.parametrize("task", ["bz_to_a", "az_to_b", "b_to_a", "a_to_b"])
def test_a_run_is_described_by_what_it_is(task):
    run = describe_run("r", config_of(task=task))
    ambiguous = task in ("bz_to_a", "b_to_a")
    assert run["n_candidates"] == (4 if ambiguous else 1)
    assert run["log_k"] == pytest.approx(math.log(4) if ambiguous else 0)
    assert run["has_z"] == (task in ("bz_to_a", "az_to_b"))
    assert run["uniform_first_loss"] == pytest.approx(math.log(36))
    assert run["n_facts"] == 400
    assert set(run) == {c.name for c in CONDITION_RUNS.columns}


# --- phases -----------------------------------------------------------------------------------


def phases_of(planted):
    curves, runs = tables_of([planted])
    return [p["phase"] for p in find_phases(curves, find_onsets(curves, runs, CONFIG))]


def test_phases_follow_the_onsets():
    three = phases_of({"set_mass": 150, "z_gap": 600})
    assert three == ["nothing"] * 3 + ["knows_b"] * 9 + ["uses_z"] * 9
    assert phases_of({"set_mass": 150, "z_gap": None}) == ["nothing"] * 3 + ["knows_b"] * 18
    assert phases_of({"set_mass": 150}) == ["nothing"] * 3 + ["knows_b"] * 18
    assert phases_of({"set_mass": None, "z_gap": None}) == ["nothing"] * 21
    assert phases_of({"set_mass": 300, "z_gap": 300}) == ["nothing"] * 6 + ["uses_z"] * 15


def test_without_a_definition_of_knowing_b_there_are_no_phases():
    assert phases_of({"z_gap": 300}) == []


# --- medians over seeds -----------------------------------------------------------------------


def clocks_of(runs):
    """The curves that count examples and epochs: batches of 50, 400 facts."""
    rates = {"examples_seen": 50.0, "epochs_per_fact": 50 / 400}
    return pd.DataFrame(
        {"run": run, "metric": metric, "step": step, "value": rate * step}
        for run in runs["run"]
        for metric, rate in rates.items()
        for step in (0, 1000)
    )


def sweep_onsets(planted):
    """Table lag_onsets of a sweep with one point, and the runs."""
    curves, runs = tables_of(planted)
    onsets = pd.DataFrame(find_onsets(curves, runs, CONFIG)).assign(sweep="s", label="k 4")
    return onsets.astype({"onset_step": "Int64"}), runs


def summary_of(planted, bootstrap=BOOTSTRAP):
    onsets, runs = sweep_onsets(planted)
    rows = summarise_onsets(onsets.assign(condition="c"), clocks_of(runs), bootstrap)
    return {(r["metric"], r["unit"]): r for r in rows}


def test_medians_over_seeds_in_every_unit():
    found = summary_of([{"set_mass": 100, "z_gap": s} for s in (200, 300, 400, 500, 900)])
    gap = found["z_gap", "steps"]
    assert (gap["median"], gap["n"], gap["n_censored"]) == (400, 5, 0)
    assert 200 <= gap["ci_low"] < 400 < gap["ci_high"] <= 900
    assert found["z_gap", "examples"]["median"] == 400 * 50
    assert found["z_gap", "epochs per fact"]["median"] == pytest.approx(400 * 50 / 400)
    assert found["lag", "steps"]["median"] == 300


def test_censored_runs_count_as_longer_than_they_were_seen():
    found = summary_of([{"set_mass": 100, "z_gap": s} for s in (200, 300, 400, None, None)])
    gap = found["z_gap", "steps"]
    assert (gap["median"], gap["n"], gap["n_censored"]) == (400, 5, 2)
    assert gap["ci_high"] is None
    most = summary_of([{"set_mass": 100, "z_gap": s} for s in (200, 300, None, None, None)])
    assert most["z_gap", "steps"]["median"] is None
    assert most["z_gap", "steps"]["n_censored"] == 3
    assert most["set_mass", "steps"]["median"] == 100


def test_the_interval_of_a_median_follows_the_level():
    planted = [{"z_gap": s} for s in (200, 300, 400, 500, 900)]
    ends = [
        (row["ci_low"], row["ci_high"])
        for level in (0.5, 0.99)
        for row in [summary_of(planted, Bootstrap(level=level))["z_gap", "steps"]]
    ]
    assert ends[1][0] < ends[0][0] < ends[0][1] < ends[1][1]


# --- alignment --------------------------------------------------------------------------------


def aligned(planted, level=0.9):
    onsets = relative_onsets(sweep_onsets(planted)[0])
    return onsets, {row["metric"]: row for row in align_onsets(onsets, level)}


def test_onsets_are_aligned_to_the_z_gap_of_their_own_run():
    onsets, found = aligned(
        [
            {"set_mass": 150, "candidate_loss": 600, "z_gap": 600},
            {"set_mass": 100, "candidate_loss": None, "z_gap": 400},
            {"set_mass": 250, "candidate_loss": 350, "z_gap": 300},
            {"set_mass": 50, "candidate_loss": 50, "z_gap": None},
        ]
    )
    times = {
        (row["run"], row["metric"]): (row["after_z_gap"], row["last_after_z_gap"])
        for row in onsets.dropna(subset="last_after_z_gap").to_dict("records")
    }
    assert times == {
        **{(f"r{i}", "z_gap"): (0, 1000 - start) for i, start in enumerate((600, 400, 300))},
        ("r0", "set_mass"): (-450, 400),
        ("r0", "candidate_loss"): (0, 400),
        ("r1", "set_mass"): (-300, 600),
        ("r1", "candidate_loss"): (None, 600),
        ("r2", "set_mass"): (-50, 700),
        ("r2", "candidate_loss"): (50, 700),
    }
    mass, loss = found["set_mass"], found["candidate_loss"]
    assert (mass["median"], mass["ci_low"], mass["ci_high"]) == (-300, -450, -50)
    assert (mass["n"], mass["n_censored"], mass["n_left_out"]) == (3, 0, 1)
    assert (loss["median"], loss["ci_low"], loss["ci_high"]) == (50, 0, None)
    assert (loss["n"], loss["n_censored"], loss["n_left_out"]) == (3, 1, 1)
    assert mass["coverage"] == 0.75  # that of the range of 3: below the level


def test_the_interval_of_an_alignment_follows_the_level():
    planted = [{"set_mass": 50 * (i % 19), "z_gap": 900} for i in range(20)]
    (narrow,), (wide,) = (aligned(planted, level)[1].values() for level in (0.5, 0.95))
    assert (wide["ci_low"], wide["ci_high"]) == (50 * 4 - 900, 50 * 13 - 900)
    assert wide["coverage"] == pytest.approx(0.9586, abs=1e-4)
    assert wide["ci_low"] < narrow["ci_low"] < narrow["ci_high"] < wide["ci_high"]


def test_a_run_at_two_points_of_a_sweep_is_aligned_once():
    onsets, _ = sweep_onsets([{"set_mass": 150, "z_gap": 600}, {"set_mass": 150, "z_gap": None}])
    twice = relative_onsets(pd.concat([onsets, onsets.assign(label="other")]))
    (row,) = align_onsets(twice, 0.95)
    assert (row["n"], row["n_left_out"]) == (1, 1)


def test_without_a_z_gap_nothing_is_aligned():
    for planted in ({"set_mass": 150}, {"set_mass": 150, "z_gap": None}):
        onsets, found = aligned([planted])
        assert onsets["last_after_z_gap"].isna().all()
        assert found == {}


# --- curves -----------------------------------------------------------------------------------


def test_training_curves_are_those_of_one_split():
    metrics = pd.DataFrame(
        [
            {
                "run": "r",
                "step": 0,
                "split": split,
                "metric": "loss",
                "value": value,
                "ci_low": None,
                "ci_high": None,
                "n": 3,
            }
            for split, value in (("train", 1.0), ("held_out", 2.0))
        ]
    )
    assert training_curves(metrics)["value"].tolist() == [1.0]
    assert training_curves(metrics, "held_out")["value"].tolist() == [2.0]


def probe_rows(probe, rows):
    keys = ("step", "metric", "layer", "head", "value")
    return pd.DataFrame(
        [
            {
                "run": "r",
                "seed": 0,
                "probe": probe,
                "ci_low": r[4] - 0.1,
                "ci_high": r[4] + 0.1,
                "n": 5,
                **dict(zip(keys, r, strict=True)),
            }
            for r in rows
        ]
    ).astype({"layer": "Int64", "head": "Int64"})


def test_attention_is_that_of_the_largest_head_above_the_largest_untrained_one():
    curve = probe_curves(
        probe_rows(
            "attention_to_z",
            [
                (0, "attention", 0, 0, 0.2),
                (0, "attention", 1, 1, 0.3),
                (0, "uniform_attention", None, None, 0.25),
                (50, "attention", 0, 0, 0.9),
                (50, "attention", 1, 1, 0.4),
                (50, "uniform_attention", None, None, 0.25),
            ],
        )
    )
    assert curve["step"].tolist() == [0, 50]
    assert curve["value"].tolist() == pytest.approx([0.0, 0.6])
    assert curve["ci_low"].tolist() == pytest.approx([-0.1, 0.5])
    assert set(curve["metric"]) == {"attention_above_untrained"}


def test_the_lens_is_read_at_the_last_layer():
    curve = probe_curves(
        probe_rows(
            "logit_lens",
            [
                (0, "probability_resid_post", 0, None, 0.9),
                (0, "probability_resid_post", 1, None, 0.1),
                (0, "entropy_resid_post", 1, None, 0.7),
            ],
        )
    )
    assert curve["value"].tolist() == [0.1]


def test_a_probe_without_rows_has_no_curve():
    assert probe_curves(probe_rows("random_z", [(0, "z_gap", None, None, 1.0)]).iloc[:0]).empty


def test_rows_fit_their_tables(tmp_path):
    curves, runs = tables_of([{"set_mass": 150, "z_gap": None}, {"set_mass": None, "z_gap": 50}])
    onsets = find_onsets(curves, runs, CONFIG)
    for rows, table in (
        (onsets, CONDITION_ONSETS),
        (find_phases(curves, onsets), CONDITION_PHASES),
        (runs.drop(columns="label"), CONDITION_RUNS),
    ):
        write_table(rows, tmp_path / table.name, table, {})
    of_sweep = pd.DataFrame(onsets).assign(sweep="s", label="k 4").astype({"onset_step": "Int64"})
    of_sweep = relative_onsets(of_sweep)
    summary = summarise_onsets(of_sweep, clocks_of(runs), BOOTSTRAP)
    for rows, table in (
        (of_sweep, ONSETS),
        (pd.DataFrame(summary).assign(sweep="s"), SUMMARY),
        (pd.DataFrame(align_onsets(of_sweep, 0.95)).assign(sweep="s"), ALIGNMENT),
    ):
        assert len(rows)
        write_table(rows, tmp_path / table.name, table, {})
