"""Experiment B: what each layer adds inside Z over what it adds outside, R(l).

dh = resid_pre(l+1) - resid_pre(l), for the last layer the state before the final norm minus
resid_pre. Rows of crosslingual_updates:

    ratio            mean over prompts of R = ||P dh|| / ||P_perp dh||, of the mean update of a
                     prompt (pooling mean; protocol B.2), or the mean of R over its tokens (token)
    ratio_over_null  R over the analytic null sqrt(k/(d-k)), which is not 1
    asymmetry        R of the Chinese prompt minus R of the English one (language both)

against sqrt(k/(d-k)) (null: chance) and against random spaces, uniform ones and those that hold as
much of the energy of the layer's input as Z; z counts standard deviations of their draws. Intervals
resample problems.
"""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N803, N806

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zscope.core.errors import DataError
from zscope.core.provenance import derive_seed
from zscope.stats import finite
from zscope.studies.crosslingual.config import Position0
from zscope.studies.crosslingual.measures.intervals import Resamples, chance_null, null_band
from zscope.studies.crosslingual.measures.nulls import (
    POSITION_0,
    EnergyNull,
    null_spaces,
    real_tokens,
)
from zscope.studies.crosslingual.measures.space_file import SpaceFile, key
from zscope.studies.crosslingual.problems.parallel import LANGUAGES, Language
from zscope.studies.crosslingual.space.activations import Layer, States
from zscope.studies.crosslingual.space.subspaces import chance_ratio
from zscope.studies.crosslingual.space.updates import positions_used, z_score
from zscope.tables.schema import Row

UpdatePooling = Literal["mean", "token"]
POOLINGS: tuple[UpdatePooling, ...] = ("mean", "token")


def layer_rows(
    before: Layer,
    after: Layer,
    layer: int,
    spaces: SpaceFile,
    random: Mapping[int, Float[Tensor, "draws k d"]],
    resamples: Resamples,
) -> Iterator[Row]:
    """Every row of one layer, without the model, in Z of z.layers and in its own.

    before, after: states at the inputs of this layer and the next. random: uniform spaces by k.
    """
    sizes, z, seed = spaces.sizes, spaces.z, resamples.bootstrap.seed
    kind = z.kind
    for position_0 in POSITION_0:
        tokens = real_tokens(before, position_0)
        energy = EnergyNull(tokens, z.draws, derive_seed(seed, f"updates/L{layer}/{position_0}"))
        for basis_layer in dict.fromkeys((*sizes.layers, layer)):
            for k in sizes.ks:
                if not spaces.has(basis_layer, k, kind):
                    continue
                V = spaces.load(basis_layer, k, kind)
                nulls = null_spaces(V, random[k], energy, key(basis_layer, k, kind))
                about = {"layer": layer, "basis_layer": basis_layer, "k": k, "kind": kind}
                for row in update_rows(before, after, V, nulls, position_0, resamples):
                    yield {**about, **row}


@dataclass(frozen=True, eq=False)
class Updates:
    """dh of the used tokens of n prompts in one language, and the prompt of each."""

    tokens: Float[Tensor, "tokens d"]
    prompt: Int[Tensor, " tokens"]
    n: int

    @classmethod
    def between(cls, before: States, after: States, position_0: Position0) -> Updates:
        """Raises DataError if the two layers hold other prompts, or a prompt has no token left."""
        if before.problems != after.problems or not torch.equal(before.mask, after.mask):
            raise DataError("two layers hold the states of other prompts: extract them again")
        used = positions_used(before.mask, skip_first=position_0 == "exclude")
        tokens = after.states[used].double() - before.states[used].double()
        prompt = used.nonzero()[:, 0]
        return cls(tokens, prompt, len(used))

    def mean(self, values: Float[Tensor, "tokens ..."]) -> Float[Tensor, "n ..."]:
        """Mean of the tokens' values in every prompt."""
        total = values.new_zeros(self.n, *values.shape[1:]).index_add_(0, self.prompt, values)
        counts = torch.bincount(self.prompt, minlength=self.n)
        return total / counts.view(-1, *[1] * (values.dim() - 1))


def ratios(
    updates: Updates, spaces: Float[Tensor, "m k d"], pooling: UpdatePooling
) -> Float[Tensor, "n m"]:
    """R of every prompt in every space; inf for an update inside it, NaN for no update."""
    if pooling == "mean":
        return _norm_ratios(updates.mean(updates.tokens), spaces)
    return updates.mean(_norm_ratios(updates.tokens, spaces))


def update_rows(
    before: Layer,
    after: Layer,
    V: Float[Tensor, "k d"],
    nulls: Mapping[str, Float[Tensor, "draws k d"]],
    position_0: Position0,
    resamples: Resamples,
) -> Iterator[Row]:
    """Rows of one layer and one Z, without the columns that say which.

    nulls: random spaces to compare V with, by name.
    """
    updates = {
        language: Updates.between(before[language], after[language], position_0)
        for language in LANGUAGES
    }
    spaces = {"z": V.unsqueeze(0), **nulls}
    for pooling in POOLINGS:
        by_language: dict[Language, dict[str, Tensor]] = {
            language: {name: ratios(u, W, pooling) for name, W in spaces.items()}
            for language, u in updates.items()
        }
        zh, en = by_language["zh"], by_language["en"]
        both = {name: (zh[name] + en[name]) / 2 for name in spaces}
        gap = {name: zh[name] - en[name] for name in spaces}
        series = (("zh", "ratio", zh), ("en", "ratio", en), ("both", "ratio", both))
        for language, metric, values in (*series, ("both", "asymmetry", gap)):
            for row in _rows(metric, values, chance_ratio(*V.shape), resamples):
                yield {"language": language, "pooling": pooling, "position_0": position_0, **row}


def _rows(
    metric: str, values: Mapping[str, Float[Tensor, "n m"]], chance: float, resamples: Resamples
) -> Iterator[Row]:
    own = values["z"][:, 0].numpy()
    value, n = float(own.mean()), len(own)
    interval = resamples.of_mean(own)
    if metric == "ratio":
        plain = {"value": finite(value), **interval, "z": None, "n": n}
        yield {"metric": metric, **plain, **chance_null(chance)}
        scaled = {end: None if x is None else x / chance for end, x in interval.items()}
        plain |= {"value": finite(value / chance), **scaled}
        yield {"metric": "ratio_over_null", **plain, **chance_null(1.0)}
    for name, drawn in values.items():
        if name == "z":
            continue
        means = drawn.mean(0)
        yield {
            "metric": metric,
            "value": finite(value),
            **interval,
            **null_band(name, means, resamples.bootstrap),
            "z": finite(z_score(value, means)) if bool(means.std() > 0) else None,
            "n": n,
        }


def _norm_ratios(x: Float[Tensor, "n d"], spaces: Float[Tensor, "m k d"]) -> Float[Tensor, "n m"]:
    m, k, _ = spaces.shape
    inside = (x @ spaces.flatten(0, 1).mT).square().unflatten(1, (m, k)).sum(-1)
    outside = (x.square().sum(1, keepdim=True) - inside).clamp(min=0)
    return (inside / outside).sqrt()
