"""How well codes of a toy model's stream say what is true there, group by group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from zscope.stats import finite
from zscope.studies.components.dictionaries.probe_ceiling import probe_scores
from zscope.studies.components.dictionaries.resampling import Resampling
from zscope.studies.components.dictionaries.sparse_probes import (
    Counts,
    Scores,
    jackknife_error,
    ranking_scores,
    sparse_probes,
    trained_on_half,
)
from zscope.studies.components.dictionaries.toy_truth import GROUPS, Truth
from zscope.tables.schema import Row

F1, PRECISION, AUROC = "f1", "average_precision", "auroc"
RARE = "rare"
"""Labels of any group that are true at less than RARE_RATE of the positions."""
RARE_RATE = 0.01
BLOCKS = 8
"""Blocks of sequences that the jackknife leaves out."""
LEAST_SEQUENCES = 6
"""Scored sequences that must hold a label, or it is left out: fewer allow no p below 0.05."""


@dataclass(frozen=True, eq=False)
class Halves:
    """The labels of both halves of the test sequences.

    Attributes:
        kept: indices of the labels that both halves have enough of.
        choose, score: labels of the inputs of the two halves.
        sequences: of the second half.
    """

    truth: Truth
    kept: Int[np.ndarray, " label"]
    choose: Bool[np.ndarray, "a label"]
    score: Bool[np.ndarray, "b label"]
    sequences: int

    @classmethod
    def of(cls, truth: Truth) -> Halves:
        half = len(truth.labels) // 2
        first, second = truth.labels[:half], truth.labels[half:]
        enough = [(part.any(1).sum(0) >= LEAST_SEQUENCES) for part in (first, second)]
        kept = np.flatnonzero(enough[0] & enough[1])
        n = truth.labels.shape[-1]
        return cls(
            truth,
            kept,
            first.reshape(-1, n)[:, kept],
            second.reshape(-1, n)[:, kept],
            len(second),
        )

    def split(self, x: Float[np.ndarray, "inputs m"]) -> tuple[Scores, Scores]:
        return x[: len(self.choose)], x[len(self.choose) :]

    @property
    def rates(self) -> Float[np.ndarray, " label"]:
        return self.score.mean(0)

    def groups(self) -> dict[str, Int[np.ndarray, " member"]]:
        """Places in `kept` of the labels of each group that has any, and of rare labels."""
        of = np.array([self.truth.group[i] for i in self.kept], dtype=object)
        found = {group: np.flatnonzero(of == group) for group in GROUPS}
        found[RARE] = np.flatnonzero(self.rates < RARE_RATE)
        return {group: members for group, members in found.items() if len(members)}

    @property
    def blocks(self) -> Int[np.ndarray, " b"]:
        """Of each input of the second half, its block of sequences."""
        per = np.arange(self.sequences) * BLOCKS // self.sequences
        return np.repeat(per, len(self.score) // self.sequences)


@dataclass(frozen=True, eq=False)
class Reading:
    """What one basis says of the labels, read through k latents (0: a probe of the whole stream).

    Attributes:
        scores: of the inputs of the second half.
    """

    basis: str
    seed: int
    k: int
    counts: Counts
    scores: Float[np.ndarray, "b label"]


def read_codes(
    basis: str, seed: int, codes: Float[Tensor, "inputs m"], halves: Halves, ks: Sequence[int]
) -> Iterator[Reading]:
    """Readings by the best latents, for every k."""
    first, second = halves.split(codes.numpy())
    for probe in sparse_probes(first, halves.choose, ks):
        scores = probe.scores(second)
        own = (probe.scores(first), halves.choose)
        counts = trained_on_half(own, (scores, halves.score), halves.sequences)
        yield Reading(basis, seed, probe.k, counts, scores)


def read_whole(
    basis: str, x: Float[Tensor, "inputs d"], halves: Halves, steps: int, seed: int
) -> Reading:
    """The reading of a trained probe of the whole stream: the ceiling."""
    n = len(halves.choose)
    own, scores = probe_scores(x[:n], halves.choose, x[n:], steps=steps, seed=seed)
    counts = trained_on_half((own, halves.choose), (scores, halves.score), halves.sequences)
    return Reading(basis, 0, 0, counts, scores)


def one_hot(tokens: Int[Tensor, "n seq"], size: int) -> Float[Tensor, "inputs vocab"]:
    """The last token alone, at all positions but the last."""
    return torch.nn.functional.one_hot(tokens[:, :-1].flatten(), size).float()


def group_f1(
    reading: Reading, members: Int[np.ndarray, " member"], resampling: Resampling
) -> tuple[float, Float[np.ndarray, " resamples"]]:
    """Mean F1 of the labels of a group, and that of every resample of sequences."""
    weights = resampling.weights(len(reading.counts.hits))
    with np.errstate(invalid="ignore"):
        drawn = np.nanmean(reading.counts.resampled(weights)[:, members], axis=1)
    return float(reading.counts.f1[members].mean()), drawn


def feature_rows(
    reading: Reading, halves: Halves, resampling: Resampling, *, ranked: bool
) -> Iterator[Row]:
    """Rows of one reading: F1 of every group; average precision and AUROC too if `ranked`.

    Intervals of F1 are bootstrapped over sequences, the others' come from a jackknife over blocks
    of sequences.
    """
    from scipy.special import ndtri

    bootstrap = resampling.bootstrap
    key = {"basis": reading.basis, "seed": reading.seed, "k": reading.k}
    groups = halves.groups()
    about = {
        group: {
            "base_rate": float(halves.rates[members].mean()),
            "labels": len(members),
            "n": halves.sequences,
        }
        for group, members in groups.items()
    }
    for group, members in groups.items():
        value, drawn = group_f1(reading, members, resampling)
        low, high = np.nanquantile(drawn, bootstrap.tails)
        ends = {"ci_low": float(low), "ci_high": float(high)}
        yield {**key, "group": group, "metric": F1, "value": value, **ends, **about[group]}
    if not ranked:
        return
    whole, left_out = ranking_scores(reading.scores, halves.score, halves.blocks)
    z = float(ndtri((1 + bootstrap.level) / 2))
    for group, members in groups.items():
        for i, metric in enumerate((PRECISION, AUROC)):
            value = float(whole[i][members].mean())
            reach = z * jackknife_error(np.nanmean(left_out[:, i, members], axis=1))
            low, high = finite(max(0.0, value - reach)), finite(min(1.0, value + reach))
            of = {"ci_low": low, "ci_high": high, **about[group]}
            yield {**key, "group": group, "metric": metric, "value": value, **of}
