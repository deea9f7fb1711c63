"""A run of the study: its steps are the textbook's, and a kill changes nothing but the clock."""

import importlib.util
import itertools
import math
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from zscope.config.base import Bootstrap
from zscope.core.provenance import derive_seed
from zscope.models.checkpoints import CheckpointFile, load_tensors
from zscope.studies.lag.evaluation import EvaluationSet, evaluation_sets
from zscope.studies.lag.facts import encode, make_facts
from zscope.studies.lag.run_config import RunConfig
from zscope.studies.lag.tables import FACTS, TIMING
from zscope.studies.lag.training import SequenceBatches, build_model, target_loss, train_run
from zscope.tables.read import read_table
from zscope.tables.write import write_table
from zscope.training import ResumeFolder

ROOT = Path(__file__).parents[3]
CPU = torch.device("cpu")
BOOTSTRAP = Bootstrap(resamples=20)
LAG = {
    "data": {
        "n_unique_b": 8,
        "k": 2,
        "b_length": 2,
        "a_length": 2,
        "z_length": 2,
        "alphabet": "abcdef",
        "z_code": "parity",
        "z_order": 1,
    },
    "model": {"n_layers": 2, "d_model": 16, "n_heads": 2, "d_mlp": 24, "init_std": 0.1},
    "training": {
        "lr": 3e-3,
        "batch_size": 12,
        "steps": 60,
        "warmup_steps": 5,
        "eval_every": 10,
        "evals_per_doubling": 0,
        "eval_examples": 20,
        "checkpoint_every": 15,
        "weight_decay": 0.1,
    },
}


def lag_config(seed=3, **changes):
    values = {section: {**values, **changes.get(section, {})} for section, values in LAG.items()}
    return RunConfig(seed=seed, **values)


def lag_data(config):
    return encode(make_facts(config.data, 0), config.data)


def lag_train(config, folder, key="key"):
    return train_run("run", config, lag_data(config), ResumeFolder(folder, key), CPU, BOOTSTRAP)


def weights_of(trained):
    return {step: load_tensors(path)[0] for step, path in trained.checkpoints.items()}


def assert_same_weights(ours, wanted):
    assert ours.keys() == wanted.keys()
    for name in ours:
        assert torch.equal(ours[name], wanted[name]), name


class Killed(Exception):  # noqa: N818
    """What stands for a kill."""


# --- its steps --------------------------------------------------------------------------------


def slow_adamw(parameters, gradients, state, lr, config):
    """Loshchilov and Hutter 2019, algorithm 2, parameter by parameter."""
    state["t"] = t = state.get("t", 0) + 1
    for name, p in parameters.items():
        g = gradients[name]
        m, v = state.get(name, (torch.zeros_like(p), torch.zeros_like(p)))
        m = config.beta1 * m + (1 - config.beta1) * g
        v = config.beta2 * v + (1 - config.beta2) * g * g
        state[name] = (m, v)
        update = (m / (1 - config.beta1**t)) / ((v / (1 - config.beta2**t)).sqrt() + 1e-8)
        parameters[name] = p - lr * config.weight_decay * p - lr * update
    return parameters


