"""How a head's output acts: the effect of exact patches on sampled prefixes, by polynomial degree.

One head's z at one position is replaced by its z in another sequence there. Degree 1 holds what the
patch writes to the logits directly, and the effects of one factor of the later layer. Degrees 2 and
3 need its keys and values together, degrees 4 and 5 its queries too (`models.exact_patching`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from zscope.core.provenance import derive_seed
from zscope.models.exact_patching import PatchPolynomial, head_direction, patch_polynomial
from zscope.models.tensor_heads import ReplacedHeads, head_name, head_z
from zscope.models.tensor_transformer import TensorTransformer
from zscope.tables.schema import Row
from zscope.toy_language.language import ToyLanguage

SEQUENCES = 16
LAYERS = 2  # the last ones; for earlier layers, degrees and evaluations reach hundreds


def degree_rows(model: TensorTransformer, language: ToyLanguage, seed: int) -> list[Row]:
    """Effects on the logit of the token that comes next, by degree: patch, reads, degree, value,
    share, error, n.

    Heads of the last two layers are patched in the middle of sampled sequences. The mean over the
    vocabulary, which softmax ignores, is subtracted from the logits. reads: here (the patched
    position) or later (all positions after it, which a patch of the last layer does not reach).
    Degree 0 is the whole effect. Its share, mean |effect| over the sum of the parts' mean |part|,
    is below 1 where parts cancel. error: over all logits, against running the patched model.

    Raises:
        DataError: softmax attention or norms, which are not polynomial.
    """
    rng = np.random.default_rng(derive_seed(seed, "degrees"))
    tokens = torch.from_numpy(language.sample(SEQUENCES, rng).tokens)
    exact = deepcopy(model).cpu().double()
    at, last = (tokens.shape[1] - 1) // 2, model.config.n_layers - 1
    rows: list[Row] = []
    with torch.no_grad():
        z, clean = head_z(exact, tokens), exact(tokens)
        for layer in range(max(0, last + 1 - LAYERS), last + 1):
            for head in range(model.config.n_heads):
                own = z[layer, :, :, head]
                patched = own.clone()
                patched[:, at] = own[:, at].roll(1, 0)
                direction = head_direction(exact, layer, head, patched - own)
                brute = ReplacedHeads(exact, {(layer, head): patched})(tokens) - clean
                name = f"{head_name(layer, head)} of another sequence"
                reads = {"here": [at], "later": list(range(at + 1, tokens.shape[1] - 1))}
                for where, read in reads.items():
                    if read and (where == "here" or layer < last):
                        found = patch_polynomial(exact, tokens, layer + 1, direction, read)
                        error = _largest_error(found, brute[:, read])
                        rows += [
                            {"patch": name, "reads": where, **row, "error": error}
                            for row in _by_degree(found, tokens, read)
                        ]
    return rows


def _largest_error(found: PatchPolynomial, brute: Float[Tensor, "batch position vocab"]) -> float:
    return float(np.abs(found.effect() - brute.numpy()).max())


def _by_degree(
    found: PatchPolynomial, tokens: Int[Tensor, "batch seq"], read: Sequence[int]
) -> Iterator[Row]:
    """degree, value, share and n for the next token's logit at positions `read`."""
    following = tokens[:, [position + 1 for position in read]].numpy()[None, ..., None]

    def of_next(
        logits: Float[np.ndarray, "degree batch position vocab"],
    ) -> Float[np.ndarray, "degree batch position"]:
        own = np.take_along_axis(logits, following, axis=-1)[..., 0]
        return own - logits.mean(-1)

    whole, parts = of_next(found.effect()[None]), of_next(found.by_degree()[1:])
    size = np.abs(parts).mean((1, 2)).sum()
    for degree, part in enumerate([*whole, *parts]):
        yield {
            "degree": degree,
            "value": float(part.mean()),
            "share": float(np.abs(part).mean() / size) if size else 0.0,
            "n": part.size,
        }
