"""Reading labels from codes with few latents: k-sparse linear probes, F1, average precision, AUROC.

Latents, weights and thresholds are chosen on one half of the inputs and scored on the other
(Gurnee et al. 2023). One latent gives what it says alone; the curve over k tells a feature that is
split over latents from one that is not there.
"""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N806

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

Codes = Float[np.ndarray, "n latent"]
Labels = Bool[np.ndarray, "n label"]
Scores = Float[np.ndarray, "n label"]
RIDGE = 1e-4
"""Of a latent's variance, so that copies of one latent do not make the equations singular."""


@dataclass(frozen=True, eq=False)
class SparseProbe:
    """Weights of k latents for each label, the others 0."""

    k: int
    weights: Float[np.ndarray, "latent label"]

    def scores(self, codes: Codes) -> Scores:
        return codes @ self.weights


def sparse_probes(codes: Codes, labels: Labels, ks: Sequence[int]) -> Iterator[SparseProbe]:
    """Least-squares probes of the latents that a greedy search adds one by one.

    Orthogonal matching pursuit (Pati et al. 1993): the latent that is most correlated with what
    the others leave of the label comes next. k beyond the number of latents that vary takes all.
    """
    X = (codes - codes.mean(0)).astype(np.float32)
    Y = (labels - labels.mean(0)).astype(np.float32)
    G = (X.T @ X / len(X)).astype(np.float64)
    C = (X.T @ Y / len(X)).astype(np.float64)  # latent label
    size = np.diag(G).copy()
    varies = size > 1e-12 * max(float(size.max(initial=0.0)), 1e-30)
    G[np.diag_indices_from(G)] += RIDGE * size
    n_labels = labels.shape[1]
    chosen = np.zeros((n_labels, 0), dtype=np.int64)
    weights = np.zeros_like(C)
    scale = np.where(varies, np.sqrt(np.where(varies, size, 1.0)), np.inf)
    for k in range(1, max(ks) + 1):
        if k <= int(varies.sum()):
            left = np.abs(C - G @ weights) / scale[:, None]
            np.put_along_axis(left, chosen.T, -1.0, axis=0)
            left[~varies] = -1.0
            chosen = np.concatenate([chosen, left.argmax(0)[:, None]], axis=1)
            square = G[chosen[:, :, None], chosen[:, None, :]]
            wanted = np.take_along_axis(C.T, chosen, 1)
            solved = np.linalg.solve(square, wanted[..., None])[..., 0]
            weights = np.zeros_like(C)
            np.put_along_axis(weights, chosen.T, solved.T, axis=0)
        if k in ks:
            yield SparseProbe(k, weights.astype(np.float32))


def best_thresholds(scores: Scores, labels: Labels) -> Float[np.ndarray, " label"]:
    """The threshold of the largest F1 of each label: scores at or above it say yes."""
    order, ends = _sorted(scores)
    hits = np.cumsum(np.take_along_axis(labels.T, order, 1), 1)
    said = np.arange(1, scores.shape[0] + 1)
    f1 = np.where(ends, 2 * hits / (said + labels.sum(0)[:, None]), -1.0)
    at = np.take_along_axis(order, f1.argmax(1)[:, None], 1)[:, 0]
    return scores[at, np.arange(scores.shape[1])]


def f1_of(
    hits: Float[np.ndarray, "*n"], said: Float[np.ndarray, "*n"], there: Float[np.ndarray, "*n"]
) -> Float[np.ndarray, "*n"]:
    """2 hits / (said + there); NaN where the label never occurs."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(there > 0, 2 * hits / (said + there), np.nan)


def average_precision(scores: Scores, labels: Labels) -> Float[np.ndarray, " label"]:
    """Mean precision over the steps of recall, ties taken together; NaN without positives."""
    order, ends = _sorted(scores)
    hits = np.cumsum(np.take_along_axis(labels.T, order, 1), 1)
    said = np.arange(1, scores.shape[0] + 1)
    found = np.full(scores.shape[1], np.nan)
    for j, (row, end) in enumerate(zip(hits, ends, strict=True)):
        if row[-1]:
            steps = np.diff(row[end], prepend=0)
            found[j] = (steps * (row[end] / said[end])).sum() / row[-1]
    return found


def auroc(scores: Scores, labels: Labels) -> Float[np.ndarray, " label"]:
    """Area under the receiver operating characteristic, ties count half; NaN for one class alone."""
    order, ends = _sorted(scores)
    found = np.full(scores.shape[1], np.nan)
    n = scores.shape[0]
    for j, (row, end) in enumerate(zip(order, ends, strict=True)):
        yes = np.cumsum(labels[row, j])[end]
        said = np.flatnonzero(end) + 1
        no = said - yes
        if yes[-1] and no[-1]:
            rise = np.diff(no, prepend=0)
            middle = (yes + np.concatenate([[0], yes[:-1]])) / 2
            found[j] = float((rise * middle).sum() / (yes[-1] * (n - yes[-1])))
    return found


def _sorted(scores: Scores) -> tuple[Int[np.ndarray, "label n"], Bool[np.ndarray, "label n"]]:
    """Indices by falling score, and where a run of equal scores ends."""
    by_label = np.ascontiguousarray(-scores.T)
    order = np.argsort(by_label, axis=1)
    sorted_ = np.take_along_axis(by_label, order, 1)
    ends = np.ones(order.shape, dtype=bool)
    ends[:, :-1] = sorted_[:, 1:] != sorted_[:, :-1]
    return order, ends


@dataclass(frozen=True, eq=False)
class Counts:
    """Of each sequence and label: where it is said and there, said, and there."""

    hits: Float[np.ndarray, "sequence label"]
    said: Float[np.ndarray, "sequence label"]
    there: Float[np.ndarray, "sequence label"]

    @classmethod
    def of(cls, said: Labels, labels: Labels, n_sequences: int) -> Counts:
        """Rows of `said` and `labels` are the positions of one sequence after another."""

        def total(x: Bool[np.ndarray, "n label"]) -> Float[np.ndarray, "sequence label"]:
            return x.reshape(n_sequences, -1, x.shape[1]).sum(1).astype(np.float64)

        return cls(total(said & labels), total(said), total(labels))

    @property
    def f1(self) -> Float[np.ndarray, " label"]:
        return f1_of(self.hits.sum(0), self.said.sum(0), self.there.sum(0))

    def resampled(self, weights: Float[np.ndarray, "resamples sequence"]) -> Float[np.ndarray, "resamples label"]:
        """F1 of every resample of sequences."""
        return f1_of(weights @ self.hits, weights @ self.said, weights @ self.there)


def trained_on_half(
    train: tuple[Scores, Labels], test: tuple[Scores, Labels], n_sequences: int
) -> Counts:
    """What the thresholds of one half say of the other. n_sequences: of the other half."""
    cut = best_thresholds(*train)
    return Counts.of(test[0] >= cut, test[1], n_sequences)
