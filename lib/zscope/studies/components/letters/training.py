"""Training a model on prompts whose labels are in order, or not; and what it then does."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.nn import functional as F

from zscope.config.base import Bootstrap
from zscope.core.provenance import derive_seed
from zscope.models.attention_nodes import NodeModel
from zscope.models.tensor_transformer import TensorConfig, TensorTransformer, make_optimizers
from zscope.stats import bootstrap_interval, finite, wilson_interval
from zscope.studies.components.letters.config import LettersConfig
from zscope.studies.components.letters.prompts import Prompts, make_prompts, vocabulary_size
from zscope.tables.schema import Row
from zscope.training import warmup_linear

LAYERS = 2
WARMUP = 20  # steps
IN_ORDER, PERMUTED = "in order", "permuted"
"""Prompts that a model is tested on; of the permuted those whose label is not the position's."""


def train(config: LettersConfig, permuted: float, seed: int) -> TensorTransformer:
    """A two-layer softmax transformer with RMSNorm; its loss is that of the answer alone."""
    size = vocabulary_size(config.options, config.contents)
    shape = TensorConfig(
        d_vocab=size,
        n_ctx=2 * config.options + 2,
        n_layers=LAYERS,
        n_heads=config.n_heads,
        d_model=config.d_model,
        d_head=config.d_head,
        attention="softmax",
        rms_norm=True,
    )
    model = TensorTransformer(shape).init_weights(derive_seed(seed, "init"))
    rng = np.random.default_rng(derive_seed(seed, "data"))
    optimizers = make_optimizers(model)
    peaks = [[group["lr"] for group in o.param_groups] for o in optimizers]
    factor = warmup_linear(min(WARMUP, config.steps - 1), config.steps, 0.0)
    for step in range(config.steps):
        prompts = make_prompts(config.batch_size, config.options, config.contents, permuted, rng)
        logits = model(torch.from_numpy(prompts.tokens))[:, -1]
        F.cross_entropy(logits, torch.from_numpy(prompts.answer)).backward()
        for optimizer, of in zip(optimizers, peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, of, strict=True):
                group["lr"] = peak * factor(step)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    return model.eval().requires_grad_(False)


def tested_prompts(config: LettersConfig, seed: int) -> dict[str, Prompts]:
    """The same for all models. Of the permuted, those whose label is not the position's."""
    found = {}
    for name, share in ((IN_ORDER, 0.0), (PERMUTED, 1.0)):
        rng = np.random.default_rng(derive_seed(seed, f"letters {name}"))
        prompts = make_prompts(config.tested, config.options, config.contents, share, rng)
        if name == PERMUTED:
            apart = prompts.apart
            prompts = Prompts(prompts.tokens[apart], prompts.place[apart], prompts.answer[apart])
        found[name] = prompts
    return found


def readout_rows(
    model: TensorTransformer, tested: str, prompts: Prompts, bootstrap: Bootstrap
) -> Iterator[Row]:
    """Rates of two answers, and the attention of every head from the end to two tokens.

    Their null: of a rate chance; of attention the mean weight on the same token of other options.
    """
    nodes = NodeModel(model)
    tokens = torch.from_numpy(prompts.tokens)
    run = nodes.run(nodes.embed(tokens))
    said = nodes.logits(run.streams[-1][:, -1]).argmax(-1).numpy()
    options = (tokens.shape[1] - 2) // 2
    n = len(said)
    for metric, wanted in (("label", prompts.answer), ("letter_of_position", prompts.place)):
        hits = int((said == wanted).sum())
        low, high = wilson_interval(hits, n, bootstrap.level)
        yield {
            **{"tested": tested, "metric": metric, "layer": None, "head": None, "value": hits / n},
            **{"ci_low": float(low), "ci_high": float(high), "null": 1 / options, "n": n},
        }
    for layer, of_layer in enumerate(run.layers):
        last = of_layer.pattern[:, :, -1].numpy()
        for metric, shift in (("attention_label", 0), ("attention_content", 1)):
            weights = last[:, :, shift : 2 * options : 2]
            own = weights[np.arange(n), :, prompts.place]
            others = (weights.sum(-1) - own) / (options - 1)
            low, high = bootstrap_interval(own, bootstrap=bootstrap)
            for head in range(own.shape[1]):
                yield {
                    **{"tested": tested, "metric": metric, "layer": layer, "head": head},
                    **{"value": float(own[:, head].mean()), "ci_low": finite(float(low[head]))},
                    **{"ci_high": finite(float(high[head]))},
                    **{"null": float(others[:, head].mean()), "n": n},
                }
