"""The training loop: a killed run resumes as if nothing had happened, to the last bit."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zscope import training
from zscope.core.errors import CheckpointError, TrainingError
from zscope.models.checkpoints import load_tensors
from zscope.training import (
    Plan,
    ResumeFolder,
    ShuffledEpochs,
    Trainer,
    every,
    warmup_constant,
    warmup_cosine,
    warmup_linear,
)

# --- schedules --------------------------------------------------------------------------------


def test_warmup_is_linear_and_the_cosine_ends_where_it_should():
    factor = warmup_cosine(4, 12, 0.1)
    assert [factor(i) for i in range(4)] == [0.25, 0.5, 0.75, 1.0]
    after = [factor(i) for i in range(4, 12)]
    assert after == [
        pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi * i / 8)) / 2) for i in range(1, 9)
    ]
    assert factor(7) == pytest.approx(0.55)
    assert factor(11) == pytest.approx(0.1)
    assert warmup_cosine(0, 10, 0.0)(9) == pytest.approx(0.0)


def test_the_linear_schedule_falls_evenly_to_its_end():
    factor = warmup_linear(4, 12, 0.2)
    assert [factor(i) for i in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert [factor(i) for i in range(4, 12)] == [pytest.approx(1 - 0.1 * i) for i in range(1, 9)]
    assert warmup_linear(0, 10, 0.0)(9) == pytest.approx(0.0)


def test_the_constant_schedule_stays_at_its_peak():
    factor = warmup_constant(4)
    assert [factor(i) for i in (0, 1, 3, 4, 10**6)] == [0.25, 0.5, 1.0, 1.0, 1.0]
    assert warmup_constant(0)(0) == 1.0


def test_every_has_both_ends():
    assert every(4, 10) == [0, 4, 8, 10]
    assert every(5, 10) == [0, 5, 10]
    assert every(20, 10) == [0, 10]


# --- batches ----------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(1, 60), st.integers(0, 5))
def test_every_row_comes_once_an_epoch(n, batch, seed):
    rows = np.arange(n) * 3 + 1
    stream = ShuffledEpochs(rows, batch, seed)
    batches = [stream.next() for _ in range(math.ceil(3 * n / batch))]
    assert all(len(b) == batch for b in batches)
    epochs = np.concatenate(batches)[: 3 * n].reshape(3, n)
    assert all(sorted(e) == rows.tolist() for e in epochs)
    if n > 12:
        assert epochs[0].tolist() != epochs[1].tolist()


@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 20))
def test_a_restored_stream_goes_on_where_it_was(n, batch, taken):
    stream = ShuffledEpochs(np.arange(n), batch, 0)
    for _ in range(taken):
        stream.next()
    state = json.loads(json.dumps(stream.state()))
    wanted = [stream.next().tolist() for _ in range(10)]
    other = ShuffledEpochs(np.arange(n), batch, 99)
    other.next()
    other.restore(state)
    assert json.loads(json.dumps(other.state())) == state
    assert [other.next().tolist() for _ in range(10)] == wanted


# --- the loop, on a toy -----------------------------------------------------------------------


class Killed(Exception):  # noqa: N818
    """What stands for a kill."""


INPUTS = torch.randn(37, 4, generator=torch.Generator().manual_seed(0))
OUTPUTS = INPUTS @ torch.tensor([1.0, -2.0, 0.5, 0.0]) + 0.3
TOY = Plan(
    steps=230,
    eval_steps=every(23, 230),
    checkpoint_steps=[0, 1, 2, 4, 50, 115, 200, 230],
    grad_clip=1.0,
)


def toy(folder, plan=TOY, evaluate=None, loss=None, lr=0.05):
    """A trainer of a linear regression."""
    model = torch.nn.Linear(4, 1)
    with torch.no_grad():
        model.weight.fill_(0.1)
        model.bias.fill_(0.0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, fused=True)

    def squared_error(model, rows):
        return (model(INPUTS[rows])[:, 0] - OUTPUTS[rows]).square().mean()

    def measure(model, step):
        return [
            {
                "step": step,
                "split": "train",
                "metric": "norm",
                "n": 1,
                "value": float(model.weight.norm()),
            }
        ]

    return Trainer(
        "toy",
        model,
        [optimizer],
        ShuffledEpochs(np.arange(37), 8, 5),
        loss or squared_error,
        evaluate or measure,
        warmup_cosine(10, plan.steps, 0.0),
        plan,
        ResumeFolder(folder, "key"),
    )


def bytes_of(trained):
    return {step: path.read_bytes() for step, path in trained.checkpoints.items()}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    trained = toy(tmp_path_factory.mktemp("toy")).train()
    return trained.rows, bytes_of(trained)


def test_the_toy_is_learned(uninterrupted):
    losses = [r["value"] for r in uninterrupted[0] if r["metric"] == "train_loss"]
    assert losses[-1] < 1e-3 * losses[0]


def test_the_training_loss_is_the_mean_of_the_batches_since_the_last_evaluation(tmp_path):
    losses = []

    def loss(model, rows):
        value = (model(INPUTS[rows])[:, 0] - OUTPUTS[rows]).square().mean()
        losses.append(value.item())
        return value

    rows = [r for r in toy(tmp_path, loss=loss).train().rows if r["metric"] == "train_loss"]
    assert [r["step"] for r in rows] == every(23, 230)[1:]
    for i, row in enumerate(rows):
        assert row["n"] == 23
        assert row["value"] == pytest.approx(np.mean(losses[23 * i : 23 * (i + 1)]), rel=1e-6)


@pytest.mark.parametrize("at", [0, 23, 46, 115, 207, 230])
def test_a_kill_in_an_evaluation_changes_nothing(tmp_path, uninterrupted, at):
    trainer = toy(tmp_path)
    measure = trainer.evaluate

    def killed(model, step):
        if step == at:
            raise Killed
        return measure(model, step)

    trainer.evaluate = killed
    with pytest.raises(Killed):
        trainer.train()
    trained = toy(tmp_path).train()
    assert (trained.rows, bytes_of(trained)) == uninterrupted


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", range(16))
def test_a_kill_around_any_save_changes_nothing(tmp_path, uninterrupted, monkeypatch, call, when):
    """There are two saves a checkpoint: the weights, and the state to go on from."""
    save, calls = training.save_tensors, []

    def killed(*args):
        calls.append(args)
        if when == "after":
            save(*args)
        if len(calls) == call + 1:
            raise Killed
        if when == "before":
            save(*args)

    with monkeypatch.context() as patch:
        patch.setattr(training, "save_tensors", killed)
        with pytest.raises(Killed):
            toy(tmp_path).train()
    trained = toy(tmp_path).train()
    assert (trained.rows, bytes_of(trained)) == uninterrupted


def test_a_kill_at_every_step_changes_nothing(tmp_path, uninterrupted):
    """Many kills in one run, each between two checkpoints."""
    for at in (1, 3, 7, 49, 51, 120, 199, 229):
        trainer, seen = toy(tmp_path), []
        loss = trainer.loss

        def killed(model, rows, loss=loss, seen=seen, at=at, trainer=trainer):
            seen.append(rows)
            if trainer.done.step + len(seen) > at:
                raise Killed
            return loss(model, rows)

        trainer.loss = killed
        with pytest.raises(Killed):
            trainer.train()
    trained = toy(tmp_path).train()
    assert (trained.rows, bytes_of(trained)) == uninterrupted


def test_a_finished_run_is_not_trained_again(tmp_path, uninterrupted):
    toy(tmp_path).train()
    trainer = toy(tmp_path)
    trainer.loss = None
    assert trainer.train().rows == uninterrupted[0]


def test_a_run_stops_where_it_is_enough_and_what_came_before_is_the_same(tmp_path, uninterrupted):
    at = TOY.eval_steps[4]
    plan = replace(TOY, enough=lambda rows: rows[-1]["step"] >= at)
    stopped = toy(tmp_path / "stopped", plan).train()
    assert max(row["step"] for row in stopped.rows) == at
    assert stopped.rows == [row for row in uninterrupted[0] if row["step"] <= at]
    assert list(stopped.checkpoints) == [*(s for s in TOY.checkpoint_steps if s < at), at]
    assert all(path.exists() for path in stopped.checkpoints.values())
    again = toy(tmp_path / "stopped", plan).train()  # as after a kill between training and tables
    assert again.rows == stopped.rows
    assert again.checkpoints == stopped.checkpoints


def test_state_of_another_key_is_removed_and_not_read(tmp_path):
    toy(tmp_path).train()
    old = ResumeFolder(tmp_path, "key")
    assert old.state.exists()
    new = ResumeFolder(tmp_path, "other")
    assert not old.path.exists()
    assert not new.state.exists()
    new.remove()
    assert list(tmp_path.iterdir()) == []


def test_damaged_state_says_how_to_start_anew(tmp_path):
    toy(tmp_path).train()
    state = ResumeFolder(tmp_path, "key").state
    state.write_bytes(state.read_bytes()[:-3])
    with pytest.raises(CheckpointError) as caught:
        toy(tmp_path).train()
    assert str(state) in str(caught.value)
    assert f"rm -r {state.parent}" in str(caught.value)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_names_run_step_and_checkpoint(tmp_path, bad):
    seen = []

    def loss(model, rows):
        seen.append(rows)
        factor = bad if len(seen) == 131 else 1.0
        return factor * (model(INPUTS[rows])[:, 0] - OUTPUTS[rows]).square().mean()

    with pytest.raises(TrainingError) as caught:
        toy(tmp_path, loss=loss).train()
    text = str(caught.value)
    kept = ResumeFolder(tmp_path, "key").checkpoint(115)
    assert "run toy" in text
    assert "step 130" in text
    assert str(kept) in text
    tensors, _ = load_tensors(kept)
    assert all(t.isfinite().all() for t in tensors.values())


def test_a_gradient_that_is_not_finite_is_found_though_the_loss_is(tmp_path):
    def loss(model, rows):
        # The square root has an infinite slope where the loss is 0.
        return (model(INPUTS[rows]) * 0).square().sum().sqrt()

    with pytest.raises(TrainingError, match=r"step 0 \(loss 0.0, gradient norm nan"):
        toy(tmp_path, loss=loss).train()
