"""Exactly what is stale reruns: dry runs of edited copies of the code over finished results."""

from __future__ import annotations

import re

import pytest

from clones import Clone, Finished, table_at
from zscope.studies.registry import TITLES

pytestmark = pytest.mark.slow

# Rules of figures and pages, which say the level.
SHOW_INTERVALS = {"draw_figure", "make_prompt_page", "make_head_map"}
AFTER_PROBES = {"summarise_condition", "summarise_sweep", "draw_figure"}
AFTER_TRAINING = {"measure_probe", *AFTER_PROBES}


def figures_of(plan: Finished, study: str) -> set[str]:
    start = f"study={study}, figure="
    return {w.removeprefix(start) for r, w in plan.jobs if r == "draw_figure" and start in w}


def test_finished_run_has_nothing_to_do(finished: Clone) -> None:
    assert finished.plan().jobs == set()


def test_editing_a_probe_reruns_that_probe_and_its_dependants_only(finished: Clone) -> None:
    finished.append("lib/zscope/studies/lag/probes/logit_lens.py", "\nEDITED = 1\n")
    plan = finished.plan()
    assert plan.rules == AFTER_PROBES | {"measure_probe"}
    probed = {wildcards for rule, wildcards in plan.jobs if rule == "measure_probe"}
    assert probed
    assert all(w.endswith("probe=logit_lens") for w in probed)
    assert any(figure.endswith("/logit_lens") for figure in figures_of(plan, "lag"))


def test_editing_a_detector_reruns_that_detector_and_what_reads_it_only(finished: Clone) -> None:
    finished.append("lib/zscope/studies/heads/detectors/induction.py", "\nEDITED = 1\n")
    plan = finished.plan()
    assert plan.rules == {
        *("measure_detector", "score_heads", "ablate_heads", "judge_heads", "summarise_heads"),
        *("measure_head_parts", "measure_head_onsets", "summarise_head_onsets"),
        *("run_prompts", "summarise_prompts", "map_heads", "make_prompt_page", "make_head_map"),
        "draw_figure",
    }
    measured = {wildcards for rule, wildcards in plan.jobs if rule == "measure_detector"}
    assert measured
    assert all(w.endswith("detector=induction") for w in measured)
    assert figures_of(plan, "heads")
    assert not figures_of(plan, "lag")


@pytest.mark.parametrize(
    ("file", "rules"),
    [
        ("studies/heads/pages/ablation_page.py", {"make_prompt_page"}),
        ("studies/heads/pages/assets/ablations.js", {"make_prompt_page"}),
        ("studies/heads/pages/assets/head_map.js", {"make_head_map"}),
        ("pages/assets/page.css", {"make_prompt_page", "make_head_map", "make_layer_page"}),
        (
            "studies/heads/pages/condition_summary.py",
            {"summarise_prompts", "make_prompt_page", "draw_figure"},
        ),
    ],
)
def test_editing_a_page_makes_that_page_again_and_nothing_else(
    finished: Clone, file: str, rules: set[str]
) -> None:
    edit = "\nEDITED = 1\n" if file.endswith(".py") else "\n/* edited */\n"
    finished.append(f"lib/zscope/{file}", edit)
    assert finished.plan().rules == rules


def test_editing_the_prompts_of_a_source_leaves_its_scores_and_ablations(finished: Clone) -> None:
    finished.append("lib/zscope/studies/heads/prompted/lag.py", "\nEDITED = 1\n")
    plan = finished.plan()
    assert plan.rules == {
        *("run_prompts", "summarise_prompts", "make_prompt_page", "make_head_map"),
        "draw_figure",
    }
    assert {w for r, w in plan.jobs if r == "run_prompts"} == {
        "subject=lag-z_order_sweep, prompts=sequences"
    }


def test_editing_a_figure_redraws_that_figure_only(finished: Clone) -> None:
    finished.append("lib/zscope/studies/lag/figures/k_sweep.py", "\nEDITED = 1\n")
    assert finished.plan().jobs == {("draw_figure", "study=lag, figure=k_sweep")}


