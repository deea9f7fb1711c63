"""Subspaces of the residual stream, given by V [k, d] with orthonormal rows: P = V^T V.

A direction drawn at random has k/d of its energy in any space of k dimensions, so k/d is what a
share is compared with, and sqrt(k/(d-k)) is what a ratio of norms in and out of it is.
"""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N803, N806

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from zscope.core.errors import DataError

LEAST_RATIO = 1e-12
"""Eigenvalues below this share of the largest one count as no energy."""
STEEPEST = 64.0
"""Largest |a| tried for an energy-matched space: (eigenvalue ratio)^32 is past float64 anyway."""
LEAST_DIAGONAL = 1e-4
"""Smallest entry of a Cholesky factor's diagonal, over the largest, with which a Gram matrix is
used in place of QR."""


def random_space(d: int, k: int, generator: torch.Generator) -> Float[Tensor, "k d"]:
    """A space of k dimensions drawn uniformly (Haar), in float64. DataError unless 1 <= k <= d."""
    _check_k(k, d)
    return _orthonormal(torch.randn(d, k, generator=generator, dtype=torch.float64))


def energy_share(x: Float[Tensor, "*n d"], V: Float[Tensor, "k d"]) -> float:
    """||x V^T||^2 / ||x||^2 over all of x, not centred. Raises DataError if x is 0."""
    x = x.double()
    total = float(x.square().sum())
    if not total > 0:
        raise DataError("states that are all 0 have no energy to share")
    return float((x @ V.double().mT).square().sum()) / total


class EnergySpectrum(NamedTuple):
    """Eigenvalues (falling, summing to 1) and eigenvectors (columns) of second moments.

    Directions of no energy may be left out: then there are fewer than d.
    """

    energy: Float[Tensor, " r"]
    vectors: Float[Tensor, "d r"]


def energy_spectrum(cov: Float[Tensor, "d d"]) -> EnergySpectrum:
    """The spectrum of second moments, in float64. Raises DataError if they are 0."""
    values, vectors = torch.linalg.eigh(cov.double())
    return _spectrum(values.flip(0).clamp(min=0), vectors.flip(1))


def energy_spectrum_of(states: Float[Tensor, "n d"]) -> EnergySpectrum:
    """The spectrum of X^T X, in float64; n directions if there are fewer states than dimensions.

    Raises DataError if the states are all 0.
    """
    X = states.double()
    if len(X) >= X.shape[1]:
        return energy_spectrum(X.mT @ X)
    _, s, Vh = torch.linalg.svd(X, full_matrices=False)
    return _spectrum(s.square(), Vh.mT)


def _spectrum(values: Float[Tensor, " r"], vectors: Float[Tensor, "d r"]) -> EnergySpectrum:
    if not float(values[0]) > 0:
        raise DataError("states that are all 0 have no energy to match")
    return EnergySpectrum(values / values.sum(), vectors)


def energy_matched_spaces(
    spectrum: EnergySpectrum,
    k: int,
    target_share: float,
    n_draws: int,
    generator: torch.Generator,
    tolerance: float = 1e-4,
) -> Float[Tensor, "draws k d"]:
    """orth(C^(a/2) G), G Gaussian, with a such that tr(V C V^T) / tr(C) is `target_share`.

    The null for "Z is special": random spaces that hold as much energy as Z. Each draw has its own
    a. G is drawn in the stream's coordinates, so that one generator gives draws that belong
    together for spectra that are alike, as those of neighbouring layers. Raises DataError if no
    space of k dimensions can hold that share, or none is found within `tolerance`.
    """
    d = len(spectrum.vectors)
    _check_k(k, d)
    held = torch.cat([spectrum.energy, spectrum.energy.new_zeros(d - len(spectrum.energy))])
    least, most = float(held[d - k :].sum()), float(held[:k].sum())
    if not least - tolerance <= target_share <= most + tolerance:
        raise DataError(
            f"no space of {k} of {d} dimensions holds {target_share:.4f} of this energy: "
            f"they hold {least:.4f} to {most:.4f}"
        )
    few = _in_few_dimensions(
        spectrum, torch.randn(n_draws, d, k, generator=generator, dtype=torch.float64)
    )
    energy, r = few.energy, few.n_held
    held_rows, rest = few.gaussian[:, :r], few.gaussian[:, r:]
    rest_gram = rest.mT @ rest
    logs = (energy / energy[0]).clamp(min=LEAST_RATIO).log()

    def weights(a: Tensor) -> Tensor:
        logw = a.unsqueeze(1) / 2 * logs
        return (logw - logw.amax(1, keepdim=True)).exp().unsqueeze(-1)

    def spaces(a: Tensor) -> Tensor:
        """In the few dimensions. The largest rows come first, or QR would lose the small."""
        rows = weights(a) * few.gaussian
        falling = (a >= 0).view(-1, 1, 1)
        V = _orthonormal(torch.where(falling, rows, rows.flip(1)))
        return torch.where(falling, V, V.flip(2))

    def exactly(a: Tensor) -> tuple[Tensor, Tensor]:
        V = spaces(a)
        return (V.square() * energy).sum((1, 2)) - target_share, V

    def excess(a: Tensor) -> Tensor:
        """Without the spaces where that is accurate: it is a tenth of the work."""
        w = weights(a)
        share = _share_of_span(w[:, :r] * held_rows, energy[:r], w[:, -1:].square() * rest_gram)
        return exactly(a)[0] if share is None else share - target_share

    # The share rises with a: its derivative is a sum of P_ij^2 (log c_i - log c_j)(c_i - c_j) / 4.
    below, above = -torch.ones(n_draws).double(), torch.ones(n_draws).double()
    while bool(((f_below := excess(below)) > 0).any()) and float(below.min()) > -STEEPEST:
        below = torch.where(f_below > 0, 2 * below, below)
    while bool(((f_above := excess(above)) < 0).any()) and float(above.max()) < STEEPEST:
        above = torch.where(f_above < 0, 2 * above, above)
    side = torch.zeros(n_draws)
    for _ in range(60):
        # Regula falsi; an end that stays twice has its value halved (Illinois).
        a = (below * f_above - above * f_below) / (f_above - f_below)
        middle = (below + above) / 2
        a = torch.where((a > below) & (a < above), a, middle)
        error = excess(a)
        if bool((error.abs() <= tolerance / 10).all()):
            error, V = exactly(a)
            if bool((error.abs() <= tolerance / 10).all()):
                break
        over = error > 0
        f_below = torch.where(over, f_below / torch.where(side > 0, 2, 1), error)
        f_above = torch.where(over, error, f_above / torch.where(side < 0, 2, 1))
        below, above = torch.where(over, below, a), torch.where(over, a, above)
        side = torch.where(over, 1.0, -1.0)
    else:
        error, V = exactly(a)
    if bool((error.abs() > tolerance).any()):
        worst = float(error[error.abs().argmax()])
        raise DataError(f"a random space came within {worst:+.2g} of a share of {target_share:.4f}")
    return few.in_stream(V)


