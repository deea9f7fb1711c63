"""Reading labels from codes with few latents: k-sparse linear probes, and the scores of a reading.

Latents, weights and thresholds are chosen on one half of the inputs and scored on the other
(Gurnee et al. 2023). One latent gives what it says alone; the curve over k tells a feature that is
split over latents from one that is not there.
"""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N806

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int

Codes: TypeAlias = Float[np.ndarray, "n latent"]
Labels: TypeAlias = Bool[np.ndarray, "n label"]
Scores: TypeAlias = Float[np.ndarray, "n label"]
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
    X = codes - codes.mean(0)
    Y = (labels - labels.mean(0)).astype(X.dtype)
    C = (X.T @ Y / len(X)).astype(np.float64)  # latent label
    size = np.square(X, dtype=np.float64).mean(0)
    varies = size > 1e-12 * max(float(size.max(initial=0.0)), 1e-30)
    alone = max(ks) == 1
    # One latent needs no covariance of several, which is dear.
    G = np.diag(size) if alone else (X.T @ X / len(X)).astype(np.float64)
    G[np.diag_indices_from(G)] += RIDGE * size
    chosen = np.zeros((labels.shape[1], 0), dtype=np.int64)
    weights = np.zeros_like(C)
    scale = np.sqrt(np.where(varies, size, np.inf))
    for k in range(1, max(ks) + 1):
        if k <= int(varies.sum()):
            left = np.abs(C - (G @ weights if k > 1 else 0.0)) / scale[:, None]
            left[~varies] = -1.0
            np.put_along_axis(left, chosen.T, -1.0, axis=0)
            chosen = np.concatenate([chosen, left.argmax(0)[:, None]], axis=1)
            square = G[chosen[:, :, None], chosen[:, None, :]]
            wanted = np.take_along_axis(C.T, chosen, 1)
            solved = np.linalg.solve(square, wanted[..., None])[..., 0]
            weights = np.zeros_like(C)
            np.put_along_axis(weights, chosen.T, solved.T, axis=0)
        if k in ks:
            yield SparseProbe(k, weights.astype(codes.dtype))


# --- thresholds and F1 --------------------------------------------------------------------------


def best_thresholds(scores: Scores, labels: Labels) -> Float[np.ndarray, " label"]:
    """The threshold of the largest F1 of each label: scores at or above it say yes."""
    return np.array(
        [_best_threshold(s, y) for s, y in zip(scores.T, labels.T, strict=True)], scores.dtype
    )


def _best_threshold(scores: Float[np.ndarray, " n"], label: Bool[np.ndarray, " n"]) -> float:
    least = scores.min()
    above = np.flatnonzero(scores > least)  # of a sparse latent hardly any
    order, ends = _falling(scores[above])
    hits = np.append(np.cumsum(label[above][order])[ends], label.sum())
    said = np.append(np.flatnonzero(ends) + 1, len(scores))
    best = int((2 * hits / (said + max(1, label.sum()))).argmax())
    return float(least if best == len(hits) - 1 else scores[above][order][ends][best])


def _falling(
    scores: Float[np.ndarray, " n"],
) -> tuple[Int[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Indices by falling score, and where a run of equal scores ends."""
    order = np.argsort(-scores, kind="stable")
    ends = np.ones(len(order), dtype=bool)
    ends[:-1] = scores[order][1:] != scores[order][:-1]
    return order, ends


def f1_of(
    hits: Float[np.ndarray, "*n"], said: Float[np.ndarray, "*n"], there: Float[np.ndarray, "*n"]
) -> Float[np.ndarray, "*n"]:
    """2 hits / (said + there); NaN where the label never occurs."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(there > 0, 2 * hits / (said + there), np.nan)


@dataclass(frozen=True, eq=False)
class Counts:
    """Of each sequence and label: how often it is said and there, said, and there."""

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

    def resampled(
        self, weights: Float[np.ndarray, "resamples sequence"]
    ) -> Float[np.ndarray, "resamples label"]:
        """F1 of every resample of sequences."""
        return f1_of(weights @ self.hits, weights @ self.said, weights @ self.there)


def trained_on_half(
    train: tuple[Scores, Labels], test: tuple[Scores, Labels], n_sequences: int
) -> Counts:
    """What the thresholds of one half say of the other. n_sequences: of the other half."""
    return Counts.of(test[0] >= best_thresholds(*train), test[1], n_sequences)


# --- without a threshold ------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Ranking:
    """One label's inputs by falling score, ties together.

    Attributes:
        order: indices of the inputs. first, last: of each place, those of its run of equal scores.
        label: in that order.
    """

    order: Int[np.ndarray, " n"]
    first: Int[np.ndarray, " n"]
    last: Int[np.ndarray, " n"]
    label: Bool[np.ndarray, " n"]

    @classmethod
    def of(cls, scores: Float[np.ndarray, " n"], label: Bool[np.ndarray, " n"]) -> Ranking:
        order, ends = _falling(scores)
        run = np.concatenate([[0], np.cumsum(ends)[:-1]])
        last = np.flatnonzero(ends)
        first = np.concatenate([[0], last[:-1] + 1])
        return cls(order, first[run], last[run], label[order])

    def scores(self, kept: Bool[np.ndarray, " n"] | None = None) -> tuple[float, float]:
        """Average precision and AUROC over the inputs `kept`; NaN without positives or negatives.

        Average precision is the mean over positives of the precision down to their score; AUROC
        counts ties by half.
        """
        weight = np.ones(len(self.order)) if kept is None else kept[self.order].astype(float)
        yes, no = np.cumsum(weight * self.label), np.cumsum(weight * ~self.label)
        if yes[-1] == 0 or no[-1] == 0:
            return float("nan"), float("nan")
        at = np.flatnonzero(self.label)
        w, first, last = weight[at], self.first[at], self.last[at]
        said = np.maximum(yes[last] + no[last], 1e-12)
        precision = float((w * yes[last] / said).sum() / yes[-1])
        before = np.where(first > 0, no[first - 1], 0.0)
        beaten = 1 - (before + no[last]) / 2 / no[-1]
        return precision, float((w * beaten).sum() / yes[-1])


def ranking_scores(
    scores: Scores, labels: Labels, blocks: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "2 label"], Float[np.ndarray, "block 2 label"]]:
    """Average precision and AUROC of each label: of all inputs, and without each block in turn."""
    ranked = [Ranking.of(s, y) for s, y in zip(scores.T, labels.T, strict=True)]
    whole = np.array([r.scores() for r in ranked]).T
    left_out = [
        np.array([r.scores(blocks != block) for r in ranked]).T for block in np.unique(blocks)
    ]
    return whole, np.array(left_out)


def jackknife_error(left_out: Float[np.ndarray, " block"]) -> float:
    """Standard error from the values without each block (Efron and Tibshirani 1993, ch. 11)."""
    n = len(left_out)
    return float(np.sqrt((n - 1) / n * np.square(left_out - left_out.mean()).sum()))