def test_editing_the_style_redraws_every_figure_and_nothing_else(finished: Clone) -> None:
    finished.append("lib/zscope/figures/style.py", "\nEDITED = 1\n")
    plan = finished.plan()
    assert plan.rules == {"draw_figure"}
    assert all(figures_of(plan, study) for study in TITLES)


@pytest.mark.parametrize(
    "file",
    [
        "lib/zscope/training.py",
        "lib/zscope/studies/lag/probes/measuring.py",
        "workflow/scripts/lag/train_run.py",
        "lib/zscope/figures/style.py",
        "lib/zscope/studies/lag/config.py",
    ],
)
def test_a_comment_reruns_nothing(finished: Clone, file: str) -> None:
    finished.append(file, "\n\n# A comment.\n")
    assert finished.plan().jobs == set()


def test_touching_a_script_reruns_nothing(finished: Clone) -> None:
    for script in (finished.code / "workflow/scripts").rglob("*.py"):
        script.touch()
    assert finished.plan().jobs == set()


def test_editing_the_training_loop_retrains_everything(finished: Clone) -> None:
    finished.edit("lib/zscope/training.py", "LONGEST_STRETCH = 100", "LONGEST_STRETCH = 50")
    assert "train_tiny_model" in finished.plan("crosslingual").rules
    assert "train_toy_run" in finished.plan("toylang").rules
    plan = finished.plan("lag")
    assert plan.rules == {"train_run", *AFTER_TRAINING}
    assert "make_facts" not in plan.rules


def test_changing_the_learning_rate_of_a_sweep_retrains_that_sweep_only(finished: Clone) -> None:
    finished.edit(
        "config/smoke.yaml",
        "data: {n_unique_b: 20, n_facts: 80}",
        "data: {n_unique_b: 20, n_facts: 80}\n      training: {lr: 5.0e-3}",
    )
    plan = finished.plan()
    trained = {w for rule, w in plan.jobs if rule == "train_run"}
    assert len(trained) == 3
    assert all("lr0.005" in w for w in trained)
    drawn = {figure for figure in figures_of(plan, "lag") if "/" not in figure}
    assert drawn == {"k_sweep", "candidate_eval"}  # both show this sweep


def test_adding_a_k_trains_only_the_new_runs(finished: Clone) -> None:
    finished.edit("config/smoke.yaml", "data.k: [1, 4]", "data.k: [1, 2, 4]")
    plan = finished.plan()
    trained = {w for rule, w in plan.jobs if rule == "train_run"}
    assert len(trained) == 2  # one under each design
    assert all("-k2-" in w for w in trained)


def test_adding_a_seed_trains_only_the_new_run(finished: Clone) -> None:
    finished.edit("config/smoke.yaml", "seeds: [0, 1]", "seeds: [0, 1, 2]")
    trained = {w for rule, w in finished.plan().jobs if rule == "train_run"}
    assert len(trained) == 1
    assert all(w.endswith("-s2") for w in trained)


def test_another_level_makes_stale_what_has_an_interval_and_nothing_else(
    finished: Clone,
) -> None:
    """What is made from a stale table is remade too, for that reason alone."""
    finished.edit("config/smoke.yaml", "bootstrap:\n", "bootstrap:\n  level: 0.9\n")
    planned = set()
    for rule, block in finished.plan().blocks:
        outputs = re.search(r"^ +output: (.*)$", block, re.M)
        paths = outputs[1].split(", ") if outputs else []
        planned.update(paths)
        if "Params have changed" in block and rule not in SHOW_INTERVALS:
            tables = [table for path in paths if (table := table_at(path))]
            assert any(table.has_interval for table in tables), (rule, paths)
    made = [p.relative_to(finished.folder) for p in finished.folder.glob("results/**/*.parquet")]
    with_interval = {str(p) for p in made if (t := table_at(str(p))) and t.has_interval}
    assert with_interval
    assert with_interval <= planned


def test_changing_an_onset_trains_and_probes_nothing(finished: Clone) -> None:
    finished.edit("config/smoke.yaml", "lag:\n", "lag:\n  onset: {consecutive: 3}\n")
    assert finished.plan().rules == AFTER_PROBES


