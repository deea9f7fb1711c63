"""The toy language study in the workflow: what it runs, what makes what stale, and its results."""

from __future__ import annotations

import math

import pytest

from clones import Clone, Finished, rules_of
from zscope.figures.registry import figure_modules
from zscope.models.checkpoints import CheckpointFile
from zscope.studies.toylang.tables import (
    COMPARISONS,
    DEGREES,
    FLOORS,
    READOUTS,
    SUMMARY,
    TRAINING,
)
from zscope.tables.read import read_table

pytestmark = pytest.mark.slow

OF_TABLES = {"summarise_toylang", "draw_figure"}
LANGUAGE = {"make_toy_language", "measure_toy_floors"}
# The heads of its models are asked too.
READERS = {"read_toy_weights", "ablate_toy_heads", "measure_toy_phenomena"}
RUNS = {
    *("reference-s0", "reference-s1", "softmax-s0", "softmax-s1"),
    *("without_skip-s0", "delayed_induction-s0"),
}


def figures(plan: Finished) -> set[str]:
    """The figures of the study that a plan draws."""
    own = "study=toylang, figure="
    drawn = {w for r, w in plan.jobs if r == "draw_figure"}
    return {w.removeprefix(own) for w in drawn if w.startswith(own)}


# --- what is run ----------------------------------------------------------------------------------


def test_the_study_alone_trains_its_runs_and_reads_polynomials_only(fresh: Clone) -> None:
    plan = fresh.plan("toylang")
    assert plan.rules == {*LANGUAGE, "train_toy_run", *READERS, *OF_TABLES}
    assert {w for r, w in plan.jobs if r == "train_toy_run"} == {f"run={run}" for run in RUNS}
    measured = {(r, w) for r, w in plan.jobs if r in READERS}
    assert measured == {
        ("read_toy_weights", "condition=reference"),
        *{
            (rule, f"condition={condition}")
            for rule in ("ablate_toy_heads", "measure_toy_phenomena")
            for condition in ("reference", "softmax")
        },
    }
    assert figures(plan) == set(figure_modules("toylang"))


def test_null_leaves_the_study_out(fresh: Clone) -> None:
    (fresh.code / "config/without.yaml").write_text("toylang: null\n")
    plan = fresh.plan(config="without")
    assert not {*LANGUAGE, "train_toy_run", "summarise_toylang"} & plan.rules
    assert not figures(plan)
    assert {"train_run", "train_tiny_model"} <= plan.rules


def test_a_study_without_polynomials_reads_no_weights(fresh: Clone) -> None:
    (fresh.code / "config/softmax.yaml").write_text(
        "lag: null\ncrosslingual: null\n"
        "toylang:\n  run: {model: {attention: softmax, rms_norm: true}}\n"
    )
    plan = fresh.plan(config="softmax")
    assert "read_toy_weights" not in plan.rules
    assert {"ablate_toy_heads", *OF_TABLES} <= plan.rules


def test_one_figure_touches_only_its_ancestors(fresh: Clone) -> None:
    plan = fresh.plan("results/figures/toylang/floors.svg")
    assert plan.rules == {"measure_toy_floors", "draw_figure"}
    plan = fresh.plan("results/figures/toylang/ablations.svg")
    assert plan.rules == {
        *("make_toy_language", "train_toy_run", "ablate_toy_heads", "draw_figure")
    }
    trained = {w for r, w in plan.jobs if r == "train_toy_run"}
    assert trained == {f"run={run}" for run in RUNS if run.startswith(("reference", "softmax"))}


def test_unknown_names_say_what_there_is(fresh: Clone) -> None:
    for target, says in {
        "results/figures/toylang/nonsense.svg": "no figure nonsense",
        "results/toylang/runs/reference-s9/training.parquet": "no run reference-s9",
        "results/toylang/conditions/softmax/readouts.parquet": "no measured condition softmax",
    }.items():
        done = fresh.snakemake(target, "--dry-run")
        assert done.status != 0
        assert says in done.output
        assert "there are " in done.output


# --- what is stale --------------------------------------------------------------------------------


def test_editing_a_figure_redraws_that_figure_only(finished: Clone) -> None:
    finished.append("lib/zscope/studies/toylang/figures/floors.py", "\nEDITED = 1\n")
    assert finished.plan().jobs == {("draw_figure", "study=toylang, figure=floors")}


@pytest.mark.parametrize(
    ("file", "rules"),
    [
        ("lib/zscope/studies/toylang/readouts/degrees.py", {"read_toy_weights"}),
        ("lib/zscope/studies/toylang/phenomena/reuse.py", {"measure_toy_phenomena"}),
        ("lib/zscope/studies/toylang/onsets.py", set()),
    ],
)
def test_editing_a_measurement_runs_it_and_what_depends_on_it(
    finished: Clone, file: str, rules: set[str]
) -> None:
    finished.append(file, "\nEDITED = 1\n")
    assert finished.plan().rules == rules | OF_TABLES


def test_editing_the_readouts_trains_nothing(finished: Clone) -> None:
    finished.edit("config/smoke.yaml", "{top: 20,", "{top: 25,")
    plan = finished.plan()
    assert "read_toy_weights" in plan.rules
    assert not {"train_toy_run", *LANGUAGE} & plan.rules