def test_every_step_is_that_of_a_slow_trainer(tmp_path):
    """In float64: AdamW blows the rounding of gradients that are zero in theory up to its step."""
    config = lag_config(training={"checkpoint_every": 1, "steps": 25, "grad_clip": 0.05})
    data, c = lag_data(config), config.training
    torch.set_default_dtype(torch.float64)
    try:
        ours = weights_of(lag_train(config, tmp_path))
        model = build_model(config, data)
        parameters, state, start = ours[0], {}, data.layout.target.start
        order = np.random.Generator(np.random.PCG64(derive_seed(config.seed, "order")))
        stream = np.concatenate([order.permutation(data.rows("train")) for _ in range(10)])
        for step in range(c.steps):
            rows = stream[step * c.batch_size : (step + 1) * c.batch_size]
            model.load_state_dict(parameters)
            total = torch.zeros(())
            for tokens in torch.from_numpy(data.tokens[rows]):
                log_probs = model(tokens[None])[0].log_softmax(-1)
                for position in range(start, data.layout.length):
                    total = total - log_probs[position - 1, tokens[position]]
            loss = total / (len(rows) * (data.layout.length - start))
            names = [name for name, _ in model.named_parameters()]
            gradients = dict(
                zip(names, torch.autograd.grad(loss, list(model.parameters())), strict=True)
            )
            norm = math.sqrt(sum(float(g.square().sum()) for g in gradients.values()))
            assert norm > c.grad_clip  # or the clipping is not tested
            gradients = {n: g * (c.grad_clip / (norm + 1e-6)) for n, g in gradients.items()}
            warm = (step + 1) / c.warmup_steps
            done = (step + 1 - c.warmup_steps) / (c.steps - c.warmup_steps)
            factor = warm if step < c.warmup_steps else (1 + math.cos(math.pi * done)) / 2
            parameters = slow_adamw(parameters, gradients, state, c.lr * factor, c)
            for name, wanted in parameters.items():
                found = ours[step + 1][name]
                torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-9, msg=name)
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_learning_rate_that_is_reported_is_the_one_that_was_used(tmp_path, monkeypatch):
    used = []
    step = torch.optim.AdamW.step

    def record(self, *args):
        used.append(self.param_groups[0]["lr"])
        return step(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", record)
    trained = lag_train(lag_config(training={"eval_every": 1}), tmp_path)
    told = {r["step"]: r["value"] for r in trained.rows if r["metric"] == "lr"}
    assert [told[i + 1] for i in range(60)] == used
    assert used[4] == 3e-3
    assert used[-1] == pytest.approx(0.0, abs=1e-12)


def test_evaluating_more_often_changes_no_weight(tmp_path):
    runs = [
        weights_of(lag_train(lag_config(training={"eval_every": n}), tmp_path / str(n)))
        for n in (1, 10, 60)
    ]
    for step in runs[0]:
        assert_same_weights(runs[1][step], runs[0][step])
        assert_same_weights(runs[2][step], runs[0][step])


def first_losses(rows):
    return {r["step"]: r["value"] for r in rows if r["metric"] == "first_loss"}


def test_a_run_stops_once_its_loss_was_low_often_enough(tmp_path):
    long = {"steps": 400, "eval_every": 20, "checkpoint_every": 100}
    whole = lag_train(lag_config(training=long), tmp_path / "whole")
    losses = first_losses(whole.rows)
    bound = sorted(losses.values())[len(losses) // 3]
    stop = {"stop_below": bound, "stop_evaluations": 2}
    stopped = lag_train(lag_config(training={**long, **stop}), tmp_path / "stopped")
    steps = sorted(losses)
    want = next(b for a, b in itertools.pairwise(steps) if max(losses[a], losses[b]) < bound)
    assert max(r["step"] for r in stopped.rows) == want < 400
    assert list(stopped.checkpoints)[-1] == want
    assert first_losses(stopped.rows) == {s: v for s, v in losses.items() if s <= want}


@pytest.mark.parametrize("name", ["init", "order", "data"])
def test_each_seed_moves_its_own_source_of_randomness(name):
    config = lag_config()
    changed = RunConfig.model_validate({**config.model_dump(), f"{name}_seed": 11})
    data = lag_data(config)
    same_init = torch.equal(
        build_model(config, data).pos.weight, build_model(changed, data).pos.weight
    )
    first = [evaluation_sets(data, c, CPU, BOOTSTRAP)[0].tokens for c in (config, changed)]
    assert same_init == (name != "init")
    assert torch.equal(*first) == (name != "data")


def test_the_run_learns_what_it_is_taught(tmp_path):
    trained = lag_train(
        lag_config(training={"steps": 400, "lr": 1e-2, "schedule": "constant"}), tmp_path
    )
    last = {r["metric"]: r["value"] for r in trained.rows if r["step"] == 400}
    assert last["accuracy"] == 1
    assert last["candidate_loss"] < 0.1 < math.log(2)
    assert last["z_gap"] > 1
    assert last["set_mass"] > 0.9


def test_batches_are_the_rows_of_the_training_split():
    config = lag_config(data={"probe_fraction": 0.25})
    data = lag_data(config)
    stream = SequenceBatches(data, 12, 0, CPU)
    seen = {tuple(t) for _ in range(8) for t in stream.next().tolist()}
    assert seen == {tuple(t) for t in data.tokens[data.train].tolist()}


def test_the_loss_is_that_of_the_target_alone():
    config = lag_config()
    data = lag_data(config)
    model, tokens = build_model(config, data), torch.from_numpy(data.tokens[:6])
    start = data.layout.target.start
    losses = F.cross_entropy(model(tokens[:, :-1]).transpose(1, 2), tokens[:, 1:], reduction="none")
    ours = target_loss(start)(model, tokens)
    torch.testing.assert_close(ours, losses[:, start - 1 :].mean())


# --- what is measured, against loops over examples --------------------------------------------


def slow_log_probs(model, tokens):
    """Log-probabilities of the next token at every position of one sequence, in float64."""
    logits = model(torch.tensor(tokens)[None])[0].double().numpy()
    return (
        logits
        - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True))
        - logits.max(-1, keepdims=True)
    )


