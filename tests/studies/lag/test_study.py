"""A configuration asks for exactly the runs that differ, under names that stay."""

import copy
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from zscope.core.errors import ConfigError
from zscope.figures.registry import figure_modules
from zscope.studies.config import load
from zscope.studies.lag import run_config
from zscope.studies.lag.probes.registry import PROBES
from zscope.studies.lag.run_config import RunConfig
from zscope.studies.lag.study import LagPlan, applies

ROOT = Path(__file__).parents[3]
RUN = {"data": {"k": 2, "n_unique_b": 40}, "training": {"steps": 100, "warmup_steps": 10}}


def plan_of(sweeps, run=RUN, **lag):
    raw = {"lag": {"run": run, "sweeps": sweeps, **lag}}
    return LagPlan(load(copy.deepcopy(raw)).lag).check()


def ids(plan, sweep):
    return [r.run for r in plan.sweeps[sweep]]


def merged(under, over):
    if isinstance(under, dict) and isinstance(over, dict):
        return {**under, **{k: merged(under.get(k), v) for k, v in over.items()}}
    return over


def read(*names):
    raw = {}
    for name in names:
        raw = merged(raw, yaml.safe_load((ROOT / "config" / name).read_text()))
    return load(raw)


# --- expansion -----------------------------------------------------------------------------


def test_a_sweep_is_every_combination_of_its_grid_for_every_seed():
    grid = {"data.k": [1, 2], "training.lr": [0.001, 0.002]}
    plan = plan_of({"s": {"grid": grid, "seeds": [3, 5]}})
    found = [
        (r.config.data.k, r.config.training.lr, r.config.seed, r.label) for r in plan.sweeps["s"]
    ]
    assert found == [
        (k, lr, seed, f"k {k}, lr {lr}") for k in (1, 2) for lr in (0.001, 0.002) for seed in (3, 5)
    ]


def test_a_sweep_without_a_grid_is_one_condition():
    plan = plan_of({"s": {"seeds": [0, 1]}})
    assert [r.label for r in plan.sweeps["s"]] == ["all", "all"]
    assert len(plan.conditions) == 1


def test_the_grid_goes_over_the_sweep_and_the_sweep_over_the_run():
    sweep = {"data": {"k": 3, "a_length": 5}, "grid": {"data.k": [4]}, "seeds": [0]}
    (run,) = plan_of({"s": sweep}).sweeps["s"]
    assert (run.config.data.k, run.config.data.a_length) == (4, 5)
    assert run.config.data.n_unique_b == 40
    assert run.config.training.steps == 100


def test_a_run_of_two_sweeps_is_one_run():
    plan = plan_of(
        {
            "a": {"grid": {"data.k": [1, 2]}, "seeds": [0]},
            "b": {"data": {"k": 2}, "seeds": [0, 1]},
        }
    )
    assert len(plan.runs) == 3
    assert ids(plan, "a")[1] == ids(plan, "b")[0]
    assert plan.conditions[plan.sweeps["b"][0].condition] == tuple(ids(plan, "b"))


def test_the_two_designs_meet_where_their_bases_do():
    data = {"n_unique_b": 100, "n_facts": 1000}
    grid = {"data.design": ["fixed_bases", "fixed_facts"], "data.k": [5, 10]}
    plan = plan_of({"s": {"data": data, "grid": grid, "seeds": [0]}})
    bases5, bases10, facts5, facts10 = ids(plan, "s")
    assert bases10 == facts10
    assert bases5 != facts5
    assert len(plan.runs) == 3
    assert len(plan.sweeps["s"]) == 4  # as members of the sweep they stay apart
    assert {r.config.data.n_bases for r in plan.sweeps["s"]} == {100, 200}


def test_conditions_hold_their_runs_by_seed():
    plan = plan_of({"s": {"grid": {"data.k": [1, 2]}, "seeds": [9, 0, 10]}})
    for runs in plan.conditions.values():
        assert [plan.runs[r].seed for r in runs] == [0, 9, 10]


def test_a_null_sweep_is_not_there():
    assert set(plan_of({"a": {"seeds": [0]}, "b": None}).sweeps) == {"a"}


def test_a_null_figure_is_not_drawn():
    figures = {"k_sweep": "a", "tasks": None}
    assert plan_of({"a": {"seeds": [0]}}, figures=figures).figures == {"k_sweep": "a"}


# --- ids -----------------------------------------------------------------------------------

