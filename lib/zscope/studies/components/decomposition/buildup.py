"""Target against reconstruction: the components one after the other, and logit by logit."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from zscope.core.provenance import derive_seed
from zscope.studies.components.decomposition.masks import Masked, fixed_masks
from zscope.studies.components.decomposition.measured import Run
from zscope.tables.schema import Row

BY_IMPORTANCE, AT_RANDOM = "importance", "random"


def counts(total: int) -> list[int]:
    """0, powers of two, and all."""
    return [0, *(2**i for i in range(total.bit_length()) if 2**i < total), total]


def kept(
    order: Float[Tensor, "*at matrices component"], n: int
) -> Float[Tensor, "*at matrices component"]:
    """1 for the n largest of every position, else 0."""
    flat = order.flatten(-2)
    if n == 0:
        return torch.zeros_like(order)
    first = flat.topk(n, dim=-1).indices
    return torch.zeros_like(flat).scatter_(-1, first, 1.0).unflatten(-1, order.shape[-2:])


def buildup_rows(run: Run, seed: int) -> Iterator[Row]:
    """Divergence with the n components of largest importance at each position, without Delta, and
    with n random ones."""
    draw = torch.Generator().manual_seed(derive_seed(seed, "buildup"))
    total = len(run.decomposition.matrices) * run.decomposition.n
    for n in counts(total):
        for order in (BY_IMPORTANCE, AT_RANDOM):

            def masks_of(g: Tensor, n: int = n, order: str = order) -> Masked:
                ranks = g
                if order == AT_RANDOM:
                    ranks = torch.rand(g.shape, generator=draw)
                return Masked(kept(ranks, n), None)

            kl, _ = run.masked(masks_of)
            for row in run.evaluation.by_primitive(kl, "kl"):
                yield {"order": order, "components": n, **row}


def logit_rows(run: Run, n: int, seed: int) -> Iterator[Row]:
    """Logits of the target and of the reconstruction with g as masks, each less its mean over the
    vocabulary, at random positions and tokens."""
    rng = np.random.default_rng(derive_seed(seed, "logits"))
    some = run.evaluation.tokens
    with torch.no_grad():
        masks = fixed_masks("importance", run.g)
        logits = run.decomposition.target.run(some, masks.apply(run.decomposition))
    a, b = (x - x.mean(-1, keepdim=True) for x in (run.logits, logits))
    for i in range(n):
        at = tuple(int(rng.integers(size)) for size in a.shape)
        yield {"sample": i, "target": float(a[at]), "reconstruction": float(b[at])}
