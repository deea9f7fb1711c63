"""Dictionaries of planted inputs, scored against the directions that were planted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from zscope.config.base import Bootstrap
from zscope.core.jobs import progress
from zscope.core.provenance import derive_seed
from zscope.stats import finite
from zscope.studies.components.dictionaries.config import PlantedConfig, VariantName
from zscope.studies.components.dictionaries.learning import Pool, recipe_of, train
from zscope.studies.components.dictionaries.matching import (
    CLOSE,
    HALF,
    Matches,
    match,
    random_matches,
    shares,
)
from zscope.studies.components.dictionaries.normalise import Normaliser
from zscope.studies.components.dictionaries.planted import Planted, PlantedSettings
from zscope.studies.components.dictionaries.probe_ceiling import probe_scores
from zscope.studies.components.dictionaries.reconstruction import (
    Reconstruction,
    alive_rows,
    reconstructions,
)
from zscope.studies.components.dictionaries.resampling import Resampling
from zscope.studies.components.dictionaries.sparse_probes import sparse_probes, trained_on_half
from zscope.studies.components.dictionaries.stack import Stack, initial_stack, random_rows
from zscope.studies.components.dictionaries.variants.registry import KINDS
from zscope.studies.components.dictionaries.variants.top_k import keep_largest
from zscope.tables.schema import Row
from zscope.verdicts import LEAST_DRAWS

EDGES = np.linspace(0, 1, 21)
PROBE_STEPS = 300
BLOCKS = 32
"""Blocks of test inputs that intervals over inputs resample."""


def conditions_of(config: PlantedConfig) -> dict[str, PlantedSettings]:
    """What is planted, by the condition's name in the tables."""
    of: dict[str, PlantedSettings] = {
        f"ratio {r}": PlantedSettings(r, config.d, config.active) for r in config.ratios
    }
    for name in config.conditions:
        of[name] = PlantedSettings(
            config.varied_ratio,
            config.d,
            config.active,
            correlated=name == "correlated",
            zipf=config.zipf if name == "zipf" else 0.0,
            noise=config.noise if name == "noise" else 0.0,
        )
    return of


@dataclass(frozen=True, eq=False)
class Problem:
    """A truth with its inputs, normalised, and what does not depend on the dictionary.

    Attributes:
        null: matches of random dictionaries as wide as those that are trained.
        random_f1, probe_f1: F1 of each direction by the best latent of a random dictionary, and by
            a probe of the whole input.
    """

    truth: Planted
    pool: Float[Tensor, "pool d"]
    test: Float[Tensor, "test d"]
    active: Bool[np.ndarray, "test m"]
    null: list[Matches]
    random_f1: Float[np.ndarray, " m"]
    probe_f1: Float[np.ndarray, " m"]

    @classmethod
    def of(cls, settings: PlantedSettings, seed: int, config: PlantedConfig) -> Problem:
        truth = Planted.of(settings, seed)
        raw, _ = truth.draw(config.pool, "planted inputs")
        raw_test, present = truth.draw(config.test, "planted test")
        scale = Normaliser.of(raw)
        test, active = scale.forward(raw_test), present.numpy()
        n_latents = config.width * settings.m
        rows = random_rows(n_latents, settings.d, derive_seed(seed, "random dictionary"))
        k = torch.tensor([max(1.0, round(config.active))])
        random_codes = keep_largest((test @ rows.mT).relu()[None], k)[0].numpy()
        half = config.test // 2
        scores = probe_scores(test[:half], active[:half], test[half:], steps=PROBE_STEPS, seed=seed)
        probe = trained_on_half((scores[0], active[:half]), (scores[1], active[half:]), 1)
        null = random_matches(truth.D, n_latents, LEAST_DRAWS, seed)
        return cls(
            truth,
            scale.forward(raw),
            test,
            active,
            null,
            one_latent_f1(random_codes, active),
            probe.f1,
        )


def one_latent_f1(
    codes: Float[np.ndarray, "test latent"], active: Bool[np.ndarray, "test m"]
) -> Float[np.ndarray, " m"]:
    """F1 of each direction by one latent, chosen on the first half and scored on the other."""
    half = len(codes) // 2
    (probe,) = sparse_probes(codes[:half], active[:half], [1])
    train_half = (probe.scores(codes[:half]), active[:half])
    return trained_on_half(train_half, (probe.scores(codes[half:]), active[half:]), 1).f1


@dataclass(frozen=True)
class Named:
    """Which dictionary a row is of."""

    condition: str
    variant: VariantName
    strength: float
    seed: int

    def row(self, **values: object) -> Row:
        return {
            "condition": self.condition,
            "variant": self.variant,
            "strength": self.strength,
            "seed": self.seed,
            **values,
        }


def planted_rows(
    config: PlantedConfig, seed: int, bootstrap: Bootstrap
) -> tuple[list[Row], list[Row]]:
    """Rows of the tables of scores and of matches."""
    work = [(c, s, v) for c, s in conditions_of(config).items() for v in config.strengths]
    problems: dict[str, list[Problem]] = {}
    resampling = Resampling(bootstrap, "planted")
    scores: list[Row] = []
    matches: list[Row] = []
    for condition, settings, variant in progress(work, desc="planted dictionaries"):
        if condition not in problems:
            seeds = (derive_seed(seed, f"planted {condition} {s}") for s in config.seeds)
            problems = {condition: [Problem.of(settings, s, config) for s in seeds]}
        found = problems[condition]
        for strength in config.strengths[variant]:
            before, after = _trained(found, config, seed, condition, variant, strength)
            for i, problem in enumerate(found):
                name = Named(condition, variant, strength, config.seeds[i])
                (recon,), codes = reconstructions(
                    KINDS[variant], after.take([i]), problem.test[None]
                )
                learned = Learned(name, problem, before.W_dec[i], after.W_dec[i], recon, codes[0])
                scores += _score_rows(learned, resampling)
                matches += _match_rows(learned)
    return scores, matches