GOLDEN = {
    "default": ({}, "bz_to_a-k10-n1000-z2-L4d128-lr0.001-bs128-4193df-s0"),
    "k 1, seed 7": (
        {"data": {"k": 1}, "seed": 7},
        "bz_to_a-k1-n1000-z2-L4d128-lr0.001-bs128-d87e69-s7",
    ),
    "parity": (
        {"data": {"k": 2, "z_code": "parity", "z_length": 4, "z_order": 3}},
        "bz_to_a-k2-n1000-parity3-L4d128-lr0.001-bs128-216f5e-s0",
    ),
    "no z": ({"data": {"task": "b_to_a"}}, "b_to_a-k10-n1000-L4d128-lr0.001-bs128-d410db-s0"),
    "hot": (
        {"training": {"lr": 0.00003, "batch_size": 32}},
        "bz_to_a-k10-n1000-z2-L4d128-lr3e-05-bs32-c065df-s0",
    ),
}


@pytest.mark.parametrize(("raw", "golden"), GOLDEN.values(), ids=GOLDEN)
def test_ids_stay(raw, golden):
    """A changed id trains every run again: if this fails, that must be what is wanted."""
    assert RunConfig.model_validate(raw).run_id() == golden


def test_ids_of_facts_stay():
    """A changed id trains every run again, as their facts are new files."""
    assert RunConfig().facts_id() == "bz_to_a-k10-n1000-z2-bedfcb-s0"


@pytest.mark.parametrize("name", ["config.yaml", "paper.yaml", "smoke.yaml"])
def test_ids_of_the_shipped_configs_are_unique_and_safe_as_paths(name):
    plan = LagPlan(read(*dict.fromkeys(["config.yaml", name])).lag).check()
    assert plan.runs
    for run, config in plan.runs.items():
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", run)
        assert len(run) < 100
        assert run == f"{config.condition_id()}-s{config.seed}"
    resolved = [repr(c.resolved) for c in plan.runs.values()]
    assert len(set(resolved)) == len(resolved)
    facts = {repr(made): name for name, made in plan.facts.items()}
    assert len(facts) == len(plan.facts) < len(plan.runs)


CHANGES = {
    "data.k": 3,
    "data.a_length": 5,
    "data.z_length": 3,
    "data.alphabet": "abcdefghijklmnop",
    "data.z_alphabet": "01234",
    "data.unique_first_char": False,
    "data.probe_fraction": 0.5,
    "model.n_layers": 3,
    "model.init_std": 0.1,
    "model.mlp_init_std": 0.1,
    "training.lr": 0.0011,
    "training.schedule": "constant",
    "training.checkpoint_every": 100,
    "init_seed": 4,
}


def with_value(key, value):
    raw = value
    for part in reversed(key.split(".")):
        raw = {part: raw}
    return RunConfig.model_validate(raw)


def test_every_value_that_differs_makes_another_condition():
    conditions = [with_value(k, v).condition_id() for k, v in CHANGES.items()]
    assert len({RunConfig().condition_id(), *conditions}) == len(CHANGES) + 1


def test_a_value_that_is_written_out_but_the_default_changes_no_id():
    full = RunConfig.model_validate(RunConfig().model_dump())
    assert full.run_id() == RunConfig().run_id()


@pytest.mark.parametrize(
    ("key", "value"),
    [("data.z_order", 3), ("data.n_facts", 20000), ("model.mlp_init_std", 0.02)],
)
def test_a_key_that_the_run_does_not_use_changes_no_id(key, value):
    assert with_value(key, value).run_id() == RunConfig().run_id()


def test_a_new_key_at_its_default_renames_no_run(monkeypatch):
    before = RunConfig().run_id()
    resolved = RunConfig().resolved
    newer = {**resolved, "training": {**resolved["training"], "dropout": 0.0}}
    defaults = RunConfig().model_dump()
    defaults["training"]["dropout"] = 0.0

    def run_id(dropout):
        run = RunConfig()
        newer["training"]["dropout"] = dropout
        run.__dict__["resolved"] = newer  # what a newer version would resolve to
        return run.run_id()

    monkeypatch.setattr(run_config, "_RUN_DEFAULTS", defaults)
    assert run_id(0.0) == before
    assert run_id(0.1) != before


def test_the_seed_is_in_the_run_and_not_in_the_condition():
    one, two = RunConfig(seed=1), RunConfig(seed=2)
    assert one.condition_id() == two.condition_id()
    assert one.run_id() != two.run_id()


# --- what a change of the config reaches ---------------------------------------------------

SWEEPS = {
    "a": {"grid": {"data.k": [1, 2]}, "seeds": [0, 1]},
    "b": {"data": {"k": 4}, "grid": {"training.lr": [0.001, 0.002]}, "seeds": [0]},
}


def test_one_sweeps_learning_rate_changes_its_runs_alone():
    changed = copy.deepcopy(SWEEPS)
    changed["a"]["training"] = {"lr": 0.003}
    before, after = plan_of(SWEEPS), plan_of(changed)
    assert ids(before, "b") == ids(after, "b")
    assert not set(ids(before, "a")) & set(ids(after, "a"))