def test_one_figure_touches_only_its_ancestors(fresh: Clone) -> None:
    plan = fresh.plan("results/figures/lag/tasks.svg")
    assert plan.rules == {
        *("make_facts", "train_run", "summarise_condition", "summarise_sweep"),
        "draw_figure",
    }
    trained = {w for rule, w in plan.jobs if rule == "train_run"}
    assert len(trained) == 4
    assert not any("parity" in w for w in trained)


def test_one_condition_figure_needs_that_condition_only(finished: Clone, fresh: Clone) -> None:
    paths = (finished.folder / "results/figures/lag").glob("*/logit_lens.svg")
    figure = next(iter(sorted(paths))).relative_to(finished.folder)
    plan = fresh.plan(str(figure))
    condition = figure.parent.name
    assert plan.rules == {
        *("make_facts", "train_run", "measure_probe", "summarise_condition"),
        "draw_figure",
    }
    assert all(condition in w for rule, w in plan.jobs if rule != "make_facts")


# What hangs on a job of the cross-lingual study.
VERDICTS = {"summarise_model", "summarise_verdicts", "draw_figure"}
AFTER_PATCHING = {"summarise_patching", *VERDICTS}


def test_editing_an_experiment_reruns_it_and_its_dependants_only(finished: Clone) -> None:
    finished.append(
        "lib/zscope/studies/crosslingual/patching/patched_generation.py", "\nEDITED = 1\n"
    )
    plan = finished.plan()
    assert plan.rules == {"patch_layer", *AFTER_PATCHING}
    assert figures_of(plan, "crosslingual") == {
        "patching",
        "patching_grid",
        "necessity",
        "null_draws",
        "dashboard",
    }


def test_the_experiments_that_read_activations_do_not_patch(finished: Clone) -> None:
    finished.edit("config/smoke.yaml", "    permutations: 40", "    permutations: 50")
    plan = finished.plan()
    assert plan.rules == {"fit_bridge", *VERDICTS}
    assert figures_of(plan, "crosslingual") == {"bridge", "dashboard"}


def test_another_rule_of_the_verdict_measures_nothing_again(finished: Clone) -> None:
    finished.edit(
        "config/smoke.yaml", "crosslingual:\n", "crosslingual:\n  verdict: {alpha: 0.01}\n"
    )
    assert finished.plan().rules == VERDICTS


def test_a_lower_gate_trains_again_but_measures_what_is_not_new(finished: Clone) -> None:
    """The training job is the gate's: its weights come out the same."""
    finished.edit("config/smoke.yaml", "gate: 0.0", "gate: 0.001")
    plan = finished.plan("crosslingual")
    assert {w for r, w in plan.jobs if r == "train_tiny_model"} == {"model=tiny-s0"}
    assert not plan.rules & {"make_problems", "recover_planted", "train_run"}


def test_another_model_seed_leaves_the_other_models_alone(finished: Clone) -> None:
    finished.edit(
        "config/smoke.yaml", "crosslingual:\n  seeds: [0]", "crosslingual:\n  seeds: [0, 2]"
    )
    plan = finished.plan("crosslingual")
    models = {w for r, w in plan.jobs if "model=" in w}
    assert models
    assert all("model=tiny-s2" in w for w in models)


def test_a_new_column_of_one_study_leaves_the_others_as_they_are(finished: Clone) -> None:
    finished.edit("lib/zscope/studies/crosslingual/tables.py", "the right answer", "the answer")
    plan = finished.plan()
    assert {"make_problems", "train_tiny_model"} <= plan.rules
    assert not plan.rules & {"make_facts", "train_run", *AFTER_TRAINING} - {"draw_figure"}
    assert not figures_of(plan, "lag")


def test_editing_one_of_its_figures_redraws_that_one(finished: Clone) -> None:
    finished.append("lib/zscope/studies/crosslingual/figures/bridge.py", "\nEDITED = 1\n")
    plan = finished.plan()
    assert plan.rules == {"draw_figure"}
    assert "bridge" in figures_of(plan, "crosslingual")
    assert len(figures_of(plan, "crosslingual")) <= 2
