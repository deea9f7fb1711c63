"""MMD^2 of token clouds under a Gaussian kernel with one precision per dimension, by matmul.

k(x, y) = exp(-1/2 sum_j p_j (x_j - y_j)^2) with p_j = 1/l_j^2 (protocol C.1), and the unbiased
estimator of MMD^2 (Gretton et al. 2012, lemma 6; protocol C.2). Differences of tokens are never
formed: the exponent is x.y - |x|^2/2 - |y|^2/2 of scaled tokens, one product, and so is its
gradient. Both cancel where the tokens lie far from the origin: clouds are centred first.
"""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N806

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from zscope.core.errors import DataError

PART_BYTES = 2**22


@dataclass(frozen=True, eq=False)
class Clouds:
    """Tokens of n problems in two languages, padded anywhere; row i of both is one problem.

    Masks are true at real tokens; padding holds 0. Made by `make_clouds`.
    """

    zh: Float[Tensor, "n t d"]
    zh_mask: Bool[Tensor, "n t"]
    en: Float[Tensor, "n s d"]
    en_mask: Bool[Tensor, "n s"]

    def __len__(self) -> int:
        return len(self.zh)

    @property
    def d(self) -> int:
        return self.zh.shape[-1]

    def tokens(self) -> Float[Tensor, "tokens d"]:
        """All real tokens of both languages."""
        return torch.cat([self.zh[self.zh_mask], self.en[self.en_mask]])

    def select(self, problems: Int[Tensor, " m"] | Bool[Tensor, " n"]) -> Clouds:
        """The clouds of some problems."""
        parts = (self.zh, self.zh_mask, self.en, self.en_mask)
        return Clouds(*(part[problems] for part in parts))

    def project(self, basis: Float[Tensor, "r d"], mean: Float[Tensor, " d"]) -> Clouds:
        """Coordinates of x - mean along the rows of `basis`; padding stays 0."""

        def coordinates(x: Tensor, mask: Tensor) -> Tensor:
            return ((x - mean) @ basis.mT).masked_fill(~mask.unsqueeze(-1), 0)

        zh, en = coordinates(self.zh, self.zh_mask), coordinates(self.en, self.en_mask)
        return replace(self, zh=zh, en=en)

    def centred(self, mean: Float[Tensor, " d"] | None = None) -> Clouds:
        """x - mean; `mean` defaults to that of all tokens, taken in float64. MMDs stay the same."""
        mean = self.tokens().double().mean(0) if mean is None else mean

        def shifted(x: Tensor, mask: Tensor) -> Tensor:
            return (x - mean).to(x.dtype).masked_fill(~mask.unsqueeze(-1), 0)

        return replace(self, zh=shifted(self.zh, self.zh_mask), en=shifted(self.en, self.en_mask))

    def to(self, dtype: torch.dtype) -> Clouds:
        return replace(self, zh=self.zh.to(dtype), en=self.en.to(dtype))


