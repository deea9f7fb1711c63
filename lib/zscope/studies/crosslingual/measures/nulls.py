"""Spaces that Z is compared with: uniform ones, and ones that hold as much energy as Z."""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N803

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from zscope.core.errors import DataError
from zscope.core.provenance import derive_seed
from zscope.studies.crosslingual.config import Pooling, Position0
from zscope.studies.crosslingual.measures.space_file import SpaceFile
from zscope.studies.crosslingual.space.activations import Layer, States
from zscope.studies.crosslingual.space.subspaces import (
    energy_matched_spaces,
    energy_share,
    energy_spectrum_of,
    random_space,
)
from zscope.studies.crosslingual.space.updates import pool

POOLINGS: tuple[Pooling, ...] = ("mean", "last")
POSITION_0: tuple[Position0, ...] = ("exclude", "include")
POOLED: dict[Pooling, str] = {"mean": "mean-pooled vectors", "last": "last tokens"}
"""What a pooling makes of prompts, in words: column matched_on."""
LOG = logging.getLogger(__name__)


def uniform_spaces(spaces: SpaceFile, seed: int) -> dict[int, Float[Tensor, "draws k d"]]:
    """`random_spaces` by k, as large as those of the file."""
    sizes, draws = spaces.sizes, spaces.z.draws
    return {k: random_spaces(sizes.d_model, k, draws, seed) for k in sizes.ks}


def random_spaces(d: int, k: int, draws: int, seed: int) -> Float[Tensor, "draws k d"]:
    """Uniform (Haar) spaces; the same for every layer, since they know nothing of one."""
    generator = torch.Generator().manual_seed(derive_seed(seed, f"random/k{k}"))
    return torch.stack([random_space(d, k, generator) for _ in range(draws)])


def token_choices(*layers: Layer) -> dict[Position0, tuple[Position0, ...]]:
    """POSITION_0, with those that take the same tokens of these states named together.

    Behind examples the first token is none of the query's, and mostly no token is massive: what is
    measured without such tokens is then what is measured with them.
    """
    every = [states for layer in layers for states in layer.values()]
    if all(torch.equal(s.used("exclude"), s.used("include")) for s in every):
        return {POSITION_0[0]: POSITION_0}
    return {position_0: (position_0,) for position_0 in POSITION_0}


def pooled(states: States, pooling: Pooling, position_0: Position0) -> Float[Tensor, "n d"]:
    """One vector per prompt, in float64. Raises DataError if a prompt has no token left."""
    used = states.used(position_0)
    if pooling == "last":
        return states.states[:, -1].double()  # padding is on the left
    return pool(states.states, used)


def pooled_languages(
    layer: Layer, pooling: Pooling, position_0: Position0
) -> Float[Tensor, "both_n d"]:
    """The pooled prompts of both languages, one after the other."""
    return torch.cat([pooled(states, pooling, position_0) for states in layer.values()])


def real_tokens(layer: Layer, position_0: Position0) -> Float[Tensor, "tokens d"]:
    """The used tokens of both languages, in float64."""
    return torch.cat([s.states[s.used(position_0)].double() for s in layer.values()])


class EnergyNull:
    """Random spaces that hold as much of some states' energy as a given one.

    Energy is the second moment, not centred.
    """

    def __init__(self, states: Float[Tensor, "n d"], draws: int, seed: int) -> None:
        """seed: of the draws. Raises DataError if the states are all 0."""
        self._states = states
        self._spectrum = energy_spectrum_of(states)
        self._draws, self._seed = draws, seed

    def share(self, V: Float[Tensor, "k d"]) -> float:
        """Share of the states' energy in the space."""
        return energy_share(self._states, V)

    def spaces(self, V: Float[Tensor, "k d"], name: str) -> Float[Tensor, "draws k d"] | None:
        """Spaces as large as V, with its share. None if there are none, which is logged.

        name: enters the seed, so that another name draws other spaces. With one seed and name, draw
        i comes from the same Gaussian matrix whatever the states.
        """
        generator = torch.Generator().manual_seed(derive_seed(self._seed, f"energy/{name}"))
        try:
            return energy_matched_spaces(
                self._spectrum, len(V), self.share(V), self._draws, generator
            )
        except DataError as error:
            LOG.warning("%s: no energy-matched spaces: %s", name, error)
            return None


def present(
    spaces: Mapping[str, Float[Tensor, "draws k d"] | None],
) -> dict[str, Float[Tensor, "draws k d"]]:
    """The nulls that there are."""
    return {name: drawn for name, drawn in spaces.items() if drawn is not None}