def _share_of_span(
    rows: Float[Tensor, "draws r k"],
    energy: Float[Tensor, " r"],
    rest_gram: Float[Tensor, "draws k k"],
) -> Float[Tensor, " draws"] | None:
    """tr(E Q Q^T), E = diag(energy), Q an orthonormal basis of the columns of R, which has rows of
    no energy too: tr(R^T E R (R^T R)^-1), or |E^(1/2) R L^-T|^2 with the Cholesky factor of R^T R.

    rows: of R, those with energy. rest_gram: S^T S of the others, S. Squaring the columns squares
    their condition, so None if that could cost the sixth digit.
    """
    L, info = torch.linalg.cholesky_ex(rows.mT @ rows + rest_gram)
    diagonal = L.diagonal(dim1=-2, dim2=-1)
    if bool(info.any()) or bool((diagonal.amin(1) < LEAST_DIAGONAL * diagonal.amax(1)).any()):
        return None
    scaled = energy.sqrt().unsqueeze(-1) * rows
    return torch.linalg.solve_triangular(L, scaled.mT, upper=False).square().sum((1, 2))


class _FewDimensions(NamedTuple):
    """Gaussian matrices G [d, k] in an orthonormal basis of the columns that matter.

    gaussian: G in the basis. energy: of the basis, above 0 in the first `n_held`. top, rest: the
    basis itself (columns), of the eigenvectors with energy and of the others.
    """

    gaussian: Float[Tensor, "draws m k"]
    energy: Float[Tensor, " m"]
    n_held: int
    top: Float[Tensor, "d r"]
    rest: Float[Tensor, "*draws d m-r"]

    def in_stream(self, V: Float[Tensor, "draws k m"]) -> Float[Tensor, "draws k d"]:
        """Spaces in the stream's coordinates."""
        r = self.n_held
        return V[..., :r] @ self.top.mT + V[..., r:] @ self.rest.mT


def _in_few_dimensions(
    spectrum: EnergySpectrum, gaussian: Float[Tensor, "draws d k"]
) -> _FewDimensions:
    """The basis has the eigenvectors with energy and, for each draw, the k directions outside them
    that its G has: all others are weighted alike, so that they count as one.
    """
    d, k = gaussian.shape[1:]
    r = int((spectrum.energy > LEAST_RATIO * spectrum.energy[0]).sum())
    top = spectrum.vectors[:, :r]
    inside = top.mT @ gaussian
    if d - r < 2 * k:
        rest = torch.linalg.qr(top, mode="complete").Q[:, r:] if r < d else top[:, d:]
        outside = rest.mT @ gaussian
    else:
        # With so many more rows than columns, the Gram matrix of a Gaussian is well conditioned.
        outer = gaussian - top @ inside
        outside = torch.linalg.cholesky(outer.mT @ outer, upper=True)
        rest = torch.linalg.solve_triangular(outside, outer, upper=True, left=False)
    energy = torch.cat([spectrum.energy[:r], spectrum.energy.new_zeros(outside.shape[1])])
    return _FewDimensions(torch.cat([inside, outside], dim=1), energy, r, top, rest)


def chance_share(k: int, d: int) -> float:
    """k/d: mean share of energy, and mean `similarity`, of a random space."""
    _check_k(k, d)
    return k / d


def chance_ratio(k: int, d: int) -> float:
    """sqrt(k/(d-k)): ||P x|| / ||P_perp x|| of a typical direction. DataError unless k < d."""
    _check_k(k, d - 1)
    return (k / (d - k)) ** 0.5


def _orthonormal(columns: Float[Tensor, "*n d k"]) -> Float[Tensor, "*n k d"]:
    """Rows that span the columns; the signs make Gaussian columns Haar (Mezzadri 2007)."""
    Q, R = torch.linalg.qr(columns)
    signs = torch.where(R.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(Q.dtype)
    return (Q * signs.unsqueeze(-2)).mT.contiguous()


def _check_k(k: int, d: int) -> None:
    if not 1 <= k <= d:
        raise DataError(f"a space of {k} dimensions does not fit: 1 to {d} do")