def test_one_more_seed_trains_only_the_new_runs(finished: Clone) -> None:
    finished.edit(
        "config/smoke.yaml", "  dependency: {removed", "  seeds: [0, 1, 7]\n  dependency: {removed"
    )
    finished.edit(
        "config/smoke.yaml",
        "checkpoints_per_doubling: 1\n  seeds: [0, 1]\n",
        "checkpoints_per_doubling: 1\n",
    )
    plan = finished.plan("toylang")
    trained = {w for r, w in plan.jobs if r == "train_toy_run"}
    assert trained == {"run=reference-s7", "run=softmax-s7"}
    assert not LANGUAGE & plan.rules


def test_editing_the_language_model_of_another_study_reaches_nothing_here(finished: Clone) -> None:
    finished.append("lib/zscope/models/transformer.py", "\nEDITED = 1\n")
    plan = finished.plan()
    assert "train_run" in plan.rules
    assert not {"train_toy_run", *READERS, "summarise_toylang"} & plan.rules
    assert not figures(plan)


def test_editing_the_tensor_transformer_reaches_nothing_elsewhere(finished: Clone) -> None:
    finished.append("lib/zscope/models/tensor_transformer.py", "\nEDITED = 1\n")
    plan = finished.plan()
    # Its models are what the components study asks.
    of_components = plan.rules & rules_of("components")
    assert {"measure_attribution", "score_toy_dictionaries", "decompose_toy_model"} < of_components
    assert "score_planted_dictionaries" not in of_components
    # The heads of this config are of other models.
    assert plan.rules - of_components == {"train_toy_run", *READERS, *OF_TABLES}


def test_another_level_of_intervals_leaves_the_language_and_its_readouts(finished: Clone) -> None:
    """But trainings run anew: their table has the intervals of every evaluation."""
    finished.edit("config/smoke.yaml", "  resamples: 100\n", "  resamples: 100\n  level: 0.8\n")
    plan = finished.plan("results/toylang/floors.parquet", "results/toylang/rules.parquet")
    assert plan.rules == {"measure_toy_floors"}
    assert "train_toy_run" in finished.plan("results/toylang/summary.parquet").rules


# --- what came out --------------------------------------------------------------------------------


def test_the_runs_of_a_language_start_from_the_same_excess(finished: Clone) -> None:
    """An untrained model is uniform, whatever its seed and kind, and the sequences are shared."""
    first = {}
    for run in RUNS:
        path = finished.folder / f"results/toylang/runs/{run}/training.parquet"
        table = read_table(path, TRAINING)
        rows = table[(table["step"] == 0) & (table["metric"] == "excess")]
        first[run] = rows.set_index("primitive")["value"].to_dict()
        assert set(table["condition"] + "-s" + table["seed"].astype(str)) == {run}
    reference = first["reference-s0"]
    assert 1 < reference["all"] < math.log(65)
    for run, values in first.items():
        if run == "without_skip-s0":
            assert "skip" not in values
        else:
            assert values == pytest.approx(reference, abs=1e-5), run


def test_checkpoints_are_those_of_the_config(finished: Clone) -> None:
    for run in RUNS:
        file = CheckpointFile(
            finished.folder / f"results/toylang/runs/{run}/checkpoints.safetensors"
        )
        assert file.steps == (0, 1, 2, 4, 8, 16, 20)
        assert file.shape["d_model"] == 16
        assert (file.shape["attention"] == "softmax") == run.startswith("softmax")


def test_readouts_are_of_every_checkpoint_and_matrices_of_the_last_model(finished: Clone) -> None:
    folder = finished.folder / "results/toylang/conditions/reference"
    readouts = read_table(folder / "readouts.parquet", READOUTS)
    assert set(readouts["step"]) == {0, 1, 2, 4, 8, 16, 20}
    degrees = read_table(folder / "degrees.parquet", DEGREES)
    for table in (readouts, degrees):
        assert set(table["seed"]) == {0, 1}
    assert degrees["error"].max() < 1e-8


def test_the_floor_is_met_by_the_languages_own_samples(finished: Clone) -> None:
    floors = read_table(finished.folder / "results/toylang/floors.parquet", FLOORS)
    gap = floors[floors["metric"] == "gap"]
    assert len(gap) > 5
    assert (gap["value"].abs() <= 4 * gap["se"] + 1e-9).all()


def test_every_condition_is_compared_with_the_reference(finished: Clone) -> None:
    folder = finished.folder / "results/toylang"
    compared = read_table(folder / "comparisons.parquet", COMPARISONS)
    assert set(zip(compared["condition"], compared["how"], compared["changed"], strict=True)) == {
        ("softmax", "model", "softmax"),
        ("without_skip", "removed", "skip"),
        ("delayed_induction", "delayed", "induction"),
    }
    summary = read_table(folder / "summary.parquet", SUMMARY)
    lines = (folder / "summary.csv").read_text().splitlines()
    assert lines[0] == ",".join(column.name for column in SUMMARY.columns)
    assert set(summary["condition"]) >= {"reference", "softmax"}