def _trained(
    problems: Sequence[Problem],
    config: PlantedConfig,
    seed: int,
    condition: str,
    variant: VariantName,
    strength: float,
) -> tuple[Stack, Stack]:
    """The stack of a dictionary for each truth, before and after training."""
    kind, n = KINDS[variant], len(problems)
    seeds = tuple(derive_seed(seed, f"dictionary of {condition} {s}") for s in config.seeds)
    d, m = problems[0].truth.settings.d, problems[0].truth.settings.m
    stack = initial_stack(d, config.width * m, [strength] * n, seeds, kind.own)
    pool = Pool(torch.stack([p.pool for p in problems]), torch.arange(n), seeds)
    return stack, train(kind, stack, pool, recipe_of(config.recipe))


@dataclass(frozen=True, eq=False)
class Learned:
    """A trained dictionary with its truth: its rows before and after, what it does on the test."""

    name: Named
    problem: Problem
    before: Float[Tensor, "latent d"]
    after: Float[Tensor, "latent d"]
    found: Reconstruction
    codes: Float[Tensor, "test latent"]

    @property
    def alive(self) -> Float[Tensor, "alive d"]:
        """Rows of latents that fire: those of dead ones explain nothing, so are not wrong."""
        return alive_rows(self.after, self.found)


def _score_rows(learned: Learned, resampling: Resampling) -> Iterator[Row]:
    name, problem = learned.name, learned.problem
    for metric, (value, low, high, n) in learned.found.rows(resampling, BLOCKS).items():
        ends = {"ci_low": low, "ci_high": high}
        yield name.row(metric=metric, value=value, **ends, n=n, **_null())

    def mean(
        metric: str, values: Float[np.ndarray, " n"], null: Sequence[float] | None
    ) -> Iterator[Row]:
        yield from _mean_row(name, metric, values, null, resampling)

    in_blocks = problem.active.sum(1).reshape(BLOCKS, -1).mean(1).astype(float)
    yield from mean("l0_true", in_blocks, None)
    truth = problem.truth.D
    for metric, values, null in _of_matches(match(truth, learned.after), problem.null):
        yield from mean(metric, values, null)
    initial = match(truth, learned.before).truths
    yield from mean("mmcs_initial", initial, [m.mean for m in problem.null])
    kept = match(truth, learned.alive).rows
    yield from mean("mmcs_latents", kept, [float(m.rows.mean()) for m in problem.null])
    random = [float(np.nanmean(problem.random_f1))]
    yield from mean("f1", one_latent_f1(learned.codes.numpy(), problem.active), random)
    yield from mean("f1_probe", problem.probe_f1, random)


def _of_matches(
    learned: Matches, null: Sequence[Matches]
) -> Iterator[tuple[str, Float[np.ndarray, " n"], list[float]]]:
    """Metric, its value of each truth, and its mean in each random dictionary."""

    def close(m: Matches) -> Float[np.ndarray, " n"]:
        return (m.truths > CLOSE).astype(float)

    def middle(m: Matches) -> Float[np.ndarray, " n"]:
        return ((m.truths > HALF) & (m.truths <= CLOSE)).astype(float)

    for metric, of in (
        ("mmcs", lambda m: m.truths),
        ("share_close", close),
        ("share_half", middle),
        ("one_to_one", lambda m: m.one_to_one),
        ("collisions", lambda m: m.shared),
    ):
        yield metric, of(learned), [float(np.nanmean(of(m))) for m in null]


def _null(draws: Sequence[float] | None = None, tails: tuple[float, float] = (0, 1)) -> Row:
    """Mean and band of a null; no band of fewer than LEAST_DRAWS draws."""
    if draws is None:
        return {"null": None, "null_low": None, "null_high": None}
    band = np.quantile(draws, tails) if len(draws) >= LEAST_DRAWS else (np.nan, np.nan)
    return {
        "null": float(np.mean(draws)),
        "null_low": finite(float(band[0])),
        "null_high": finite(float(band[1])),
    }


def _mean_row(
    name: Named,
    metric: str,
    values: Float[np.ndarray, " n"],
    null: Sequence[float] | None,
    resampling: Resampling,
) -> Iterator[Row]:
    """The mean over directions (or latents, or inputs), resampled; those undefined are left out."""
    known = values[~np.isnan(values)]
    if not len(known):
        return
    low, high = resampling.interval(known)
    yield name.row(
        metric=metric,
        value=float(known.mean()),
        ci_low=finite(low),
        ci_high=finite(high),
        n=len(known),
        **_null(null, resampling.bootstrap.tails),
    )


def _match_rows(learned: Learned) -> Iterator[Row]:
    name, problem = learned.name, learned.problem
    whole = match(problem.truth.D, learned.after)
    kept = match(problem.truth.D, learned.alive)
    for direction, values, null in (
        ("truth", whole.truths, [m.truths for m in problem.null]),
        ("latent", kept.rows, [m.rows for m in problem.null]),
    ):
        own = shares(values, EDGES)
        random = np.mean([shares(v, EDGES) for v in null], axis=0)
        for edge, value, chance in zip(EDGES, own, random, strict=False):
            yield name.row(
                direction=direction,
                cosine=round(float(edge), 6),
                value=float(value),
                null=float(chance),
                n=len(values),
            )
