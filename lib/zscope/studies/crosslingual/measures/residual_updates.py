"""Experiment B: what each layer adds inside Z over what it adds outside, R(l).

dh = resid_pre(l+1) - resid_pre(l), for the last layer the state before the final norm minus
resid_pre. Rows of crosslingual_updates:

    ratio            mean over prompts of R = ||P dh|| / ||P_perp dh||, of the mean update of a
                     prompt (pooling mean; protocol B.2), or the mean of R over its tokens (token)
    ratio_over_null  R over the analytic null sqrt(k/(d-k)), which is not 1
    asymmetry        R of the Chinese prompt minus R of the English one (language both)
    largest_ratio    the largest R over all layers (layer null), of means and both languages

against sqrt(k/(d-k)) (null: chance) and against random spaces: uniform ones (random), and ones that
hold as large a share as Z of the energy of

    energy_input     the layer's input
    energy_output    the layer's output: what the update has become a part of
    energy_own       the input of the layer that Z is of; these spaces are the same for every layer

z counts standard deviations of a null's draws, p is Z's rank among them. The largest ratio is
compared with each draw's own largest. Draw i of a matched null comes from one Gaussian matrix at
every layer. Intervals resample problems; that of the largest ratio is of the layer where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
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
    present,
    real_tokens,
    token_choices,
)
from zscope.studies.crosslingual.measures.space_file import SpaceFile, key
from zscope.studies.crosslingual.problems.parallel import LANGUAGES, Language
from zscope.studies.crosslingual.space.activations import Layer, States
from zscope.studies.crosslingual.space.subspaces import chance_ratio
from zscope.studies.crosslingual.space.updates import positions_used, z_score
from zscope.tables.schema import Row
from zscope.verdicts import draw_test

UpdatePooling = Literal["mean", "token"]
POOLINGS: tuple[UpdatePooling, ...] = ("mean", "token")


MATCHED_ON = {
    "energy_input": "layer input",
    "energy_output": "layer output",
    "energy_own": "input of Z's layer",
}


class Place(NamedTuple):
    """A Z, and which tokens are used: what the largest ratio over layers is taken for."""

    basis_layer: int
    k: int
    position_0: Position0


class LayerRatio(NamedTuple):
    """R of one layer: of every prompt in Z, and its means in the draws of each null."""

    own: Float[Tensor, " n"]
    nulls: Mapping[str, Float[Tensor, " draws"]]


class ResidualUpdates:
    """Rows of all layers, one layer's states at a time, and then of the largest R over them."""

    def __init__(
        self,
        spaces: SpaceFile,
        random: Mapping[int, Float[Tensor, "draws k d"]],
        resamples: Resamples,
        read: Callable[[int], Layer],
    ) -> None:
        """random: uniform spaces by k. read: the states of a layer, for the spaces of z.layers."""
        self._spaces, self._random, self._resamples = spaces, random, resamples
        self._ratios: dict[Place, list[LayerRatio]] = {}
        self._own: dict[Place, Tensor | None] = {}
        # The last layer's output, and the spaces that are matched on it: the next one's input.
        self._output: Layer | None = None
        self._on_output: dict[Place, Tensor | None] = {}
        for basis_layer in spaces.sizes.layers:
            states = read(basis_layer)
            for position_0 in POSITION_0:
                energy = self._energy(states, position_0)
                for place in self._places([basis_layer], position_0):
                    self._own[place] = self._matched(energy, place)

    def of_layer(self, before: Layer, after: Layer, layer: int) -> Iterator[Row]:
        """Every row of one layer, without the model, in Z of z.layers and in its own.

        before, after: states at the inputs of this layer and the next.
        """
        layers = dict.fromkeys((*self._spaces.sizes.layers, layer))
        on_input = self._on_output if before is self._output else {}
        on_output: dict[Place, Tensor | None] = {}
        for position_0, alike in token_choices(before, after).items():
            at_input, at_output = (self._energy(s, position_0) for s in (before, after))
            updates = {
                language: Updates.between(before[language], after[language], position_0)
                for language in LANGUAGES
            }
            for place in self._places(layers, position_0):
                if place not in on_input:
                    on_input[place] = self._matched(at_input, place)
                on_output[place] = self._matched(at_output, place)
                nulls = present(
                    {
                        "random": self._random[place.k],
                        "energy_input": on_input[place],
                        "energy_output": on_output[place],
                        "energy_own": self._own.get(place, on_input[place]),
                    }
                )
                found = in_spaces(updates, {"z": self._load(place).unsqueeze(0), **nulls})
                named = [place._replace(position_0=same) for same in alike]
                for one in named:
                    if one in self._own:
                        self._ratios.setdefault(one, []).append(_of_both(found["mean"]))
                chance = chance_ratio(place.k, self._spaces.sizes.d_model)
                for row in update_rows(found, chance, self._resamples):
                    for one in named:
                        yield {"layer": layer, **self._about(one), **row}
        self._output, self._on_output = after, on_output

    def largest(self) -> Iterator[Row]:
        """Rows of the largest R over the layers that were measured."""
        for place, by_layer in self._ratios.items():
            for row in largest_rows(by_layer, self._resamples):
                yield {"layer": None, **self._about(place), **row}

    def _places(self, layers: Iterable[int], position_0: Position0) -> Iterator[Place]:
        for layer in layers:
            for k in self._spaces.sizes.ks:
                if self._spaces.has(layer, k, self._spaces.z.kind):
                    yield Place(layer, k, position_0)

    def _energy(self, states: Layer, position_0: Position0) -> EnergyNull:
        # One seed for all: the null of the largest R over layers takes the same draw at every
        # layer, and at some layers both choices of tokens are alike.
        seed = derive_seed(self._resamples.bootstrap.seed, "updates/exclude")
        return EnergyNull(real_tokens(states, position_0), self._spaces.z.draws, seed)

    def _matched(self, energy: EnergyNull, place: Place) -> Float[Tensor, "draws k d"] | None:
        name = key(place.basis_layer, place.k, self._spaces.z.kind)
        return energy.spaces(self._load(place), name)

    def _load(self, place: Place) -> Float[Tensor, "k d"]:
        return self._spaces.load(place.basis_layer, place.k, self._spaces.z.kind)

    def _about(self, place: Place) -> Row:
        return {**place._asdict(), "kind": self._spaces.z.kind}


