"""One training run of the lag study: model, optimizer, batches, loss and evaluation, together."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from zscope.core.provenance import derive_seed
from zscope.models.transformer import Transformer, TransformerConfig
from zscope.studies.lag.config import RunConfig
from zscope.studies.lag.evaluation import evaluation_sets
from zscope.studies.lag.facts import Disambiguation
from zscope.training import (
    Plan,
    ResumeFolder,
    ShuffledEpochs,
    Trained,
    Trainer,
    every,
    warmup_constant,
    warmup_cosine,
)


class SequenceBatches(ShuffledEpochs):
    """Shuffled epochs of the training rows, as token tensors."""

    def __init__(self, data: Disambiguation, batch_size: int, seed: int, device: torch.device):
        super().__init__(data.rows("train"), batch_size, seed)
        self.tokens = torch.from_numpy(data.tokens).to(device)

    def next(self) -> Int[Tensor, "batch seq"]:  # type: ignore[override]
        return self.tokens[torch.from_numpy(super().next()).to(self.tokens.device)]


def target_loss(start: int) -> Any:
    """Loss of a batch: mean cross-entropy of the target tokens, which begin at `start`, in nats."""

    def loss(model: torch.nn.Module, tokens: Int[Tensor, "batch seq"]) -> Float[Tensor, ""]:
        logits = model(tokens[:, :-1], start - 1)
        return F.cross_entropy(logits.flatten(0, 1), tokens[:, start:].flatten())

    return loss


def build_model(config: RunConfig, data: Disambiguation) -> Transformer:
    """The untrained model of a run; its weights depend on the seed of initialisation alone."""
    seed = config.seed if config.init_seed is None else config.init_seed
    shape = TransformerConfig.of(
        config.model, n_ctx=data.layout.length, d_vocab=len(data.vocabulary)
    )
    return Transformer(shape).init_weights(derive_seed(seed, "init"))


def train_run(
    name: str,
    config: RunConfig,
    data: Disambiguation,
    folder: ResumeFolder,
    device: torch.device,
    bootstrap: dict[str, Any],
) -> Trained:
    """Train one run, or go on with it from its resume folder. Raises TrainingError as Trainer."""
    training = config.training
    model = build_model(config, data).to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=training.lr,
        betas=(training.beta1, training.beta2),
        weight_decay=training.weight_decay,
        fused=True,
    )
    order_seed = config.seed if config.order_seed is None else config.order_seed
    batches = SequenceBatches(data, training.batch_size, derive_seed(order_seed, "order"), device)
    sets = evaluation_sets(data, config, device, bootstrap)
    factor = (
        warmup_cosine(training.warmup_steps, training.steps, training.final_lr_fraction)
        if training.schedule == "cosine"
        else warmup_constant(training.warmup_steps)
    )
    n_facts = len(np.unique(np.stack([data.base, data.candidate])[:, data.train], axis=1).T)

    def evaluate(model: torch.nn.Module, step: int) -> list[dict[str, Any]]:
        rows = [row for s in sets for row in s.measure(model)]  # type: ignore[arg-type]
        seen = step * training.batch_size
        plain = {
            "lr": training.lr * factor(max(0, step - 1)),
            "examples_seen": float(seen),
            "epochs_per_fact": seen / n_facts,
        }
        rows += [{"split": "train", "metric": k, "value": v, "n": 1} for k, v in plain.items()]
        return [{"step": step, **row} for row in rows]

    plan = Plan(
        steps=training.steps,
        eval_steps=every(training.eval_every, training.steps),
        checkpoint_steps=training.checkpoint_steps,
        grad_clip=training.grad_clip,
    )
    start = data.layout.target.start
    trainer = Trainer(
        name, model, [optimizer], batches, target_loss(start), evaluate, factor, plan, folder
    )
    return trainer.train()
