"""Z from the weights of one attention layer: top right singular vectors of its heads' kernels.

A head's kernel is K_h = A_h^T B_h, with g the gain of the layer's input norm, g_q and g_k those of
the norms of queries and keys, and g_o that of the norm behind attention (1 where there is none):

    "qk"   (g_q W_q,h g)^T (g_k W_k,kv(h) g)   rows of Z lie in the row space of W_k (the key side)
    "kq"   its transpose                       in that of W_q (the query side)
    "ov"   (W_o,h g_o)^T (W_v,kv(h) g)         in that of W_v (what the layer reads to write)

Norms divide by a root mean square that depends on the data. It is left out, as it is one number per
token, or per token and head. The kernel of "qk" is the score, up to such factors, only where query
and key share a position, since the rotary embedding sits between W_q and W_k; biases of the
projections are left out. So are the protocol's 1/sqrt(d_head) and whatever a config puts in its
place (Gemma's query_pre_attn_scalar): every K_h is scaled to Frobenius norm 1 before they are
stacked.
"""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N806

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from zscope.core.errors import DataError

Kind: TypeAlias = Literal["qk", "kq", "ov"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, eq=False)
class AttentionWeights:
    """Weights of one layer; head h reads key-value head h // (n_heads // n_kv).

    Every matrix maps the stream's d dimensions (last axis) to or from a head's d_head. gain,
    q_gain, k_gain, o_gain: g, g_q, g_k and g_o; None for a norm that is not there. Raises
    ValueError if the shapes contradict each other.
    """

    W_q: Float[Tensor, "n_heads d_head d"]
    W_k: Float[Tensor, "n_kv d_head d"]
    W_v: Float[Tensor, "n_kv d_head d"]
    W_o: Float[Tensor, "n_heads d_head d"]
    gain: Float[Tensor, " d"]
    q_gain: Float[Tensor, " d_head"] | None = None
    k_gain: Float[Tensor, " d_head"] | None = None
    o_gain: Float[Tensor, " d"] | None = None

    def __post_init__(self) -> None:
        n_heads, d_head, d = self.W_q.shape
        n_kv = len(self.W_k)
        expected = {"W_k": (n_kv, d_head, d), "W_v": (n_kv, d_head, d), "gain": (d,)}
        expected |= {"W_o": (n_heads, d_head, d), "o_gain": (d,)}
        expected |= {"q_gain": (d_head,), "k_gain": (d_head,)}
        for name, shape in expected.items():
            found = getattr(self, name)
            if found is not None and tuple(found.shape) != shape:
                raise ValueError(f"{name} is {tuple(found.shape)}, not {shape}")
        if n_heads % n_kv:
            raise ValueError(f"{n_heads} heads cannot share {n_kv} key-value heads")

    @property
    def n_heads(self) -> int:
        return len(self.W_q)

    @property
    def n_kv(self) -> int:
        return len(self.W_k)

    @property
    def d_head(self) -> int:
        return self.W_q.shape[1]

    @property
    def d(self) -> int:
        return self.W_q.shape[2]


def rank_bound(weights: AttentionWeights, kind: Kind = "qk", head: int | None = None) -> int:
    """Largest rank that the stacked kernel can have: matrices on its right x d_head, or d."""
    n = 1 if head is not None else weights.n_heads if kind == "kq" else weights.n_kv
    return min(n * weights.d_head, weights.d)


def stacked_right_space(
    weights: AttentionWeights, k: int, kind: Kind = "qk", head: int | None = None
) -> Float[Tensor, "k d"]:
    """V_Z: top k right singular vectors of the stacked kernels, rows orthonormal, in float64.

    head: this head's kernel alone. The largest entry of a row is positive. Raises DataError if k
    is more than the rank of the stacked kernel: what is past it would be arbitrary.
    """
    bound = rank_bound(weights, kind, head)
    if not 1 <= k <= bound:
        n = bound // weights.d_head if bound % weights.d_head == 0 else None
        why = f"{n} x {weights.d_head}" if n else f"d {weights.d}"
        raise DataError(f"k = {k} is not in 1..{bound}, the rank bound of kind {kind} ({why})")
    _, s, V = torch.linalg.svd(_factor(weights, kind, head), full_matrices=False)
    rank = int((s > s[0] * torch.finfo(s.dtype).eps * weights.d).sum())
    if k > rank:
        raise DataError(f"k = {k} is more than {rank}, the rank of these weights (kind {kind})")
    V = V[:k]
    largest = V.gather(1, V.abs().argmax(1, keepdim=True))
    return V * largest.sign()


class KernelSpectra(NamedTuple):
    """Singular values of a layer's kernels, falling.

    heads: of every head's kernel; squares sum to 1; r = min(d_head, d). stack: of the stacked
    kernels; squares sum to n_heads.
    """

    heads: Float[Tensor, "n_heads r"]
    stack: Float[Tensor, " rank_bound"]


