"""A decomposition that was killed and resumed is the one that was not, and its job writes what it
says."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from decomposed import LANGUAGE, decomposition_of, small_model
from zscope.core.errors import ConfigError
from zscope.models.checkpoints import load_tensors
from zscope.models.subjects import Subject
from zscope.studies.components.decomposition.config import DecompositionConfig
from zscope.studies.components.decomposition.losses import LossSettings
from zscope.studies.components.decomposition.plan import decomposed, files
from zscope.studies.components.decomposition.tables import PLANTED, TABLES, TESTS, VERDICTS
from zscope.studies.components.decomposition.training import (
    Counted,
    learning_rate,
    train_decomposition,
)
from zscope.studies.config import load
from zscope.toy_language.batches import ToyBatches
from zscope.training import ResumeFolder

pytestmark = pytest.mark.numerics
SETTINGS = LossSettings(
    penalty=1e-3, faithful_steps=2, steps=6, adversarial_steps=3, attack_steps=2
)


class KilledError(Exception):
    pass


def trained(folder, kill_at=None):
    made = decomposition_of(small_model(dtype=torch.float32)).requires_grad_(True)

    def evaluate(module, step):
        if step == kill_at:
            raise KilledError
        return [{"step": step, "metric": "sum", "value": float(made.V[0].sum())}]

    return train_decomposition(
        "d",
        made,
        Counted(ToyBatches(LANGUAGE, 2, 0, chunk=3)),
        SETTINGS,
        lr=1e-2,
        seed=5,
        evaluate=evaluate,
        eval_every=4,
        folder=ResumeFolder(folder, "key"),
    )


def test_killed_and_resumed_it_is_the_same_to_the_last_bit(tmp_path):
    whole = trained(tmp_path / "whole")
    with pytest.raises(KilledError):
        trained(tmp_path / "killed", kill_at=8)
    resumed = trained(tmp_path / "killed")
    assert resumed.rows == whole.rows
    assert sorted(whole.checkpoints) == [0, 4, 8, 11]
    for step in whole.checkpoints:
        a, _ = load_tensors(whole.checkpoints[step])
        b, _ = load_tensors(resumed.checkpoints[step])
        assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["U.0"], load_tensors(whole.checkpoints[8])[0]["U.0"])


def test_the_learning_rate_falls_before_the_adversary_and_after():
    settings = replace(SETTINGS, faithful_steps=10, steps=100, adversarial_steps=10)
    factor = learning_rate(settings)
    values = np.array([factor(step) for step in range(settings.total)])
    assert (values[:11] == 1).all()
    assert (np.diff(values[10:110]) < 0).all()
    assert 0.1 <= values[109] < 0.11
    assert (values[110:] <= 0.15).all()
    assert values[-1] > 0


def test_batches_carry_the_number_of_their_step():
    batches = Counted(ToyBatches(LANGUAGE, 2, 0, chunk=3))
    first = [batches.next() for _ in range(5)]
    assert [step for step, _ in first] == [0, 1, 2, 3, 4]
    assert first[0][1].shape == (2, 15)
    state = batches.state()
    step, then = batches.next()
    again = Counted(ToyBatches(LANGUAGE, 2, 0, chunk=3))
    again.restore(state)
    assert again.next()[0] == step == 5
    again.restore(state)
    assert torch.equal(again.next()[1], then)


# --- plan and config ----------------------------------------------------------------------------


def subject(name="toylang/reference", n=3):
    models = {f"{name.partition('/')[2]}-s{i}": f"w{i}.safetensors" for i in range(n)}
    return Subject(name, "toylang", models, settings={"language": {}})


def test_the_plan_decomposes_the_first_trainings_of_the_subject_alone():
    toy = {s.path: s for s in (subject(), subject("toylang/softmax"))}
    config = DecompositionConfig(trainings=2, seeds=[0, 4])
    runs = decomposed(config, toy)
    assert list(runs) == [
        "reference-s0-d0",
        "reference-s0-d4",
        "reference-s1-d0",
        "reference-s1-d4",
    ]
    assert runs["reference-s1-d4"].weights == "w1.safetensors"
    found = files(config, toy, {}, TESTS)
    assert found[1] == (
        "results/components/decomposition/toylang-reference/reference-s0-d4/tests.parquet"
    )
    assert files(config, toy, {}, VERDICTS) == [
        "results/components/decomposition/toylang-reference/verdicts.parquet"
    ]
    assert len(files(config, {}, {}, PLANTED)) == 3
    for table in set(TABLES) - {PLANTED}:
        assert files(config, {}, {}, table) == []


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("attack_steps", [5, 0], "must increase"),
        (
            "planted",
            [{"kind": "linear", "penalties": [1], "components": 2, "steps": 1}] * 2,
            "twice",
        ),
        ("seeds", [], "must not be empty"),
    ],
)
def test_mistakes_in_the_config_are_named(key, value, why):
    with pytest.raises(ConfigError, match=why) as error:
        load({"components": {"decomposition": {key: value}}}, ())
    assert key in str(error.value)


def script(name):
    path = Path(__file__).parents[3] / f"workflow/scripts/components/{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_scripts_are_functions():
    for name in ("decompose_toy_model", "measure_decomposition", "compare_decompositions"):
        assert callable(getattr(script(name), name))