def slow_metrics(model, data, row, other, shuffled):
    """Every metric of one example, from its sequence."""
    tokens, start = row.tolist(), data.layout.target.start
    log_probs = slow_log_probs(model, tokens)
    length = data.layout.length
    losses = [-log_probs[i - 1, tokens[i]] for i in range(start, length)]
    index = next(i for i, t in enumerate(data.tokens.tolist()) if t == tokens)
    firsts = {int(c[0]) for c in data.candidates[data.base[index]]}
    out = {
        "loss": np.mean(losses),
        "first_loss": losses[0],
        "first_accuracy": float(log_probs[start - 1].argmax() == tokens[start]),
        "accuracy": float(log_probs[start - 1 : length - 1].argmax(-1).tolist() == tokens[start:]),
        "set_mass": sum(np.exp(log_probs[start - 1, t]) for t in firsts),
    }
    candidates = data.candidates[data.base[index]].tolist()
    if len(candidates) > 1:
        scores = []
        for candidate in candidates:
            sequence = tokens[:start] + candidate
            found = slow_log_probs(model, sequence)
            scores.append(sum(found[i - 1, sequence[i]] for i in range(start, length)))
        right = scores[candidates.index(tokens[start:])]
        out["candidate_loss"] = np.log(sum(np.exp(s - right) for s in scores))
        ahead = sum(s > right for s in scores)
        out |= {"candidate_accuracy": float(ahead < 1), "candidate_top3": float(ahead < 3)}
    for name, swapped in (("z_gap", other), ("z_gap_batch", shuffled)):
        if swapped is not None:
            loss = -slow_log_probs(model, swapped.tolist())[start - 1, tokens[start]]
            out[name] = loss - losses[0]
    return out


@pytest.mark.parametrize("task", ["bz_to_a", "az_to_b", "b_to_a", "a_to_b"])
def test_metrics_are_those_of_a_loop_over_examples(task, monkeypatch):
    monkeypatch.setattr("zscope.studies.lag.evaluation.CHUNK", 7)  # chunks must not show
    config = lag_config(
        data={"task": task, "k": 4, "z_code": "random", "b_length": 3, "a_length": 3},
        model={"init_std": 1.0},
    )
    data = lag_data(config)
    model = build_model(config, data).eval()
    (ours,) = evaluation_sets(data, config, CPU, BOOTSTRAP)
    with torch.no_grad():
        found = {r["metric"]: r for r in ours.measure(model)}
        nothing = [None] * len(ours.tokens)
        slow = [
            slow_metrics(model, data, *rows)
            for rows in zip(
                ours.tokens,
                nothing if ours.other is None else ours.other,
                nothing if ours.shuffled is None else ours.shuffled,
                strict=True,
            )
        ]
    assert found.keys() == slow[0].keys()
    assert ("z_gap" in found) == task.endswith(("z_to_a", "z_to_b"))
    for metric, row in found.items():
        values = [s[metric] for s in slow]
        assert row["value"] == pytest.approx(np.mean(values), rel=1e-4, abs=1e-5), metric
        assert row["n"] == 20
        assert row["ci_low"] <= row["value"] <= row["ci_high"]


