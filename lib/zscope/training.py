"""The training loop of all studies: schedule, evaluations, checkpoints, and resuming after a kill.

A study gives the model, its optimizers, a stream of batches, a loss and an evaluation. The loop
does not know what is learned. On a CPU, a run that was killed and resumed is bit-identical to an
undisturbed one.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from zscope.core.errors import CheckpointError, TrainingError, start_anew
from zscope.core.jobs import progress
from zscope.models.checkpoints import load_tensors, save_tensors
from zscope.tables.schema import Row

Batch = TypeVar("Batch")
Batch_co = TypeVar("Batch_co", covariant=True)
LONGEST_STRETCH = 100  # steps between two looks at whether the losses are finite


class Batches(Protocol[Batch_co]):
    """An endless stream of batches whose random state can be saved."""

    def next(self) -> Batch_co: ...

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: dict[str, Any]) -> None: ...


class ShuffledEpochs:
    """Row indices in shuffled epochs; a batch may span two epochs, so all have `batch_size`."""

    def __init__(self, rows: Int[np.ndarray, " rows"], batch_size: int, seed: int) -> None:
        self.rows, self.batch_size = rows, batch_size
        self._rng = np.random.Generator(np.random.PCG64(seed))
        self._epoch_state = self._rng.bit_generator.state
        self._order, self._at = self._rng.permutation(rows), 0

    def next(self) -> Int[np.ndarray, " batch"]:
        taken: list[np.ndarray] = []
        missing = self.batch_size
        while missing:
            if self._at == len(self._order):
                self._epoch_state = self._rng.bit_generator.state
                self._order, self._at = self._rng.permutation(self.rows), 0
            part = self._order[self._at : self._at + missing]
            taken.append(part)
            self._at += len(part)
            missing -= len(part)
        return np.concatenate(taken) if len(taken) > 1 else taken[0]

    def state(self) -> dict[str, Any]:
        return {"epoch": self._epoch_state, "at": self._at}

    def restore(self, state: dict[str, Any]) -> None:
        self._rng.bit_generator.state = self._epoch_state = state["epoch"]
        self._order, self._at = self._rng.permutation(self.rows), state["at"]


def warmup_cosine(warmup: int, steps: int, final: float) -> Callable[[int], float]:
    """Factor of the peak learning rate at update `step` (from 0): linear from 1/warmup to 1, then
    a cosine that reaches `final` at the last update."""

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        done = (step - warmup + 1) / max(1, steps - warmup)
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * done))

    return factor


def warmup_linear(warmup: int, steps: int, final: float) -> Callable[[int], float]:
    """Factor of the peak learning rate at update `step` (from 0): linear from 1/warmup to 1, then
    linear to `final` at the last update."""

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 1 - (1 - final) * (step - warmup + 1) / max(1, steps - warmup)

    return factor


def warmup_constant(warmup: int) -> Callable[[int], float]:
    """Factor of the peak learning rate: linear from 1/warmup to 1, then 1."""
    return lambda step: min(1.0, (step + 1) / warmup) if warmup else 1.0


@dataclass(frozen=True)
class Plan:
    """When things happen. `eval_steps` and `checkpoint_steps` include 0 and `steps`.

    enough: from all rows so far, whether to stop at an evaluation. Its step is then the last, and a
    checkpoint; the schedule of the learning rate stays that of all steps.
    """

    steps: int
    eval_steps: Sequence[int]
    checkpoint_steps: Sequence[int]
    grad_clip: float
    enough: Callable[[Sequence[Row]], bool] = lambda rows: False


@dataclass
class Progress:
    """The results so far. They are saved with the model, so a resumed run has all of them."""

    step: int = 0
    rows: list[Row] = field(default_factory=list)
    timing: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0
    loss_sum: float = 0.0
    loss_count: int = 0


@dataclass(frozen=True)
class Trained:
    """The result of `train`: metric rows, (step, seconds) pairs, one file per checkpoint."""

    rows: list[Row]
    timing: list[tuple[int, float]]
    checkpoints: dict[int, Path]


class ResumeFolder:
    """The folder beside a run's outputs that holds what it needs to continue after a kill.

    `key` is a digest of the run's config, data and code. State of another key is removed and never
    read.
    """

    def __init__(self, outputs: Path, key: str) -> None:
        self.path = outputs / f".resume-{key}"
        for other in outputs.glob(".resume-*"):
            if other != self.path:
                shutil.rmtree(other, ignore_errors=True)
        self.path.mkdir(parents=True, exist_ok=True)

    @property
    def state(self) -> Path:
        return self.path / "state.safetensors"

    def checkpoint(self, step: int) -> Path:
        return self.path / f"step_{step:08d}.safetensors"

    def remove(self) -> None:
        shutil.rmtree(self.path)


class Trainer(Generic[Batch]):
    """The training of one run; `train` continues from the state in its folder, if there is any."""

    def __init__(
        self,
        name: str,
        model: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        batches: Batches[Batch],
        loss: Callable[[nn.Module, Batch], Float[Tensor, ""]],
        evaluate: Callable[[nn.Module, int], list[Row]],
        factor: Callable[[int], float],
        plan: Plan,
        folder: ResumeFolder,
    ) -> None:
        self.name, self.model, self.optimizers, self.batches = name, model, optimizers, batches
        self.loss, self.evaluate, self.factor = loss, evaluate, factor
        self.plan, self.folder = plan, folder
        self.peaks = [[g["lr"] for g in o.param_groups] for o in optimizers]
        self.parameters = list(model.parameters())
        self.done = Progress()

    def train(self) -> Trained:
        """Train to the last step, or until it is enough.

        Raises TrainingError, naming run and step, when a loss or gradient is not finite; the
        checkpoints up to then stay in the resume folder.
        """
        if self.folder.state.exists():
            self._restore()
        else:
            self._visit(0)
        started = time.perf_counter() - self.done.seconds
        for start, stop in progress(list(self._stretches()), desc=self.name):
            if self.plan.enough(self.done.rows):
                break
            self._advance(start, stop)
            self.done.seconds = time.perf_counter() - started
            self._visit(stop)
        last = self.done.step
        kept = [*(s for s in self.plan.checkpoint_steps if s < last), last]
        checkpoints = {s: self.folder.checkpoint(s) for s in kept}
        return Trained(self.done.rows, self.done.timing, checkpoints)

    def _stretches(self) -> Iterator[tuple[int, int]]:
        """Ranges of steps between two visits, from the current step on."""
        stops = {*self.plan.eval_steps, *self.plan.checkpoint_steps, self.plan.steps}
        stops |= set(range(0, self.plan.steps, LONGEST_STRETCH))
        start = self.done.step
        for stop in sorted(s for s in stops if s > start):
            yield start, stop
            start = stop

    def _advance(self, start: int, stop: int) -> None:
        """Updates `start`..`stop`-1. Nothing is read back from the device until the end."""
        self.model.train()
        losses, norms = [], []
        for step in range(start, stop):
            factor = self.factor(step)
            for optimizer, peaks in zip(self.optimizers, self.peaks, strict=True):
                for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                    group["lr"] = peak * factor
            loss = self.loss(self.model, self.batches.next())
            loss.backward()
            norms.append(nn.utils.clip_grad_norm_(self.parameters, self.plan.grad_clip))
            for optimizer in self.optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            losses.append(loss.detach())
        values = torch.stack([torch.stack(losses), torch.stack(norms)]).cpu().double()
        bad = ~values.isfinite().all(dim=0)
        if bad.any():
            at = start + int(bad.nonzero()[0])
            kept = max((s for s in self.plan.checkpoint_steps if s <= start), default=0)
            raise TrainingError(
                f"run {self.name}: the loss or its gradient is not finite at step {at} (loss "
                f"{values[0, at - start].item()}, gradient norm {values[1, at - start].item()})\n"
                f"the last good checkpoint, of step {kept}, is {self.folder.checkpoint(kept)}\n"
                "lower the learning rate, or lengthen the warm-up"
            )
        self.done.loss_sum += float(values[0].sum())
        self.done.loss_count += stop - start
        self.done.step = stop

    def _visit(self, step: int) -> None:
        """Evaluate and save at `step` if the plan asks for it, or if it is enough."""
        if step in self.plan.eval_steps:
            self.model.eval()
            with torch.no_grad():
                self.done.rows += self.evaluate(self.model, step)
            if self.done.loss_count:
                mean, n = self.done.loss_sum / self.done.loss_count, self.done.loss_count
                row = {"step": step, "split": "train", "metric": "train_loss"}
                self.done.rows.append({**row, "value": mean, "n": n})
            self.done.loss_sum, self.done.loss_count = 0.0, 0
            self.done.timing.append((step, self.done.seconds))
        enough = step in self.plan.eval_steps and self.plan.enough(self.done.rows)
        if step in self.plan.checkpoint_steps or enough:
            save_tensors(self.model.state_dict(), self.folder.checkpoint(step), {"step": step})
            self._save()

    def _save(self) -> None:
        tensors = {f"model/{k}": v for k, v in self.model.state_dict().items()}
        for i, optimizer in enumerate(self.optimizers):
            for j, state in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer{i}/{j}/{k}": torch.as_tensor(v) for k, v in state.items()}
        progress_so_far = {**vars(self.done), "batches": self.batches.state()}
        save_tensors(tensors, self.folder.state, progress_so_far)

    def _restore(self) -> None:
        way_out = start_anew(self.folder.path)
        tensors, saved = load_tensors(self.folder.state, way_out=way_out)
        parts: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            owner, _, key = name.partition("/")
            parts.setdefault(owner, {})[key] = tensor
        try:
            self.model.load_state_dict(parts["model"])
            for i, optimizer in enumerate(self.optimizers):
                state: dict[int, dict[str, Tensor]] = {}
                for key, tensor in parts.get(f"optimizer{i}", {}).items():
                    index, _, entry = key.partition("/")
                    state.setdefault(int(index), {})[entry] = tensor
                groups = optimizer.state_dict()["param_groups"]
                optimizer.load_state_dict({"state": state, "param_groups": groups})
            self.batches.restore(saved.pop("batches"))
            saved["timing"] = [(step, seconds) for step, seconds in saved["timing"]]
            self.done = Progress(**saved)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{self.folder.state}: not of this run ({error})\n{way_out}"
            ) from None
        print(f"{self.name}: resuming after step {self.done.step} of {self.plan.steps}")


def every(interval: int, steps: int) -> list[int]:
    """0, interval, 2 interval, ... and `steps`."""
    return sorted({*range(0, steps, interval), steps})