def test_one_more_k_or_seed_adds_runs_and_leaves_the_others():
    changed = copy.deepcopy(SWEEPS)
    changed["a"]["grid"]["data.k"] = [1, 2, 5]
    changed["b"]["seeds"] = [0, 1]
    before, after = plan_of(SWEEPS), plan_of(changed)
    assert set(before.runs) < set(after.runs)
    assert len(after.runs) == len(before.runs) + 2 + 2


def test_titles_figures_and_the_order_of_seeds_change_no_run():
    changed = copy.deepcopy(SWEEPS)
    changed["a"].update(title="other", seeds=[1, 0], probes=[])
    after = plan_of(changed, figures={"k_sweep": "a"})
    assert set(plan_of(SWEEPS).runs) == set(after.runs)


# --- probes and figures --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "names"),
    [
        ({}, set(PROBES)),
        ({"k": 1}, {"attention_to_z", "logit_lens"}),
        ({"task": "az_to_b"}, {"attention_to_z", "logit_lens", "random_z"}),
        ({"task": "b_to_a"}, {"logit_lens", "candidate_set"}),
        ({"task": "a_to_b"}, {"logit_lens"}),
    ],
)
def test_a_probe_applies_where_it_means_something(data, names):
    run = RunConfig.model_validate({"data": data})
    assert {p for p in PROBES if applies(p, run)} == names


def test_probes_of_a_condition_are_those_that_any_of_its_sweeps_asks_for():
    sweeps = {
        "a": {"data": {"k": 2}, "seeds": [0], "probes": ["random_z"]},
        "b": {"data": {"k": 2}, "seeds": [1], "probes": ["logit_lens"]},
        "c": {"data": {"k": 3}, "seeds": [1], "probes": []},
        "d": {"data": {"task": "a_to_b"}, "seeds": [1]},
    }
    plan = plan_of(sweeps)
    of = {name: plan.probes[plan.sweeps[name][0].condition] for name in sweeps}
    assert of == {
        "a": ("logit_lens", "random_z"),
        "b": ("logit_lens", "random_z"),
        "c": (),
        "d": ("logit_lens",),
    }


def test_a_probe_that_applies_to_some_of_a_sweeps_runs_is_measured_there():
    grid = {"data.task": ["bz_to_a", "b_to_a"]}
    plan = plan_of({"s": {"grid": grid, "seeds": [0], "probes": ["attention_to_z"]}})
    assert sorted(plan.probes.values()) == [(), ("attention_to_z",)]


def test_a_condition_has_the_figures_of_its_probes():
    plan = plan_of({"s": {"seeds": [0, 1], "probes": ["logit_lens", "random_z"]}})
    (condition,) = plan.conditions
    names = [f"{condition}/{name}" for name in ("dashboard", "logit_lens", "z_dependence")]
    assert list(plan.drawings) == names
    dashboard, lens, dependence = plan.drawings.values()
    assert lens.inputs["probe"] == [f"results/lag/probes/{condition}/logit_lens.parquet"]
    assert dependence.inputs["probe"] == [f"results/lag/probes/{condition}/random_z.parquet"]
    assert [f"results/lag/runs/{condition}-s{seed}/metrics.parquet" for seed in (0, 1)] == (
        dashboard.inputs["metrics"]
    )
    assert dashboard.declared == {"condition": condition}
    assert dashboard.group == condition
    assert plan_of({"s": {"seeds": [0], "probes": []}}).drawings == {}


def test_a_figure_shows_the_sweep_of_its_module_unless_the_config_names_another():
    sweeps = {name: {"seeds": [0], "probes": []} for name in ("tasks", "k_sweep", "mine")}
    assert plan_of(sweeps).figures == {
        "candidate_eval": "k_sweep",
        "k_sweep": "k_sweep",
        "tasks": "tasks",
    }
    chosen = {"k_sweep": "mine", "tasks": None, "linear_contrast": "mine"}
    plan = plan_of(sweeps, figures=chosen)
    assert plan.figures == {
        "candidate_eval": "k_sweep",
        "k_sweep": "mine",
        "linear_contrast": "mine",
    }
    drawing = plan.drawings["linear_contrast"]
    assert drawing.inputs["runs"] == ["results/lag/sweeps/mine/runs.parquet"]
    assert drawing.inputs["linear"] == ["results/lag/linear/losses.parquet"]
    assert drawing.inputs["metrics"] == [
        f"results/lag/runs/{run}/metrics.parquet" for run in ids(plan, "mine")
    ]
    assert drawing.declared == {"sweep": "mine"}


