"""The toy language study asks for the runs of its conditions, and measures those it can."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from zscope.figures.registry import figure_modules
from zscope.studies.config import load
from zscope.studies.toylang.config import ToylangConfig
from zscope.studies.toylang.study import ToylangPlan
from zscope.studies.toylang.tables import ABLATIONS, COMPARISONS, MATRICES, TRAINING
from zscope.toy_language.config import LanguageConfig

ROOT = Path(__file__).parents[3]


def plan_of(**toylang):
    return ToylangPlan(load({"toylang": toylang}).toylang)


def merged(under, over):
    if isinstance(under, dict) and isinstance(over, dict):
        return {**under, **{k: merged(under.get(k), v) for k, v in over.items()}}
    return over


def shipped(*names):
    raw = {}
    for name in names:
        raw = merged(raw, yaml.safe_load((ROOT / "config" / name).read_text()))
    return ToylangPlan(load(raw).toylang)


SMALL = {
    "seeds": [2, 0, 1],
    "dependency": {"removed": ["bigram"], "delayed": ["skip"], "seeds": [1]},
}


def test_every_condition_has_its_runs_by_seed():
    plan = plan_of(**SMALL)
    assert {name: [run.name for run in runs] for name, runs in plan.conditions.items()} == {
        "reference": ["reference-s0", "reference-s1", "reference-s2"],
        "softmax": ["softmax-s0", "softmax-s1", "softmax-s2"],
        "without_bigram": ["without_bigram-s1"],
        "delayed_skip": ["delayed_skip-s1"],
    }
    assert set(plan.runs) == {run.name for runs in plan.conditions.values() for run in runs}


def test_a_condition_differs_from_the_reference_in_one_thing():
    plan = plan_of(**SMALL)
    plain = {name: c.model_dump() for name, c in plan.config.conditions.items()}
    reference = plain.pop("reference")
    changed = {
        name: {key for key in own if own[key] != reference[key]} for name, own in plain.items()
    }
    assert changed == {
        "softmax": {"model"},
        "without_bigram": {"language"},
        "delayed_skip": {"delayed"},
    }
    without = plain["without_bigram"]["language"]
    assert set(reference["language"]["primitives"]) - set(without["primitives"]) == {"bigram"}
    assert {**without, "primitives": reference["language"]["primitives"]} == reference["language"]
    assert plain["delayed_skip"]["delayed"] == {"skip": round(0.3 * 1200)}


def test_the_training_data_of_a_delay_change_at_its_step():
    config = plan_of(**SMALL).config
    stages = config.conditions["delayed_skip"].stages
    assert {s: language.on("skip") for s, language in stages.items()} == {0: False, 360: True}
    assert stages[360] == config.run.language
    assert config.run.stages == {0: config.run.language}


def test_a_delay_lies_within_the_run_however_short_or_long_it_is():
    for delay in (0.001, 0.999):
        config = plan_of(
            run={"training": {"steps": 10, "warmup_steps": 1}}, dependency={"delay": delay}
        ).config
        (step,) = config.conditions["delayed_skip"].delayed.values()
        assert step == (1 if delay < 0.5 else 9)


def test_conditions_keep_what_the_run_delays_itself():
    config = plan_of(
        run={"delayed": {"skip": 7, "bracket": 9}},
        dependency={"removed": ["skip"], "delayed": ["novel"]},
    ).config
    assert config.conditions["without_skip"].delayed == {"bracket": 9}
    assert config.conditions["delayed_novel"].delayed == {"skip": 7, "bracket": 9, "novel": 360}


@pytest.mark.parametrize("given", [{}, {"models": {"softmax": {"attention": "softmax"}}}])
def test_a_model_has_the_shape_of_the_runs_but_for_what_it_says(given):
    config = plan_of(run={"model": {"d_model": 32, "n_layers": 3}}, **given).config
    softmax = config.conditions["softmax"].model
    assert (softmax.d_model, softmax.n_layers, softmax.attention) == (32, 3, "softmax")


def test_weights_are_read_of_polynomials_and_heads_ablated_in_all_models():
    models = {
        "softmax": {"attention": "softmax"},
        "normed": {"rms_norm": True},
        "deep": {"n_layers": 3},
    }
    plan = plan_of(models=models)
    assert list(plan.measured) == ["reference", *models]
    assert list(plan.read) == ["reference", "deep"]
    softmax = plan_of(run={"model": {"attention": "softmax"}}, models={})
    assert list(softmax.measured) == ["reference"]
    assert not softmax.read


def test_what_is_measured_has_the_references_language():
    """Its rules are those of one table."""
    plan = plan_of()
    configs = plan.config.conditions
    assert all(configs[name].language == plan.config.run.language for name in plan.measured)


def test_every_other_condition_is_compared_with_the_reference():
    plan = plan_of(**SMALL)
    assert plan.comparisons == {
        "softmax": ("model", "softmax"),
        "without_bigram": ("removed", "bigram"),
        "delayed_skip": ("delayed", "skip"),
    }
    assert set(plan.comparisons) == set(plan.conditions) - {"reference"}


def test_one_more_seed_or_condition_leaves_the_others():
    before = plan_of(**SMALL)
    dependency = {**SMALL["dependency"], "removed": ["bigram", "novel"], "seeds": [1, 2]}
    after = plan_of(seeds=[0, 1, 2, 3], dependency=dependency)
    assert set(before.runs) < set(after.runs)
    for name, config in before.config.conditions.items():
        assert after.config.conditions[name] == config


def test_a_language_without_a_primitive_keeps_all_else():
    language = LanguageConfig(length=30)
    less = language.without("skip", "novel")
    assert less.primitives == [p for p in language.primitives if p not in ("skip", "novel")]
    assert less.model_dump(exclude={"primitives"}) == language.model_dump(exclude={"primitives"})


def test_every_default_is_valid_by_itself():
    assert ToylangConfig.model_validate(ToylangConfig().model_dump()) == ToylangConfig()


def test_evaluations_and_checkpoints_are_log_spaced_at_first():
    training = ToylangConfig().run.training
    assert training.checkpoint_steps[:6] == (0, 1, 2, 3, 4, 5)
    assert training.checkpoint_steps[-1] == training.eval_steps[-1] == training.steps
    assert set(range(0, training.steps, training.eval_every)) <= set(training.eval_steps)
    assert len(training.checkpoint_steps) == len(set(training.checkpoint_steps)) < 40


@pytest.mark.parametrize("name", ["config.yaml", "paper.yaml", "smoke.yaml"])
def test_runs_of_the_shipped_configs_have_names_fit_for_paths(name):
    plan = shipped(*dict.fromkeys(["config.yaml", name]))
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*-s[0-9]+", run) for run in plan.runs)
    assert "softmax" in plan.conditions
    assert list(plan.read) == ["reference"]


def test_the_laptop_has_the_quick_preset_and_the_paper_the_seeds():
    laptop, paper = shipped("config.yaml"), shipped("config.yaml", "paper.yaml")
    for plan, steps, seeds in ((laptop, 1200, 5), (paper, 2400, 10)):
        assert plan.config.run.training.steps == steps
        for condition in plan.measured:
            assert len(plan.conditions[condition]) == seeds
    primitives = paper.config.run.language.primitives
    assert set(paper.config.dependency.removed) == set(primitives)
    assert set(paper.config.dependency.delayed) == set(primitives)


def test_every_figure_is_drawn_from_the_files_of_all_runs_and_conditions():
    plan = plan_of(**SMALL)
    assert set(plan.drawings) == set(figure_modules("toylang"))
    models = plan.drawings["models"]
    assert models.inputs["training"] == TRAINING.paths(run=plan.runs)
    assert models.inputs["comparisons"] == [COMPARISONS.path]
    assert models.has_intervals
    assert not plan.drawings["degrees"].has_intervals
    assert plan.drawings["ablations"].inputs == {
        "ablations": ABLATIONS.paths(condition=["reference", "softmax"])
    }
    assert plan.drawings["direct"].inputs["matrices"] == MATRICES.paths(condition="reference")
    softmax = plan_of(run={"model": {"attention": "softmax"}}, models={})
    assert softmax.drawings["direct"].inputs["matrices"] == []


def test_planning_imports_nothing_heavy():
    heavy = {"torch", "transformer_lens", "pandas", "numpy", "matplotlib"}
    code = f"import sys; import zscope.studies.toylang.study; print(*{heavy} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == ""