@dataclass(frozen=True, eq=False)
class Updates:
    """dh of the used tokens of n prompts in one language, and the prompt of each."""

    tokens: Float[Tensor, "tokens d"]
    prompt: Int[Tensor, " tokens"]
    n: int

    @classmethod
    def between(cls, before: States, after: States, position_0: Position0) -> Updates:
        """Of the tokens that count on both sides of the layer.

        Raises DataError if the two layers hold other prompts, or a prompt has no token left.
        """
        if before.problems != after.problems or not torch.equal(before.mask, after.mask):
            raise DataError("two layers hold the states of other prompts: extract them again")
        used = positions_used(before.used(position_0) & after.used(position_0))
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


Ratios: TypeAlias = Mapping[Language, Mapping[str, Float[Tensor, "n m"]]]


def in_spaces(
    updates: Mapping[Language, Updates], spaces: Mapping[str, Float[Tensor, "m k d"]]
) -> dict[UpdatePooling, Ratios]:
    """R of every prompt, by pooling, language and name of the spaces."""
    return {
        pooling: {
            language: {name: ratios(of, V, pooling) for name, V in spaces.items()}
            for language, of in updates.items()
        }
        for pooling in POOLINGS
    }


def update_rows(
    found: Mapping[UpdatePooling, Ratios], chance: float, resamples: Resamples
) -> Iterator[Row]:
    """Rows of one layer and one Z, without the columns that say which.

    found: `in_spaces` with Z as "z" and its nulls. chance: R of a typical update.
    """
    for pooling, by_language in found.items():
        zh, en = by_language["zh"], by_language["en"]
        both = {name: (zh[name] + en[name]) / 2 for name in zh}
        gap = {name: zh[name] - en[name] for name in zh}
        series = (("zh", "ratio", zh), ("en", "ratio", en), ("both", "ratio", both))
        for language, metric, values in (*series, ("both", "asymmetry", gap)):
            for row in _rows(metric, values, chance, resamples):
                yield {"language": language, "pooling": pooling, **row}