def test_every_figure_is_of_a_sweep_or_of_conditions():
    for name, module in figure_modules("lag").items():
        assert ("SWEEP" in module.constants) != ("PROBES" in module.constants), name
        assert set(module.constants.get("PROBES", PROBES)) <= set(PROBES), name


# --- facts ---------------------------------------------------------------------------------


def test_runs_with_the_same_data_share_their_facts():
    grid = {"training.lr": [0.001, 0.002, 0.004], "training.batch_size": [16, 32]}
    plan = plan_of({"s": {"grid": grid, "seeds": [7]}})
    assert len(plan.runs) == 6
    (facts,) = plan.facts
    assert {plan.facts_of(run) for run in plan.runs} == {facts}
    assert facts.startswith("bz_to_a-k2-n40-z2-")
    assert facts.endswith("-s7")
    assert plan.facts[facts]["seed"] == 7


def test_other_data_or_another_random_seed_have_facts_of_their_own():
    grid = {"data.k": [1, 2], "data.probe_fraction": [0.0, 0.5]}
    assert len(plan_of({"s": {"grid": grid, "seeds": [0, 1]}}).facts) == 8
    run = {**RUN, "data_seed": 5}
    fixed = plan_of({"s": {"seeds": [0, 1]}}, run=run)
    assert len(fixed.runs) == 2
    ((facts, made),) = fixed.facts.items()
    assert facts.endswith("-s5")
    assert made["seed"] == 5
    same = plan_of({"s": {"seeds": [5]}})
    assert list(same.facts) == [facts]


def test_one_more_learning_rate_leaves_the_facts_as_they_are():
    before, after = (
        plan_of({"s": {"grid": {"training.lr": rates}, "seeds": [0]}})
        for rates in ([0.002], [0.001, 0.002])
    )
    assert before.facts == after.facts


def test_facts_of_a_run_that_is_not_there_are_an_error():
    with pytest.raises(ConfigError, match=r"^no run nothing; there are bz_to_a"):
        plan_of({"s": {"seeds": [0]}}).facts_of("nothing")


# --- the shipped configs -------------------------------------------------------------------


def test_the_paper_config_holds_the_protocols_numbers():
    plan = LagPlan(read("config.yaml", "paper.yaml").lag).check()
    for run in plan.runs.values():
        model, training = run.model, run.training
        assert (model.n_layers, model.d_model, model.n_heads, model.d_mlp) == (4, 128, 4, 512)
        assert (training.steps, training.warmup_steps, training.schedule) == (20000, 500, "cosine")
        assert (training.weight_decay, training.grad_clip) == (0.01, 1.0)
        assert (run.data.b_length, run.data.a_length) == (6, 4)
        assert len(run.data.alphabet) == 36
        assert training.checkpoint_every == 200
    k_sweep = [r.config for r in plan.sweeps["k_sweep"]]
    assert {r.data.k for r in k_sweep} == {1, 10, 20, 50, 100}
    assert {r.seed for r in k_sweep} >= set(range(5))
    assert {r.data.n_bases for r in k_sweep if r.data.design == "fixed_bases"} == {1000}
    assert {r.data.n_rows for r in k_sweep if r.data.design == "fixed_facts"} == {10000}
    assert {(r.training.lr, r.training.batch_size) for r in k_sweep} == {(1e-3, 128)}
    assert not any(r.data.unique_first_char for r in k_sweep if r.data.k > 36)
    assert {r.config.data.k for r in plan.sweeps["temperature_sweep"]} == {10}


def test_a_claim_about_a_lag_has_five_seeds():
    laptop = LagPlan(read("config.yaml").lag).check()
    for sweep in ("z_order_sweep", "k_sweep"):
        for run in laptop.sweeps[sweep]:
            assert len(laptop.conditions[run.condition]) >= 5
    paper = LagPlan(read("config.yaml", "paper.yaml").lag).check()
    assert all(len(runs) >= 5 for runs in paper.conditions.values())


def test_the_headline_sweep_varies_the_order_of_the_code_and_nothing_else():
    plan = LagPlan(read("config.yaml").lag).check()
    runs = [r.config for r in plan.sweeps["z_order_sweep"]]
    assert {r.data.z_order for r in runs} == {1, 2, 3, 4}
    assert len({(r.data.k, r.data.n_rows, r.data.n_z) for r in runs}) == 1
    resolved = []
    for r in runs:
        plain = copy.deepcopy(r.resolved)
        del plain["data"]["z_order"], plain["seed"]
        resolved.append(plain)
    assert all(p == resolved[0] for p in resolved)


def test_planning_imports_nothing_heavy():
    code = (
        "import sys; import zscope.studies.lag.study\n"
        "print(*{'torch', 'transformer_lens', 'pandas', 'numpy', 'matplotlib'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == ""
