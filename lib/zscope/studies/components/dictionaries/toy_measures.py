"""Everything that is measured of dictionaries of one condition of the toy language."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zscope.config.base import Bootstrap
from zscope.core.errors import ConfigError
from zscope.core.jobs import progress
from zscope.core.provenance import derive_seed
from zscope.models.checkpoints import CheckpointFile
from zscope.models.tensor_checkpoints import load_tensor_model
from zscope.studies.components.dictionaries.causal_check import causal_rows
from zscope.studies.components.dictionaries.config import ToyConfig
from zscope.studies.components.dictionaries.feature_scores import (
    Halves,
    Reading,
    feature_rows,
    one_hot,
    read_codes,
    read_whole,
)
from zscope.studies.components.dictionaries.group_verdicts import over_models, verdict_rows
from zscope.studies.components.dictionaries.matching import match, random_matches
from zscope.studies.components.dictionaries.resampling import Resampling
from zscope.studies.components.dictionaries.toy_dictionaries import (
    RandomDictionary,
    Trained,
    train_on,
)
from zscope.studies.components.dictionaries.toy_sites import Site, ToyTexts, untrained_twin
from zscope.tables.schema import Row
from zscope.verdicts import LEAST_DRAWS

TRAINED, UNTRAINED = "trained", "untrained"
BASES = (
    "dictionary",
    "untrained",
    "random",
    "neurons",
    "probe",
    "probe_untrained",
    "probe_token",
)
"""What labels are read from, in the table of features."""


@dataclass(eq=False)
class ToyRows:
    """The rows of every table of a subject, and the first scored dictionary, for its export."""

    curves: list[Row] = field(default_factory=list)
    features: list[Row] = field(default_factory=list)
    causal: list[Row] = field(default_factory=list)
    verdicts: list[Row] = field(default_factory=list)
    exported: tuple[str, Trained] | None = None


@dataclass(frozen=True, eq=False)
class Setting:
    """What the measurements of all models of a subject share."""

    config: ToyConfig
    texts: ToyTexts
    halves: Halves
    resampling: Resampling
    seed: int
    alpha: float


def measure_toy(
    models: Mapping[str, str],
    settings: Mapping[str, Any],
    config: ToyConfig,
    *,
    seed: int,
    alpha: float,
    curves: bool,
    bootstrap: Bootstrap,
) -> ToyRows:
    """models: the checkpoints of each model, by its name. curves: whether the first has its curves
    of FVU against L0. Raises ConfigError for a layer that a
    model does not have."""
    texts = ToyTexts.of(settings, config, seed, bootstrap)
    resampling = Resampling(bootstrap, "dictionaries")
    setting = Setting(config, texts, Halves.of(texts.truth), resampling, seed, alpha)
    rows = ToyRows()
    chosen = list(models.items())[: config.trainings]
    for i, (name, path) in progress(enumerate(chosen), desc="toy models", total=len(chosen)):
        _measure_model(rows, name, CheckpointFile(path), setting, first=i == 0, curves=curves)
    rows.verdicts += over_models(rows.verdicts)
    return rows


def _measure_model(
    rows: ToyRows, name: str, file: CheckpointFile, setting: Setting, *, first: bool, curves: bool
) -> None:
    config, seed = setting.config, setting.seed
    model = load_tensor_model(file, file.steps[-1])
    twin = untrained_twin(file, derive_seed(seed, f"twin of {name}"))
    n_layers = model.config.n_layers
    layer = n_layers - 1 if config.layer is None else config.layer
    if layer > n_layers:
        raise ConfigError(
            f"components.dictionaries.toy.layer: {name} has no stream before layer {layer}; "
            f"give 0 to {n_layers}"
        )
    sites = [Site.of(m, layer, setting.texts) for m in (model, twin)]
    n = len(config.seeds)
    every = train_on(sites, config.variant, [config.strength], config.seeds, config, seed)
    ours, theirs = every[:n], every[n:]
    for of, dictionaries in ((TRAINED, ours), (UNTRAINED, theirs)):
        for d in dictionaries:
            rows.curves += _curve_rows(name, of, d, setting)
    if first and curves:
        rows.curves += _sweep(name, sites[0], setting)
    if first:
        rows.exported = name, ours[0]
    rows.causal += [
        {"model": name, "layer": layer, **row}
        for row in causal_rows(sites[0], ours, setting.texts, seed)
    ]
    readings = _readings(sites, ours, theirs, setting)
    for reading, ranked in _shown(readings, config):
        for row in feature_rows(reading, setting.halves, setting.resampling, ranked=ranked):
            rows.features.append({"model": name, "layer": layer, **row})
    one = {basis: [r for r in found if r.k <= 1] for basis, found in readings.items()}
    found = verdict_rows(
        one["dictionary"],
        one["untrained"],
        one["random"],
        (one["probe"][0], one["probe_untrained"][0]),
        setting.halves,
        setting.resampling,
        setting.alpha,
    )
    rows.verdicts += [{"model": name, **row} for row in found]


def _readings(
    sites: list[Site], ours: list[Trained], theirs: list[Trained], setting: Setting
) -> dict[str, list[Reading]]:
    """What every basis says of the labels."""
    config, halves, seed, ks = setting.config, setting.halves, setting.seed, setting.config.ks
    found: dict[str, list[Reading]] = {basis: [] for basis in BASES}
    for basis, dictionaries in (("dictionary", ours), ("untrained", theirs)):
        for d in dictionaries:
            found[basis] += read_codes(basis, d.seed, d.codes, halves, ks)
    x, n_latents = sites[0].test, ours[0].stack.W_dec.shape[1]
    k = float(np.mean([d.found.l0 for d in ours]))
    for draw in range(config.draws):
        codes = RandomDictionary.of(x.shape[1], n_latents, k, seed, draw).codes(x)
        found["random"] += read_codes("random", draw, codes, halves, [1] if draw else ks)
    found["neurons"] += read_codes("neurons", 0, x, halves, ks)
    tokens = one_hot(setting.texts.test.tokens, len(setting.texts.language.vocabulary))
    for basis, inputs in (
        ("probe", x),
        ("probe_untrained", sites[1].test),
        ("probe_token", tokens),
    ):
        found[basis].append(read_whole(basis, inputs, halves, config.probe_steps, seed))
    return found


def _shown(
    readings: Mapping[str, list[Reading]], config: ToyConfig
) -> Iterator[tuple[Reading, bool]]:
    """Readings that get rows, and whether with the scores of rankings: of each basis with one
    latent. Of random dictionaries the first draws, as many as there are dictionary seeds."""
    for basis, found in readings.items():
        few = [r for r in found if basis != "random" or r.seed < len(config.seeds)]
        for reading in few:
            yield reading, reading.k <= 1 and reading.seed == few[0].seed


def _sweep(name: str, site: Site, setting: Setting) -> list[Row]:
    """The curves of FVU against L0: of every variant at the scored site, of one at the others."""
    config, found = setting.config, list[Row]()
    n_layers = site.model.config.n_layers
    for layer in range(n_layers + 1):
        here = layer == site.layer
        at = site if here else Site.of(site.model, layer, setting.texts)
        for variant, strengths in config.curves.items():
            if here or variant == config.variant:
                # The scored dictionaries have their rows already.
                rest = [
                    s
                    for s in strengths
                    if not (here and variant == config.variant and s == config.strength)
                ]
                if rest:
                    for d in train_on([at], variant, rest, config.seeds[:1], config, setting.seed):
                        found += _curve_rows(name, TRAINED, d, setting)
    return found


def _curve_rows(name: str, of: str, d: Trained, setting: Setting) -> Iterator[Row]:
    """FVU, L0, dead latents; how well embeddings are matched, beside random dictionaries."""
    key = {
        **{"model": name, "layer": d.site.layer, "of": of, "variant": d.variant},
        **{"strength": d.strength, "seed": d.seed},
    }
    nothing = {"null": None, "null_low": None, "null_high": None}
    sequences = len(setting.texts.test.tokens)
    for metric, (value, low, high, n) in d.found.rows(setting.resampling, sequences).items():
        ends = {"ci_low": low, "ci_high": high}
        yield {**key, "metric": metric, "value": value, **ends, **nothing, "n": n}
    embedding = d.site.model.tok_embed.weight
    # Latents explain differences from the mean of the stream.
    directions = embedding - embedding.mean(0)
    best = match(directions, d.stack.W_dec[0]).truths
    n_latents = d.stack.W_dec.shape[1]
    null = [m.mean for m in random_matches(directions, n_latents, LEAST_DRAWS, setting.seed)]
    low, high = setting.resampling.interval(best)
    band = np.quantile(null, setting.resampling.bootstrap.tails)
    yield {
        **key,
        **{"metric": "mmcs_embedding", "value": float(best.mean()), "ci_low": low},
        **{"ci_high": high, "null": float(np.mean(null)), "null_low": float(band[0])},
        **{"null_high": float(band[1]), "n": len(best)},
    }