def kernel_spectra(weights: AttentionWeights, kind: Kind = "qk") -> KernelSpectra:
    """The spectra of a layer's kernels, in float64, exact to about 1e-8 of the largest value.

    They are roots of eigenvalues of small Gram matrices: with M = A A^T / ||K||^2 = R^T R, the
    squares of a head's singular values are the eigenvalues of R B B^T R^T, of d_head x d_head. That
    is several times as fast as singular values, and the stack needs the same products. Raises
    DataError if the kernel of a head is zero or not finite.
    """
    _, right = _sides(weights, kind)
    middle, grams_right = _grams(weights, kind)
    root = _root(middle)
    heads = torch.linalg.eigvalsh(root @ _per_head(grams_right, weights) @ root.mT)
    rows = (_root(_per_right(middle, right)) @ right).flatten(0, 1)
    stack = torch.linalg.eigvalsh(rows @ rows.mT if len(rows) <= weights.d else rows.mT @ rows)
    r = min(weights.d_head, weights.d)
    return KernelSpectra(_falling_roots(heads)[:, :r], _falling_roots(stack))


def _falling_roots(values: Float[Tensor, "*n r"]) -> Float[Tensor, "*n r"]:
    """Roots of rising eigenvalues, which rounding may put below 0."""
    return values.flip(-1).clamp(min=0).sqrt()


def _sides(
    weights: AttentionWeights, kind: Kind
) -> tuple[Float[Tensor, "n_left d_head d"], Float[Tensor, "n_right d_head d"]]:
    """A and B of K_h = A^T B: one matrix per head, or per key-value head where heads share it."""
    gain = weights.gain.double()
    if kind == "ov":
        written = weights.W_o.double()
        if weights.o_gain is not None:
            written = written * weights.o_gain.double()
        return written, weights.W_v.double() * gain
    q, k = weights.W_q.double() * gain, weights.W_k.double() * gain
    if weights.q_gain is not None:
        q = q * weights.q_gain.double().unsqueeze(-1)
    if weights.k_gain is not None:
        k = k * weights.k_gain.double().unsqueeze(-1)
    if kind == "qk":
        return q, k
    if kind == "kq":
        return k, q
    raise ValueError(f"no kind {kind!r}: one of {', '.join(KINDS)}")


def _per_head(
    matrices: Float[Tensor, "n_side d_head d_head"], weights: AttentionWeights
) -> Float[Tensor, "n_heads d_head d_head"]:
    """One matrix per head, from one per head or per key-value head."""
    return matrices.repeat_interleave(weights.n_heads // len(matrices), 0)


def _grams(
    weights: AttentionWeights, kind: Kind
) -> tuple[Float[Tensor, "n_heads d_head d_head"], Float[Tensor, "n_right d_head d_head"]]:
    """A A^T / ||K_h||^2 of every head, and B B^T of every matrix on the right.

    Raises DataError if the kernel of a head is zero or not finite.
    """
    left, right = _sides(weights, kind)
    grams_right = right @ right.mT
    middle, other = _per_head(left @ left.mT, weights), _per_head(grams_right, weights)
    squares = (middle * other).sum((1, 2), keepdim=True)  # ||A^T B||^2 = <A A^T, B B^T>
    if not bool(torch.isfinite(squares).all() and (squares > 0).all()):
        raise DataError("the kernel of a head is zero or not finite: there is no Z")
    return middle / squares, grams_right


def _per_right(
    middle: Float[Tensor, "n_heads d_head d_head"], right: Float[Tensor, "n_right d_head d"]
) -> Float[Tensor, "n_right d_head d_head"]:
    """Sums over the heads that share a matrix on the right."""
    if len(right) == len(middle):
        return middle
    return middle.unflatten(0, (len(right), len(middle) // len(right))).sum(1)


def _root(grams: Float[Tensor, "*n r r"]) -> Float[Tensor, "*n r r"]:
    """R with R^T R the Gram matrices: by Cholesky, or by eigenvectors if one is singular."""
    L, failed = torch.linalg.cholesky_ex(grams)
    return _eigen_root(grams) if bool(failed.any()) else L.mT


def _eigen_root(grams: Float[Tensor, "*n r r"]) -> Float[Tensor, "*n r r"]:
    """The same of matrices that may be singular, as with fewer dimensions than d_head."""
    values, vectors = torch.linalg.eigh(grams)
    return values.clamp(min=0).sqrt().unsqueeze(-1) * vectors.mT


def _factor(
    weights: AttentionWeights, kind: Kind, head: int | None
) -> Float[Tensor, "rank_bound d"]:
    """F with F^T F = sum_h K_h^T K_h, and so with the stack's singular values and right vectors.

    The heads of a group share B: their sum is B^T (sum_h c_h A_h A_h^T) B with c_h = 1/||K_h||^2,
    and only its middle, d_head x d_head, has to be factored.
    """
    _, right = _sides(weights, kind)
    middle, _ = _grams(weights, kind)
    if head is not None:
        share = weights.n_heads // weights.n_kv
        middle, right = middle[head : head + 1], right[[head if kind == "kq" else head // share]]
    rows = (_eigen_root(_per_right(middle, right)) @ right).flatten(0, 1)
    return rows if len(rows) <= weights.d else torch.linalg.qr(rows, mode="r").R