def test_the_other_z_names_another_target_and_the_shuffled_one_may_not():
    config = lag_config(
        data={"n_unique_b": 30, "b_length": 3, "a_length": 4}, training={"eval_examples": 200}
    )
    data = lag_data(config)
    (ours,) = evaluation_sets(data, config, CPU, BOOTSTRAP)
    meaning = {tuple(z): c for z, c in zip(data.z_tokens, data.z_candidate, strict=True)}
    right, other, shuffled = (
        np.array([meaning[tuple(z)] for z in tokens[:, data.layout.z].tolist()])
        for tokens in (ours.tokens, ours.other, ours.shuffled)
    )
    assert (right != other).all()
    assert 0.3 < (right == shuffled).mean() < 0.7


def test_held_out_rows_are_evaluated_apart():
    config = lag_config(data={"probe_fraction": 0.25})
    data = lag_data(config)
    sets = evaluation_sets(data, config, CPU, BOOTSTRAP)
    assert [s.split for s in sets] == ["train", "held_out"]
    held = {tuple(t) for t in data.tokens[~data.train].tolist()}
    assert {tuple(t) for t in sets[1].tokens.tolist()} <= held
    assert not {tuple(t) for t in sets[0].tokens.tolist()} & held


def test_the_evaluation_set_of_a_seed_is_fixed():
    config = lag_config()
    data = lag_data(config)
    a, b = (EvaluationSet(data, "train", 10, 4, CPU, BOOTSTRAP) for _ in range(2))
    assert torch.equal(a.tokens, b.tokens)
    assert torch.equal(a.other, b.other)


def test_the_intervals_of_an_evaluation_follow_the_level():
    config = lag_config()
    data = lag_data(config)
    model = build_model(config, data).eval()
    found = []
    for level in (0.5, 0.99):
        (ours,) = evaluation_sets(data, config, CPU, Bootstrap(level=level))
        with torch.no_grad():
            found.append(ours.measure(model))
    wider = 0
    for narrow, wide in zip(*found, strict=True):
        assert narrow["value"] == wide["value"]
        assert wide["ci_low"] <= narrow["ci_low"] <= narrow["ci_high"] <= wide["ci_high"]
        wider += wide["ci_high"] - wide["ci_low"] > narrow["ci_high"] - narrow["ci_low"]
    assert wider > len(found[0]) / 2


# --- the workflow's script, killed for good ---------------------------------------------------

SCRIPT = ROOT / "workflow" / "scripts" / "lag" / "train_run.py"


