"""The effect of patching z in a polynomial model, by its degree in the patch's strength.

Degree 1 is attribution patching, exactly; the others are its error
(`zscope.models.exact_patching`).
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from zscope.models.attention_nodes import Answers
from zscope.models.exact_patching import head_direction, patch_polynomial
from zscope.models.tensor_transformer import TensorTransformer
from zscope.studies.components.attribution.estimates import PairRuns
from zscope.studies.components.attribution.exhaustive import Nodes


def z_by_degree(
    model: TensorTransformer, pairs: PairRuns, tokens: Tensor, nodes: Nodes, at: int
) -> Float[np.ndarray, "degree n"]:
    """The effect on the metric by degree (1, 2, ...) of the z nodes of pair `at`, all of one layer.

    tokens: clean prompts. Raises DataError for a model that is not polynomial.
    """
    mine = nodes.pair == at
    head, position = nodes.head[mine], nodes.position[mine]
    read = int(pairs.answers.read[at])
    before, after = (run.layers[nodes.layer].z[at] for run in (pairs.clean, pairs.corrupted))
    prompt = tokens[at, : read + 1].repeat(len(head), 1)
    direction = torch.zeros(*prompt.shape, model.config.d_model, dtype=torch.float64)
    for row, (h, p) in enumerate(zip(head.tolist(), position.tolist(), strict=True)):
        change = (after - before)[h, p][None, None]
        direction[row, p] = head_direction(model, nodes.layer, h, change)[0, 0]
    polynomial = patch_polynomial(model, prompt, nodes.layer + 1, direction, [read])
    logits = torch.from_numpy(polynomial.by_degree()[1:, :, 0])
    answer = Answers(torch.zeros(len(head)), pairs.answers.answer[at].repeat(len(head)))
    return torch.stack([answer.of(of_degree) for of_degree in logits]).numpy()