def make_clouds(
    zh: Float[Tensor, "n t d"],
    zh_mask: Bool[Tensor, "n t"],
    en: Float[Tensor, "n s d"],
    en_mask: Bool[Tensor, "n s"],
) -> Clouds:
    """Clouds of paired states, whatever the padding holds.

    Raises ValueError if the shapes contradict each other; DataError if there is no problem, a
    cloud has fewer than 2 tokens (the unbiased estimator needs 2), or a state is not finite.
    """
    for x, mask in ((zh, zh_mask), (en, en_mask)):
        if x.shape[:2] != mask.shape or len(x) != len(zh) or x.shape[-1] != zh.shape[-1]:
            raise ValueError(f"states {tuple(zh.shape)}, {tuple(en.shape)} and masks do not fit")
    if not len(zh):
        raise DataError("no problem to compare the languages on")
    parts = []
    for language, x, mask in (("zh", zh, zh_mask.bool()), ("en", en, en_mask.bool())):
        short = torch.nonzero(mask.sum(1) < 2).flatten().tolist()
        if short:
            raise DataError(f"{language} text of problem {short[0]} has fewer than 2 tokens")
        if not bool(torch.isfinite(x[mask]).all()):
            raise DataError(f"{language} states hold values that are not finite")
        parts += [x.masked_fill(~mask.unsqueeze(-1), 0), mask]
    return Clouds(*parts)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Both clouds of every problem in one tensor, and which token is whose (0 or 1: zh, en)."""

    tokens: Float[Tensor, "n a d"]
    member: Float[Tensor, "n a 2"]


@dataclass(frozen=True, eq=False)
class Group:
    """Tokens of problems that are compared with each other, packed without padding between them.

    g groups of up to m problems each; `member` is 1 where a token belongs to a problem. `index` is
    the row of a problem in `clouds`, -1 where a group has fewer than m.
    """

    clouds: Clouds
    zh: Float[Tensor, "g a d"]
    zh_member: Float[Tensor, "g m a"]
    en: Float[Tensor, "g b d"]
    en_member: Float[Tensor, "g m b"]
    index: Int[Tensor, "g m"]

    @property
    def valid(self) -> Bool[Tensor, "g m"]:
        return self.index >= 0


def make_pairs(clouds: Clouds) -> Pairs:
    """The paired form, for `paired_mmd`."""
    c, zero = clouds, torch.zeros((), dtype=clouds.zh.dtype, device=clouds.zh.device)
    zh, en = c.zh_mask.to(c.zh.dtype), c.en_mask.to(c.zh.dtype)
    member = torch.stack(
        [torch.cat([zh, zero.expand_as(en)], 1), torch.cat([zero.expand_as(zh), en], 1)], -1
    )
    return Pairs(torch.cat([c.zh, c.en], 1), member)


def make_groups(clouds: Clouds, rows: Sequence[Sequence[int]]) -> Group:
    """The grouped form, for `group_mmd`; rows: the problems of each group.

    One group of all problems gives all n^2 MMDs.
    """
    m = max(len(r) for r in rows)
    index = torch.tensor([[*r, *[-1] * (m - len(r))] for r in rows], device=clouds.zh.device)

    def packed(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        longest = max(int(mask[list(r)].sum()) for r in rows)
        tokens = x.new_zeros(len(rows), longest, x.shape[-1])
        member = x.new_zeros(len(rows), m, longest)
        for i, r in enumerate(rows):
            at = 0
            for j, problem in enumerate(r):
                own = x[problem, mask[problem]]
                tokens[i, at : at + len(own)] = own
                member[i, j, at : at + len(own)] = 1
                at += len(own)
        return tokens, member

    zh, en = packed(clouds.zh, clouds.zh_mask), packed(clouds.en, clouds.en_mask)
    return Group(clouds, *zh, *en, index)


class _Kernel(torch.autograd.Function):
    """K[a, b] = exp(-1/2 sum_j p_j (x_aj - y_bj)^2), with a gradient for p alone.

    With R = dL/dK * K the gradient is -1/2 sum_ab R_ab (x_aj - y_bj)^2; multiplied out it is a sum
    over x_aj (R y)_aj and two weighted sums of squares.
    """

    @staticmethod
    def forward(ctx: Any, p: Tensor, x: Tensor, y: Tensor) -> Tensor:
        ctx.own = y is x
        K = x.new_empty(len(x), x.shape[1], y.shape[1])
        for part in _parts(x):
            product = torch.bmm(x[part] * p, y[part].mT, out=K[part])
            if ctx.own:
                half_x = half_y = product.diagonal(dim1=1, dim2=2) / 2
            else:
                half_x, half_y = (((z * p).mul_(z)).sum(-1) / 2 for z in (x[part], y[part]))
            product.sub_(half_x.unsqueeze(-1)).sub_(half_y.unsqueeze(-2)).clamp_(max=0).exp_()
        ctx.save_for_backward(x, y, K)
        return K

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        x, y, K = ctx.saved_tensors
        total = x.new_zeros(x.shape[-1])
        for part in _parts(x):
            R = grads[0][part] * K[part]
            rows, columns = R.sum(-1, keepdim=True), R.sum(-2).unsqueeze(-1)
            if ctx.own:
                rows = rows + columns
            total += (R @ y[part]).mul_(-2).addcmul_(rows, x[part]).mul_(x[part]).sum((0, 1))
            if not ctx.own:
                total += (columns * y[part]).mul_(y[part]).sum((0, 1))
        return total / -2, None, None


def _parts(x: Float[Tensor, "n a d"]) -> list[slice]:
    """Runs of n in which a scaled copy of x takes about 4 MiB: it stays small, and in the cache."""
    step = max(1, PART_BYTES // (x[0].numel() * x.element_size()))
    return [slice(start, start + step) for start in range(0, len(x), step)]


def kernel(
    p: Float[Tensor, " d"], x: Float[Tensor, "n a d"], y: Float[Tensor, "n b d"]
) -> Float[Tensor, "n a b"]:
    """Kernel of all tokens of x[i] with all of y[i]; differentiable once, in p."""
    return _Kernel.apply(p, x, y)


def paired_mmd(pairs: Pairs, p: Float[Tensor, " d"]) -> Float[Tensor, " n"]:
    """Unbiased MMD^2 of the two clouds of every problem; exactly 0 for p = 0."""
    own = torch.eye(pairs.tokens.shape[1], dtype=torch.bool, device=p.device)
    K = kernel(p, pairs.tokens, pairs.tokens).masked_fill(own, 0)
    sums = pairs.member.mT @ K @ pairs.member
    # Whole numbers are summed before they are divided, so a flat kernel gives 1 + 1 - 2.
    zh, en = pairs.member.sum(1).unbind(-1)
    within = sums[:, 0, 0] / (zh * (zh - 1)) + sums[:, 1, 1] / (en * (en - 1))
    return within - 2 * sums[:, 0, 1] / (zh * en)


def group_mmd(group: Group, p: Float[Tensor, " d"]) -> Float[Tensor, "g m m"]:
    """Unbiased MMD^2 of the zh cloud of problem i and the en cloud of j, for all i and j.

    M = a_i + b_j - 2 A K A^T from one token kernel per group. Entries of problems that do not exist
    mean nothing. Memory grows with the square of a group's tokens.
    """
    c = group.clouds
    zh, en = _self_similarity(p, c.zh, c.zh_mask), _self_similarity(p, c.en, c.en_mask)
    cross = group.zh_member @ kernel(p, group.zh, group.en) @ group.en_member.mT
    # A missing problem has no tokens to divide by.
    n_zh, n_en = group.zh_member.sum(-1).clamp(min=1), group.en_member.sum(-1).clamp(min=1)
    cross = cross / (n_zh.unsqueeze(-1) * n_en.unsqueeze(-2))
    return zh[group.index].unsqueeze(-1) + en[group.index].unsqueeze(-2) - 2 * cross


def _self_similarity(
    p: Float[Tensor, " d"], x: Float[Tensor, "n t d"], mask: Bool[Tensor, "n t"]
) -> Float[Tensor, " n"]:
    """Mean kernel of two different tokens of a cloud."""
    real = mask.to(x.dtype)
    own = torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
    K = kernel(p, x, x).masked_fill(own, 0)
    n = real.sum(1)
    return torch.einsum("na,nab,nb->n", real, K, real) / (n * (n - 1))


def all_pairs_mmd(clouds: Clouds, p: Float[Tensor, " d"]) -> Float[Tensor, "n n"]:
    """`group_mmd` of all problems with all: row zh_i, column en_j."""
    return group_mmd(make_groups(clouds, [range(len(clouds))]), p)[0]
