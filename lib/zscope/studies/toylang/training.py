"""One training run of the toy language study: model, optimizers, batches, loss and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from zscope.config.base import Bootstrap
from zscope.core.provenance import derive_seed
from zscope.models.tensor_transformer import TensorConfig, TensorTransformer, make_optimizers
from zscope.studies.toylang.config import TensorModelConfig, ToyRunConfig
from zscope.toy_language.batches import ToyBatches
from zscope.toy_language.config import LanguageConfig
from zscope.toy_language.excess import ToyEvaluation
from zscope.toy_language.language import ToyLanguage
from zscope.training import Plan, ResumeFolder, Trained, Trainer, warmup_linear

Tokens = Int[np.ndarray, "batch seq"]


class StagedBatches:
    """Fresh batches of a language that changes at given steps (training.Batches).

    Every stage has its own seed and begins afresh; the first stage equals `ToyBatches` with `seed`.
    The state can be saved and restored.
    """

    def __init__(self, stages: Mapping[int, LanguageConfig], batch_size: int, seed: int) -> None:
        self._stages = dict(sorted(stages.items()))
        self._batch_size, self._seed = batch_size, seed
        self._taken = 0
        self._batches = self._begin(0)

    def _begin(self, start: int) -> ToyBatches:
        seed = derive_seed(self._seed, f"stage {start}") if start else self._seed
        return ToyBatches(ToyLanguage(self._stages[start]), self._batch_size, seed)

    def next(self) -> Tokens:
        if self._taken and self._taken in self._stages:
            self._batches = self._begin(self._taken)
        self._taken += 1
        return self._batches.next()

    def state(self) -> dict[str, Any]:
        return {"taken": self._taken, "batches": self._batches.state()}

    def restore(self, state: dict[str, Any]) -> None:
        self._taken = state["taken"]
        # The stage of the last batch: the next one may begin another.
        start = max(s for s in self._stages if s < max(1, self._taken))
        self._batches = self._begin(start)
        self._batches.restore(state["batches"])


def next_token_loss(device: torch.device) -> Callable[[nn.Module, Tokens], Float[Tensor, ""]]:
    """Loss of a batch: mean cross-entropy of tokens 1, 2, ... after those before them, in nats."""

    def loss(model: nn.Module, batch: Tokens) -> Float[Tensor, ""]:
        tokens = torch.from_numpy(batch).to(device)
        logits = model(tokens[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())

    return loss


def model_shape(config: TensorModelConfig, language: ToyLanguage) -> TensorConfig:
    """The shape of a model of the language."""
    n_ctx = language.config.length
    return TensorConfig(d_vocab=len(language.vocabulary), n_ctx=n_ctx, **config.model_dump())


def evaluation_of(
    language: ToyLanguage, n: int, bootstrap: Bootstrap, device: torch.device
) -> ToyEvaluation:
    """The sequences that every run of a language is evaluated on. Training batches are sampled
    independently, so overlap is only by coincidence."""
    return ToyEvaluation.sample(language, n, derive_seed(0, "evaluation"), bootstrap, device)


def train_run(
    name: str,
    config: ToyRunConfig,
    seed: int,
    folder: ResumeFolder,
    device: torch.device,
    bootstrap: Bootstrap,
) -> Trained:
    """Train one run, or resume it from its folder. Raises TrainingError as Trainer."""
    training = config.training
    language = ToyLanguage(config.language)
    shape = model_shape(config.model, language)
    model = TensorTransformer(shape).init_weights(derive_seed(seed, "init")).to(device)
    optimizers = make_optimizers(model, training.muon_lr, training.adamw_lr)
    batches = StagedBatches(config.stages, training.batch_size, derive_seed(seed, "data"))
    evaluation = evaluation_of(language, training.eval_sequences, bootstrap, device)
    factor = warmup_linear(training.warmup_steps, training.steps, training.final_lr_fraction)
    peaks = {"muon_lr": training.muon_lr, "adamw_lr": training.adamw_lr}

    def evaluate(model: nn.Module, step: int) -> list[dict[str, Any]]:
        now = factor(max(0, step - 1))
        rows = [
            {"split": "train", "primitive": "all", "metric": m, "value": lr * now, "n": 1}
            for m, lr in peaks.items()
        ]
        excess = evaluation.by_primitive(evaluation.excess(model), "excess")
        rows += [{"split": "held_out", **row} for row in excess]
        return [{"step": step, **row} for row in rows]

    plan = Plan(
        steps=training.steps,
        eval_steps=training.eval_steps,
        checkpoint_steps=training.checkpoint_steps,
        grad_clip=training.grad_clip,
    )
    trainer = Trainer(
        name, model, optimizers, batches, next_token_loss(device), evaluate, factor, plan, folder
    )
    return trainer.train()
