"""Token clouds with known shared dimensions, and the AUC of finding them.

Three kinds of dimension, shuffled together:

    shared     a problem's content, the same in both languages, plus token noise
    language   content of its own in each language, about a mean and a scale that are the language's
    noise      token noise alone, of the same distribution everywhere

All three have about unit scale. A method that finds what is shared must rank the first above the
second (the languages differ there) and above the third (there is no content there).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from zscope.core.errors import DataError
from zscope.core.provenance import derive_seed
from zscope.studies.crosslingual.ard.evaluation import retrieve, same_category, split_problems
from zscope.studies.crosslingual.ard.kernel import Clouds, all_pairs_mmd, make_clouds
from zscope.studies.crosslingual.ard.objectives import (
    LOSSES,
    fit_contrast,
    fit_original,
    svd_init,
    uniform_precision,
)
from zscope.studies.crosslingual.config import ArdConfig
from zscope.studies.crosslingual.space.subspaces import random_space
from zscope.tables.schema import Row

SHARED, LANGUAGE, NOISE = 0, 1, 2


@dataclass(frozen=True)
class PlantedSettings:
    """Sizes; content and shift are in standard deviations of the token noise."""

    n_problems: int = 48
    n_categories: int = 3
    n_shared: int = 8
    n_language: int = 8
    n_noise: int = 16
    min_tokens: int = 12
    max_tokens: int = 24
    content: float = 1.0
    shift: float = 1.0


@dataclass(frozen=True, eq=False)
class Planted:
    """Clouds, the category of every problem, and the kind of every dimension."""

    clouds: Clouds
    categories: NDArray[np.int64]
    kinds: Int[Tensor, " d"]


class Recovery(NamedTuple):
    """AUC of scores that should be high at shared dimensions, against either of the others."""

    shared_vs_language: float
    shared_vs_noise: float


def plant(settings: PlantedSettings, generator: torch.Generator) -> Planted:
    """Draw planted clouds. Raises DataError if there are too few problems, tokens or dimensions."""
    s = settings
    if s.min_tokens < 2 or s.max_tokens < s.min_tokens:
        raise DataError(f"clouds of {s.min_tokens} to {s.max_tokens} tokens: 2 or more are needed")
    if not 1 <= s.n_categories <= s.n_problems // 2:
        raise DataError(f"{s.n_problems} problems are too few for {s.n_categories} categories")
    if min(s.n_shared, s.n_language, s.n_noise) < 1:
        raise DataError("every kind of dimension needs one or more")

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    kinds = torch.repeat_interleave(torch.tensor([s.n_shared, s.n_language, s.n_noise]))
    kinds = kinds[torch.randperm(len(kinds), generator=generator)]
    shared, language = kinds == SHARED, kinds == LANGUAGE
    d = len(kinds)
    # Half of the content is the category's, so that other problems of it are hard to tell apart.
    categories = torch.arange(s.n_problems) % s.n_categories

    def content() -> Tensor:
        of_category = randn(s.n_categories, d)[categories]
        return s.content * (of_category + randn(s.n_problems, d)) / 2**0.5

    common = content()
    parts: list[Tensor] = []
    for sign in (1.0, -1.0):
        lengths = torch.randint(
            s.min_tokens, s.max_tokens + 1, (s.n_problems,), generator=generator
        )
        mask = torch.arange(s.max_tokens) < lengths.unsqueeze(1)
        tokens = randn(s.n_problems, s.max_tokens, d)
        own = content()
        tokens[..., language] *= 1 + sign * 0.3
        tokens[..., language] += (own[:, language] + sign * s.shift / 2).unsqueeze(1)
        tokens[..., shared] += common[:, shared].unsqueeze(1)
        parts += [tokens, mask]
    return Planted(make_clouds(*parts), categories.numpy(), kinds)


def recover(planted: Planted, ard: ArdConfig, seed: int) -> list[Row]:
    """Fit every objective on half of the problems: AUCs, and retrieval on the other half.

    Rows of `crosslingual_planted` without the seed. The original objective starts from zeros and
    from a random space; the score of a dimension is -log l (original) or its weight (contrast).
    Objective "uniform" (equal weights) is the reference of retrieval.
    """
    categories, d = planted.categories, planted.clouds.d
    split = split_problems(categories, 0.5, np.random.default_rng(derive_seed(seed, "split")))
    train, test = (planted.clouds.select(torch.from_numpy(part)) for part in split)
    train, test = train.centred(), test.centred().to(torch.float64)
    hard = same_category(categories[split.test])
    rows: list[Row] = []

    def judge(what: Row, scores: Tensor | None, precision: Tensor) -> None:
        M = all_pairs_mmd(test, precision.double())
        for scope, mask in (("category", hard), ("all", torch.ones_like(hard))):
            found = retrieve(M, mask)
            value = (found.zh_en.mean() + found.en_zh.mean()) / 2
            chance = float(found.chance.mean())
            rows.append(
                {**what, "metric": f"retrieval_{scope}", "value": float(value), "chance": chance}
            )
        if scores is not None:
            for metric, value in recovery(scores, planted.kinds)._asdict().items():
                rows.append({**what, "metric": f"auc_{metric}", "value": value, "chance": 0.5})

    generator = torch.Generator().manual_seed(derive_seed(seed, "random init"))
    inits = {
        "zeros": torch.zeros(d),
        "svd_random": svd_init(random_space(d, int((planted.kinds == SHARED).sum()), generator)),
    }
    for init, start in inits.items():
        for penalty in ard.lambdas:
            fitted = fit_original(train, start, penalty, steps=ard.steps, lr=ard.lr)
            what = {"objective": "original", "init": init, "penalty": penalty}
            judge(what, -fitted.log_l, (-2 * fitted.log_l.double()).exp())
    for loss in LOSSES:
        fit = fit_contrast(
            train,
            categories[split.train],
            loss=loss,
            steps=ard.contrast_steps,
            lr=ard.contrast_lr,
            tau=ard.tau,
        )
        judge({"objective": loss, "init": None, "penalty": None}, fit.weights, fit.precision)
    uniform = {"objective": "uniform", "init": None, "penalty": None}
    judge(uniform, None, uniform_precision(train))
    return rows


def recovery(scores: Float[Tensor, " d"], kinds: Int[Tensor, " d"]) -> Recovery:
    """How well the scores single out the shared dimensions; ties count half, chance is 0.5."""
    shared = scores[kinds == SHARED]
    return Recovery(auc(shared, scores[kinds == LANGUAGE]), auc(shared, scores[kinds == NOISE]))


def auc(above: Float[Tensor, " n"], below: Float[Tensor, " m"]) -> float:
    """Probability that a score of the first exceeds one of the second (Mann-Whitney U / nm)."""
    from scipy.stats import mannwhitneyu

    statistic = mannwhitneyu(above.double().numpy(), below.double().numpy()).statistic
    return float(statistic) / (len(above) * len(below))