def largest_rows(by_layer: Sequence[LayerRatio], resamples: Resamples) -> Iterator[Row]:
    """The largest R over layers, against the largest R over layers of every draw of each null.

    The same draw is one space at every layer, or the matched one of the layer: its largest R has
    had as many chances as Z's. A null that a layer lacks is left out, and so is all of it where an
    R is undefined.
    """
    means = torch.stack([layer.own.mean() for layer in by_layer])
    if bool(means.isnan().any()):
        return
    largest = by_layer[int(means.argmax())].own.numpy()
    plain: Row = {
        "language": "both",
        "pooling": "mean",
        "metric": "largest_ratio",
        "value": finite(float(means.max())),
        **resamples.of_mean(largest),
        "n": len(largest),
    }
    for name in by_layer[0].nulls:
        if all(name in layer.nulls for layer in by_layer):
            draws = torch.stack([layer.nulls[name] for layer in by_layer]).amax(0)
            yield plain | _against(name, float(means.max()), draws, resamples)


def _of_both(by_language: Ratios) -> LayerRatio:
    """The mean over the languages of every prompt's R."""
    zh, en = by_language["zh"], by_language["en"]
    both = {name: (zh[name] + en[name]) / 2 for name in zh}
    own = both.pop("z")[:, 0]
    return LayerRatio(own, {name: drawn.mean(0) for name, drawn in both.items()})


def _rows(
    metric: str, values: Mapping[str, Float[Tensor, "n m"]], chance: float, resamples: Resamples
) -> Iterator[Row]:
    own = values["z"][:, 0].numpy()
    value, n = float(own.mean()), len(own)
    interval = resamples.of_mean(own)
    plain: Row = {"metric": metric, "value": finite(value), **interval, "n": n}
    if metric == "ratio":
        untested: Row = {"z": None, "p": None}
        yield plain | chance_null(chance) | untested
        over: Row = {"metric": "ratio_over_null", "value": finite(value / chance)}
        over |= {end: None if x is None else x / chance for end, x in interval.items()}
        yield plain | over | chance_null(1.0) | untested
    for name, drawn in values.items():
        if name == "z":
            continue
        row = plain | _against(name, value, drawn.mean(0), resamples)
        # A difference of languages has no side that was declared.
        yield row if metric == "ratio" else row | {"p": None}


def _against(name: str, value: float, draws: Float[Tensor, " draws"], resamples: Resamples) -> Row:
    """Columns of a null and of Z's place in it; no place where one of the values is undefined."""
    known = not (np.isnan(value) or bool(draws.isnan().any()))
    spread = known and bool(draws.std() > 0)
    return {
        **null_band(name, draws, resamples.bootstrap, matched_on=MATCHED_ON.get(name)),
        "z": finite(z_score(value, draws)) if spread else None,
        "p": draw_test(value, draws.numpy()).p if known else None,
    }


def _norm_ratios(x: Float[Tensor, "n d"], spaces: Float[Tensor, "m k d"]) -> Float[Tensor, "n m"]:
    m, k, _ = spaces.shape
    inside = (x @ spaces.flatten(0, 1).mT).square().unflatten(1, (m, k)).sum(-1)
    outside = (x.square().sum(1, keepdim=True) - inside).clamp(min=0)
    return (inside / outside).sqrt()
