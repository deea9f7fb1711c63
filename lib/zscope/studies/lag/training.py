"""One training run of the lag study: its model, optimizer, batches, loss and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from zscope.config.base import Bootstrap
from zscope.core.provenance import derive_seed
from zscope.models.transformer import Transformer, TransformerConfig
from zscope.studies.lag.evaluation import evaluation_sets
from zscope.studies.lag.facts import Disambiguation
from zscope.studies.lag.run_config import ModelConfig, RunConfig, TrainingConfig
from zscope.tables.schema import Row
from zscope.training import (
    Plan,
    ResumeFolder,
    ShuffledEpochs,
    Trained,
    Trainer,
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
    """The loss of a batch: mean cross-entropy, in nats, of the tokens from `start` on."""

    def loss(model: torch.nn.Module, tokens: Int[Tensor, "batch seq"]) -> Float[Tensor, ""]:
        logits = model(tokens[:, :-1], start - 1)
        return F.cross_entropy(logits.flatten(0, 1), tokens[:, start:].flatten())

    return loss


def model_shape(config: ModelConfig, data: Disambiguation) -> TransformerConfig:
    """The shape of the model for these sequences."""
    return TransformerConfig(
        n_layers=config.n_layers,
        d_model=config.d_model,
        n_heads=config.n_heads,
        d_mlp=config.d_mlp,
        n_ctx=data.layout.length,
        d_vocab=len(data.vocabulary),
        init_std=config.init_std,
        mlp_init_std=config.mlp_init_std or config.init_std,
    )


def build_model(config: RunConfig, data: Disambiguation) -> Transformer:
    """The untrained model of a run; its weights depend on init_seed alone."""
    seed = config.seed if config.init_seed is None else config.init_seed
    return Transformer(model_shape(config.model, data)).init_weights(derive_seed(seed, "init"))


def learned(rows: Sequence[Row], training: TrainingConfig) -> bool:
    """Whether the loss was below `stop_below` at the last `stop_evaluations` evaluations."""
    if training.stop_below is None:
        return False
    losses = [r["value"] for r in rows if (r["split"], r["metric"]) == ("train", "first_loss")]
    last = losses[-training.stop_evaluations :]
    return len(last) == training.stop_evaluations and max(last) < training.stop_below


def train_run(
    name: str,
    config: RunConfig,
    data: Disambiguation,
    folder: ResumeFolder,
    device: torch.device,
    bootstrap: Bootstrap,
) -> Trained:
    """Train one run, or resume it from its folder. Raises TrainingError as Trainer."""
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
        eval_steps=training.eval_steps,
        checkpoint_steps=training.checkpoint_steps,
        grad_clip=training.grad_clip,
        enough=lambda rows: learned(rows, training),
    )
    start = data.layout.target.start
    trainer = Trainer(
        name, model, [optimizer], batches, target_loss(start), evaluate, factor, plan, folder
    )
    return trainer.train()
