"""Small models and decompositions of them for tests, and a language that is sampled in no time."""

from __future__ import annotations

import torch

from zscope.config.base import Bootstrap
from zscope.models.tensor_transformer import TensorConfig, TensorTransformer
from zscope.studies.components.decomposition.measured import Run
from zscope.studies.components.decomposition.rank_one import Decomposition
from zscope.studies.components.decomposition.targets import TransformerTarget
from zscope.toy_language.config import LanguageConfig
from zscope.toy_language.excess import ToyEvaluation
from zscope.toy_language.language import ToyLanguage

LANGUAGE = ToyLanguage(LanguageConfig(length=16))
BOOTSTRAP = Bootstrap(resamples=50)
SHAPES = {
    "bilinear": {},
    "softmax": {"attention": "softmax", "rms_norm": True},
    "lerp": {"residual": "lerp"},
}


def small_model(seed: int = 0, dtype: torch.dtype = torch.float64, **shape: object):
    config = TensorConfig(
        **{
            **{"d_vocab": len(LANGUAGE.vocabulary), "n_ctx": 16, "n_layers": 2, "n_heads": 2},
            **{"d_model": 16, "d_head": 8, **shape},
        }
    )
    model = TensorTransformer(config)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.empty(p.shape).normal_(generator=draw) * 0.3)
    return model.to(dtype).eval().requires_grad_(False)


def decomposition_of(model: TensorTransformer, n: int = 12, seed: int = 1) -> Decomposition:
    made = Decomposition(TransformerTarget(model), n, 8, seed)
    with torch.no_grad():
        # Importances that differ between positions and components.
        made.out.weight.mul_(20)
    return made.to(model.tok_embed.weight.dtype).requires_grad_(False)


def tokens(n: int = 6, seed: int = 3) -> torch.Tensor:
    return evaluation(n, seed).tokens


def evaluation(n: int = 6, seed: int = 3) -> ToyEvaluation:
    return ToyEvaluation.sample(LANGUAGE, n, seed, BOOTSTRAP, torch.device("cpu"))


def run_of(model: TensorTransformer, n: int = 12, sequences: int = 12) -> Run:
    return Run(decomposition_of(model, n), evaluation(sequences))
