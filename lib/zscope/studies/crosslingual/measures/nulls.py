"""Spaces that Z is compared with: uniform ones, and ones that hold as much energy as Z."""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N803

from __future__ import annotations

import logging

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
    energy_spectrum,
    random_space,
)
from zscope.studies.crosslingual.space.updates import pool, positions_used

POOLINGS: tuple[Pooling, ...] = ("mean", "last")
POSITION_0: tuple[Position0, ...] = ("exclude", "include")
LOG = logging.getLogger(__name__)


def uniform_spaces(spaces: SpaceFile, seed: int) -> dict[int, Float[Tensor, "draws k d"]]:
    """`random_spaces` by k, as large as those of the file."""
    sizes, draws = spaces.sizes, spaces.z.draws
    return {k: random_spaces(sizes.d_model, k, draws, seed) for k in sizes.ks}


def random_spaces(d: int, k: int, draws: int, seed: int) -> Float[Tensor, "draws k d"]:
    """Uniform (Haar) spaces; the same for every layer, since they know nothing of one."""
    generator = torch.Generator().manual_seed(derive_seed(seed, f"random/k{k}"))
    return torch.stack([random_space(d, k, generator) for _ in range(draws)])


def pooled(states: States, pooling: Pooling, position_0: Position0) -> Float[Tensor, "n d"]:
    """One vector per prompt, in float64. Raises DataError if a prompt has no token left."""
    used = positions_used(states.mask, skip_first=position_0 == "exclude")
    if pooling == "last":
        return states.states[:, -1].double()  # padding is on the left
    return pool(states.states, used)


def real_tokens(layer: Layer, position_0: Position0) -> Float[Tensor, "tokens d"]:
    """The used tokens of both languages, in float64."""
    skip = position_0 == "exclude"
    return torch.cat([s.states[positions_used(s.mask, skip)].double() for s in layer.values()])


class EnergyNull:
    """Random spaces that hold as much of the tokens' energy as a given one.

    Energy is the second moment of the used tokens of both languages, not centred.
    """

    def __init__(self, tokens: Float[Tensor, "tokens d"], draws: int, seed: int) -> None:
        """seed: of the draws. Raises DataError if the tokens are all 0."""
        self._moments = tokens.mT @ tokens
        self._spectrum = energy_spectrum(self._moments)
        self._draws, self._seed = draws, seed

    def share(self, V: Float[Tensor, "k d"]) -> float:
        """Share of the tokens' energy in the space."""
        return float(((V @ self._moments) * V).sum() / self._moments.trace())

    def spaces(self, V: Float[Tensor, "k d"], name: str) -> Float[Tensor, "draws k d"] | None:
        """Spaces as large as V, with its share. None if there are none, which is logged.

        name: enters the seed, so that another name draws other spaces.
        """
        generator = torch.Generator().manual_seed(derive_seed(self._seed, f"energy/{name}"))
        try:
            return energy_matched_spaces(
                self._spectrum, len(V), self.share(V), self._draws, generator
            )
        except DataError as error:
            LOG.warning("%s: no energy-matched spaces: %s", name, error)
            return None


def null_spaces(
    V: Float[Tensor, "k d"], random: Float[Tensor, "draws k d"], energy: EnergyNull, name: str
) -> dict[str, Float[Tensor, "draws k d"]]:
    """Random spaces to compare V with, by name; without `energy` if there are none."""
    matched = energy.spaces(V, name)
    return {"random": random} | ({} if matched is None else {"energy": matched})
