"""Tokens of one prompt carried to another's by optimal transport (protocol A.6).

The plan minimises sum_st plan_st C_st with C_st = ||source_s - target_t||^2 between uniform
marginals. It is the exact one (network simplex, `ot.emd`): no entropic blur, nothing to tune. A
target token's image is its barycentre sum_s (plan_st / b_t) source_s.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from zscope.core.errors import DataError


def transport_plan(
    source: Float[Tensor, "n_source d"], target: Float[Tensor, "n_target d"]
) -> Float[Tensor, "n_source n_target"]:
    """The plan in float64 on the CPU: rows sum to 1/n_source, columns to 1/n_target.

    Raises DataError for a prompt without tokens, or states that are not finite.
    """
    import ot

    if not len(source) or not len(target):
        raise DataError("a prompt without tokens cannot be aligned")
    x, y = source.double().cpu(), target.double().cpu()
    if not bool(torch.isfinite(x).all() and torch.isfinite(y).all()):
        raise DataError("states that are not finite cannot be aligned: run the model in float32")
    # Differences rather than products: far from the origin the products cancel.
    cost = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square()
    a, b = (torch.full((n,), 1 / n, dtype=torch.float64) for n in cost.shape)
    return torch.from_numpy(ot.emd(a.numpy(), b.numpy(), cost.numpy()))


def barycentric_image(
    source: Float[Tensor, "n_source d"], target: Float[Tensor, "n_target d"]
) -> Float[Tensor, "n_target d"]:
    """For every target token the mean of the source tokens that its mass comes from.

    In the dtype and on the device of `source`. The mean over the target's tokens is the source's.
    """
    plan = transport_plan(source, target)
    weights = plan / plan.sum(0)
    return (weights.mT @ source.double().cpu()).to(source)
