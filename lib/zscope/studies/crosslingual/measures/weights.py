"""Phases 1 and 2 of the protocol, from the weights of a layer alone: rows of crosslingual_weights.

Metrics, of a head's kernel (`head`), or of the stacked kernels of all heads:

    entropy_rank, energy_rank, participation_ratio, stable_rank
        effective ranks (space.ranks); the null has Gaussian weights of the same shapes
    <rank>_cv
        coefficient of variation of a rank across the heads

of Z, for every k:

    ffn_write_share   share of the energy of the columns of W_down in Z, times the gain of the norm
                      behind the FFN where there is one
    ffn_read_share    the same for the rows of W_gate and W_up, times the gain of their norm
    ffn_write_span    overlap of Z with the k directions that W_down writes most into
    layer_similarity  tr(P_i P_j) / k of the spaces of two layers

whose null has uniform spaces of k dimensions; its mean is the analytic k/d.
"""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N803, N806

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from zscope.config.base import Bootstrap
from zscope.models.architectures import FfnWeights
from zscope.models.attention_kernels import (
    AttentionWeights,
    KernelSpectra,
    Kind,
    kernel_spectra,
)
from zscope.studies.crosslingual.measures.intervals import NO_NULL, null_band
from zscope.studies.crosslingual.space.ranks import (
    coefficient_of_variation,
    effective_ranks,
    gaussian_weights,
)
from zscope.studies.crosslingual.space.subspaces import chance_share
from zscope.tables.schema import Row

RANK_METRICS = {
    "entropy": "entropy_rank",
    "energy": "energy_rank",
    "participation": "participation_ratio",
    "stable": "stable_rank",
}


def rank_rows(
    weights: AttentionWeights,
    layer: int,
    kinds: Sequence[Kind],
    draws: int,
    generator: torch.Generator,
    bootstrap: Bootstrap,
) -> Iterator[Row]:
    """Effective ranks of heads and of their stack, and how they vary across heads."""
    drawn: dict[Kind, list[KernelSpectra]] = {kind: [] for kind in kinds}
    for _ in range(draws):
        gaussian = gaussian_weights(weights, generator, kinds)
        for kind in kinds:
            drawn[kind].append(kernel_spectra(gaussian, kind))
    for kind in kinds:
        spectra = kernel_spectra(weights, kind)
        own, stack = effective_ranks(spectra.heads), effective_ranks(spectra.stack)
        nulls = effective_ranks(torch.stack([of_draw.heads for of_draw in drawn[kind]]))
        stack_nulls = effective_ranks(torch.stack([of_draw.stack for of_draw in drawn[kind]]))
        for name, metric in RANK_METRICS.items():
            null = nulls[name]
            # The heads of a draw are several values of one draw: they share key-value heads.
            band = null_band("gaussian", null.flatten(), bootstrap, draws=draws)
            for head, value in enumerate(own[name].tolist()):
                yield _row(layer, metric, value, band, kind, head=head)
            band = null_band("gaussian", stack_nulls[name], bootstrap)
            yield _row(layer, metric, float(stack[name]), band, kind)
            band = null_band("gaussian", coefficient_of_variation(null), bootstrap)
            value = float(coefficient_of_variation(own[name]))
            yield _row(layer, f"{metric}_cv", value, band, kind)


@dataclass(frozen=True, eq=False)
class FfnMoments:
    """W^T W of the vectors of the stream that a layer's FFN writes, and of those that it reads."""

    write: Float[Tensor, "d d"]
    read: Float[Tensor, "d d"]

    @classmethod
    def of(cls, ffn: FfnWeights) -> FfnMoments:
        """In float64 on the CPU. What the norms divide by, one number per token, is left out."""

        def moments(vectors: Tensor) -> Tensor:
            W = vectors.cpu().double()
            return W.mT @ W

        read = moments(ffn.W_gate) + moments(ffn.W_up)
        return cls(_scaled(moments(ffn.W_down), ffn.out_gain), _scaled(read, ffn.gain))


def _scaled(
    moments: Float[Tensor, "d d"], gain: Float[Tensor, " d"] | None
) -> Float[Tensor, "d d"]:
    """Moments of vectors whose dimensions are multiplied by a gain."""
    return moments if gain is None else gain.unsqueeze(1) * moments * gain


def ffn_rows(
    ffn: FfnMoments,
    spaces: Mapping[tuple[Kind, int], Float[Tensor, "k d"]],
    random: Mapping[int, Float[Tensor, "draws k d"]],
    layer: int,
    bootstrap: Bootstrap,
) -> Iterator[Row]:
    """Shares of the FFN's energy in the layer's Z. spaces: by kind and k; random: by k.

    The random spaces are taken in the basis of the eigenvectors of each measured matrix, where they
    are as uniform: so the share of one is a mean of eigenvalues, weighted by what it holds of each
    axis, and takes d products instead of k d^2.
    """
    written, vectors = torch.linalg.eigh(ffn.write)
    written, top = written.flip(0), vectors.flip(1)
    read = torch.linalg.eigvalsh(ffn.read).flip(0)
    axes = {k: V.square().sum(1) for k, V in random.items()}
    for (kind, k), V in spaces.items():
        span, first = top[:, :k], (torch.arange(len(written)) < k).double()
        for metric, moments, spectrum in (
            ("ffn_write_share", ffn.write / ffn.write.trace(), written / written.sum()),
            ("ffn_read_share", ffn.read / ffn.read.trace(), read / read.sum()),
            ("ffn_write_span", span @ span.mT / k, first / k),
        ):
            null = _uniform_null(axes[k] @ spectrum, k, V.shape[1], bootstrap)
            yield _row(layer, metric, float(_energy(V, moments)), null, kind, k=k)


def similarity_rows(
    spaces: Mapping[int, Float[Tensor, "k d"]],
    random: Float[Tensor, "draws k d"],
    kind: Kind,
    bootstrap: Bootstrap,
) -> Iterator[Row]:
    """tr(P_i P_j) / k of all pairs of layers i < j. spaces: by layer, all of one k.

    The null has all pairs of the random spaces.
    """
    k, d = random.shape[1:]
    pairs = [(V @ random[i:].mT).square().sum((1, 2)) for i, V in enumerate(random[:-1], 1)]
    band = _uniform_null(torch.cat(pairs) / k, k, d, bootstrap, len(random))
    for i, V in spaces.items():
        for j, other in spaces.items():
            if i < j:
                value = float((V @ other.mT).square().sum()) / k
                yield _row(i, "layer_similarity", value, band, kind, k=k) | {"layer_2": j}


def _energy(V: Float[Tensor, "k d"], moments: Float[Tensor, "d d"]) -> Float[Tensor, ""]:
    """tr(V M V^T)."""
    return ((V @ moments) * V).sum()


def _uniform_null(
    values: Float[Tensor, " values"], k: int, d: int, bootstrap: Bootstrap, draws: int | None = None
) -> Row:
    band = null_band("random", values, bootstrap, draws=draws)
    return band | {"null_mean": chance_share(k, d)}


def _row(
    layer: int,
    metric: str,
    value: float,
    null: Row,
    kind: Kind,
    *,
    head: int | None = None,
    k: int | None = None,
) -> Row:
    return {
        "layer": layer,
        "layer_2": None,
        "head": head,
        "kind": kind,
        "k": k,
        "metric": metric,
        "value": value,
        **NO_NULL,
        **null,
    }
