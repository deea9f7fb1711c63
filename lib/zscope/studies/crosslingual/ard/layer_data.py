"""States and spaces of each layer, which lengthscales are fitted to and judged on."""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N806

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from zscope.core.provenance import derive_seed
from zscope.studies.crosslingual.ard.evaluation import Split, principal_axes, split_problems, z_axes
from zscope.studies.crosslingual.ard.kernel import Clouds, make_clouds
from zscope.studies.crosslingual.config import ArdConfig, Basis, Position0
from zscope.studies.crosslingual.measures.space_file import SpaceFile
from zscope.studies.crosslingual.problems.problem_rows import read_categories
from zscope.studies.crosslingual.space.activations import Layer, read_layer
from zscope.studies.crosslingual.space.subspaces import random_space


@dataclass(frozen=True)
class LayerData:
    """One layer: its clouds, and V_Z by k (none after the last layer: no attention reads it).

    categories: of all problems. split: those that are fitted on, and those that are held out. seed:
    of the layer's fits.
    """

    clouds: Clouds
    categories: Shaped[np.ndarray, " n"]
    split: Split
    spaces: Mapping[int, Float[Tensor, "k d"]]
    seed: int

    @cached_property
    def parts(self) -> tuple[Clouds, Clouds]:
        """Train and test, in float32, centred by the tokens of the first."""
        train, test = (self.clouds.select(torch.from_numpy(rows)) for rows in self.split)
        mean = train.tokens().double().mean(0)
        return train.centred(mean).to(torch.float32), test.centred(mean).to(torch.float32)

    @property
    def train(self) -> Clouds:
        return self.parts[0]

    @property
    def test(self) -> Clouds:
        return self.parts[1]

    @cached_property
    def starts(self) -> dict[str, Float[Tensor, "k d"] | None]:
        """By init, the space that the original objective starts from; zeros has none."""
        found: dict[str, Tensor | None] = {"zeros": None}
        if self.spaces:
            V = self.spaces[max(self.spaces)]
            drawn = random_space(V.shape[1], len(V), self.generator("random init"))
            found |= {"svd_z": V, "svd_random": drawn}
        return found

    def axes(self, basis: Basis) -> Float[Tensor, "r d"] | None:
        """Rows of the basis, in float32; None if it needs a Z and there is none."""
        if basis == "coordinates":
            return torch.eye(self.train.d)
        tokens = self.train.tokens()
        if basis == "pca":
            return principal_axes(tokens).float()
        return z_axes(tokens, self.spaces[max(self.spaces)]).float() if self.spaces else None

    def generator(self, name: str) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self.seed, name))


def read_layers(
    problems: str,
    activations: str,
    spaces: SpaceFile,
    layers: Iterable[int],
    ard: ArdConfig,
    seed: int,
) -> Iterator[tuple[int, LayerData]]:
    """Each of the layers. problems: a table; activations: a folder."""
    for layer in layers:
        states = read_layer(activations, layer)
        categories = read_categories(problems, states["zh"].problems)
        rng = np.random.default_rng(derive_seed(seed, "ard split"))
        split = split_problems(categories, ard.train_share, rng, ard.max_problems)
        clouds = _clouds(states, spaces.z.position_0)
        layer_seed = derive_seed(seed, f"ard layer {layer}")
        yield layer, LayerData(clouds, categories, split, spaces.of_layer(layer), layer_seed)


def _clouds(states: Layer, position_0: Position0) -> Clouds:
    zh, en = states["zh"], states["en"]
    return make_clouds(
        zh.states.float(), zh.used(position_0), en.states.float(), en.used(position_0)
    )
