"""The stream of a toy model, of its untrained twin, and the sequences that both read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from zscope.config.base import Bootstrap
from zscope.core.provenance import derive_seed
from zscope.models.checkpoints import CheckpointFile
from zscope.models.tensor_checkpoints import load_tensor_model
from zscope.models.tensor_transformer import TensorTransformer
from zscope.studies.components.dictionaries.config import ToyConfig
from zscope.studies.components.dictionaries.normalise import Normaliser
from zscope.studies.components.dictionaries.toy_truth import Truth, truth_of
from zscope.toy_language.config import LanguageConfig
from zscope.toy_language.excess import ToyEvaluation
from zscope.toy_language.language import ToyLanguage


@dataclass(frozen=True, eq=False)
class ToyTexts:
    """Sequences of a language: a pool for training, and others with their truth.

    Attributes:
        test: those that everything is measured on, with the exact conditionals.
    """

    language: ToyLanguage
    pool: Int[Tensor, "pool seq"]
    test: ToyEvaluation
    truth: Truth

    @classmethod
    def of(
        cls, settings: Mapping[str, Any], config: ToyConfig, seed: int, bootstrap: Bootstrap
    ) -> ToyTexts:
        language = ToyLanguage(LanguageConfig.model_validate(settings["language"]))
        rng = np.random.Generator(np.random.PCG64(derive_seed(seed, "dictionary pool")))
        pool = torch.from_numpy(language.sample(config.pool, rng).tokens)
        at = derive_seed(seed, "dictionary test")
        test = ToyEvaluation.sample(language, config.test, at, bootstrap, torch.device("cpu"))
        truth = truth_of(language, test.tokens.numpy(), config.tokens, seed)
        return cls(language, pool, test, truth)


@dataclass(frozen=True, eq=False)
class Site:
    """A model's stream before a layer, normalised by that of the pool.

    Attributes:
        pool, test: inputs of all positions but the last, sequence after sequence.
    """

    model: TensorTransformer
    layer: int
    scale: Normaliser
    pool: Float[Tensor, "inputs d"]
    test: Float[Tensor, "inputs d"]

    @classmethod
    def of(cls, model: TensorTransformer, layer: int, texts: ToyTexts) -> Site:
        pool, test = (streams(model, t, layer) for t in (texts.pool, texts.test.tokens))
        scale = Normaliser.of(pool)
        return cls(model, layer, scale, scale.forward(pool), scale.forward(test))

    @property
    def hook(self) -> str:
        """The site in TransformerLens' names."""
        last = self.layer == self.model.config.n_layers
        return (
            f"blocks.{self.layer - 1}.hook_resid_post"
            if last
            else f"blocks.{self.layer}.hook_resid_pre"
        )


@torch.no_grad()
def streams(
    model: TensorTransformer, tokens: Int[Tensor, "n seq"], layer: int
) -> Float[Tensor, "inputs d"]:
    """The stream before a layer at all positions but the last, a few sequences at a time."""
    parts = [model.stream(some, layer)[:, :-1].flatten(0, 1) for some in tokens.split(128)]
    return torch.cat(parts)


def untrained_twin(file: CheckpointFile, seed: int) -> TensorTransformer:
    """The model at the first step of its run, with output matrices drawn like its others.

    Training starts from output matrices of 0, with which the stream is the embedding alone. Drawn
    from N(0, 1/d_model), as the other matrices are, the twin's stream holds random mixtures of
    earlier tokens too, so it is the stronger null.
    """
    model = load_tensor_model(file, file.steps[0])
    generator = torch.Generator().manual_seed(derive_seed(seed, "untrained outputs"))
    with torch.no_grad():
        for block in model.blocks:
            W = block.attn.o.weight
            W.copy_(torch.empty(W.shape).normal_(0, W.shape[0] ** -0.5, generator=generator))
    return model
