"""All three experiments on one trained model: suppression, error correction and reuse."""

from __future__ import annotations

import numpy as np
import torch

from zscope.config.base import Bootstrap
from zscope.core.provenance import derive_seed
from zscope.models.tensor_transformer import TensorTransformer
from zscope.studies.toylang.phenomena.error_correction import error_rows, repair_rows
from zscope.studies.toylang.phenomena.reuse import reuse_rows
from zscope.studies.toylang.phenomena.suppression import suppression_rows
from zscope.studies.toylang.readouts.weights import TensorWeights
from zscope.tables.schema import Row
from zscope.toy_language.excess import ToyEvaluation
from zscope.toy_language.language import ToyLanguage

SEQUENCES = 256  # on which the excess is measured


@torch.no_grad()
def phenomena_rows(
    model: TensorTransformer, language: ToyLanguage, bootstrap: Bootstrap, seed: int
) -> list[Row]:
    """Rows of toylang_phenomena of one model, without condition and seed.

    seed: of the prefixes, the sequences and the placebos. A primitive that is off has no rows. In a
    model that is no polynomial, no head is named.

    The modules of the three experiments define their cases and metrics. `n` counts prefixes, no two
    from one sequence, and intervals are over prefixes. For an excess `n` counts positions, and
    intervals are over sequences; for by_weights it counts names, for n_primitives primitives.
    """

    def rng(name: str) -> np.random.Generator:
        return np.random.default_rng(derive_seed(seed, f"phenomena/{name}"))

    device = next(model.parameters()).device
    weights = TensorWeights.from_model(model) if model.config.is_polynomial else None
    evaluation = ToyEvaluation.sample(
        language, SEQUENCES, derive_seed(seed, "phenomena/evaluation"), bootstrap, device
    )
    return [
        *suppression_rows(model, language, weights, bootstrap, rng("suppression")),
        *error_rows(model, language, bootstrap, rng("error_correction")),
        *repair_rows(model, evaluation, bootstrap),
        *reuse_rows(model, evaluation, bootstrap, rng("reuse")),
    ]