def run_script(folder, config, code="code", facts_seed=0):
    """Train a run as its job does, into `folder`."""
    spec = importlib.util.spec_from_file_location("train_run", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder.mkdir(parents=True, exist_ok=True)
    facts = folder.parent / f"facts-{config.run_id()}-{facts_seed}.parquet"
    write_table(make_facts(config.data, facts_seed), facts, FACTS, {"seed": facts_seed})
    module.train_from_facts(
        facts,
        folder / "metrics.parquet",
        folder / "timing.parquet",
        folder / "checkpoints.safetensors",
        run="run",
        config=config,
        device=CPU,
        bootstrap=BOOTSTRAP,
        provenance={"code": code, "slice": {"run": config.resolved}},
    )


def outputs_of(folder):
    """All that a run leaves but its clock; nothing else may lie there."""
    left = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert read_table(folder / "timing.parquet", TIMING)["seconds"].is_monotonic_increasing
    assert set(left) == {"metrics.parquet", "timing.parquet", "checkpoints.safetensors"}
    del left["timing.parquet"]
    return left


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    run_script(folder, lag_config())
    return outputs_of(folder)


def test_a_run_is_byte_identical_when_repeated(tmp_path, whole_run):
    run_script(tmp_path / "run", lag_config())
    assert outputs_of(tmp_path / "run") == whole_run
    steps = CheckpointFile(tmp_path / "run" / "checkpoints.safetensors").steps
    assert steps == lag_config().training.checkpoint_steps == (0, 1, 2, 4, 8, 15, 30, 45, 60)


def killed_half_way(folder, monkeypatch, config):
    measure = EvaluationSet.measure
    calls = []

    def killed(self, model):
        calls.append(model)
        if len(calls) == 5:
            raise Killed
        return measure(self, model)

    with monkeypatch.context() as patch:
        patch.setattr(EvaluationSet, "measure", killed)
        with pytest.raises(Killed):
            run_script(folder, config)
    (left,) = folder.iterdir()
    assert left.name.startswith(".resume-")


@pytest.mark.parametrize("changed", ["nothing", "config", "code", "facts"])
def test_only_the_same_run_goes_on(tmp_path, monkeypatch, capsys, whole_run, changed):
    killed_half_way(tmp_path / "run", monkeypatch, lag_config())
    capsys.readouterr()
    values = {
        "nothing": {},
        "config": {"config": lag_config(training={"lr": 1e-3})},
        "code": {"code": "other"},
        "facts": {"facts_seed": 1},
    }[changed]
    run_script(tmp_path / "run", **{"config": lag_config(), **values})
    assert ("resuming after step 30" in capsys.readouterr().out) == (changed == "nothing")
    ours = outputs_of(tmp_path / "run")
    run_script(tmp_path / "fresh", **{"config": lag_config(), **values})
    assert ours == outputs_of(tmp_path / "fresh")
    assert (ours == whole_run) == (changed == "nothing")


KILLER = """
    # Runs the script in children of its own and kills them at random times until one is through.
    # A child is killed a random time after a random number of its checkpoints: by the clock alone
    # a machine that is faster the second time would be through after a kill or two.
    import os, random, signal, sys, time
    from pathlib import Path

    import test_training as t  # imported once: a child is a fork

    folder, seed = Path(sys.argv[1]), int(sys.argv[2])
    t.torch.set_num_threads(1)

    def child(folder):
        pid = os.fork()
        if pid == 0:
            t.run_script(folder, t.lag_config(training=t.LONG))
            os._exit(0)
        return pid

    def state(folder):
        for path in folder.glob(".resume-*/state.safetensors"):
            try:
                return path.stat().st_mtime_ns
            except FileNotFoundError:
                pass  # the child is through
        return None

    def through(pid):
        return os.waitpid(pid, os.WNOHANG)[0] == pid

    def killed(folder, n_checkpoints, seconds):
        # Whether it was, and whether there was something to go on from.
        pid, last = child(folder), state(folder)
        while n_checkpoints:
            if through(pid):
                return False, False
            now = state(folder)
            if now != last:
                n_checkpoints, last = n_checkpoints - 1, now
            time.sleep(0.001)
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        return not os.WIFEXITED(status), state(folder) is not None

    rng, kills, inside = random.Random(seed), 0, 0
    os.waitpid(child(folder / "whole"), 0)
    for n_checkpoints in rng.sample(range(6), 6):
        was, left = killed(folder / "killed", n_checkpoints, rng.uniform(0, 0.05))
        kills, inside = kills + was, inside + (was and left)
    os.waitpid(child(folder / "killed"), 0)
    print(kills, inside)
"""
LONG = {"steps": 400, "checkpoint_every": 10, "eval_every": 10, "early_checkpoints": False}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_run_that_is_killed_again_and_again_is_byte_identical(tmp_path, seed):
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "lib"), str(Path(__file__).parent)]),
    }
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLER), str(tmp_path), str(seed)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=170,
        check=True,
    )
    kills, inside = map(int, done.stdout.split()[-2:])
    assert kills >= 3
    assert inside >= 2  # killed with something to go on from
    assert outputs_of(tmp_path / "killed") == outputs_of(tmp_path / "whole")
