"""The components that are patched: Z, and the random spaces that say what is special about it.

An energy-matched space holds as much of the energy of the states as Z does, and the states are
those that the patch acts on (`matching.matched_on`): at the answer's site Z's share is not the
same as over the prompt.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from zscope.core.provenance import derive_seed
from zscope.studies.crosslingual.config import Space
from zscope.studies.crosslingual.patching.matching import MatchedOn
from zscope.studies.crosslingual.patching.patched_generation import Component
from zscope.studies.crosslingual.space.subspaces import (
    energy_matched_spaces,
    energy_share,
    energy_spectrum_of,
    random_space,
)
from zscope.tables.schema import Row


@dataclass(frozen=True, eq=False)
class SpaceDraw:
    """A component with its name in the tables. k is null for the whole stream.

    energy_share, z_energy_share: of energy-matched spaces, the share that the component, and that
    of Z, hold of the energy that they are matched on; null for the others.
    """

    space: Space
    k: int | None
    draw: int
    component: Component
    energy_share: float | None = None
    z_energy_share: float | None = None

    def share_row(self) -> Row:
        """Columns of table crosslingual_energy_shares that are the component's own."""
        return {
            "space": self.space,
            "k": self.k,
            "draw": self.draw,
            "energy_share": self.energy_share,
            "z_energy_share": self.z_energy_share,
        }


FULL = SpaceDraw("full", None, 0, Component(None))


def draw_spaces(
    Z: Float[Tensor, "k d"],
    states: Float[Tensor, "tokens d"],
    n_draws: Mapping[Space, int],
    seed: int,
    matched: MatchedOn,
) -> list[SpaceDraw]:
    """Spaces with Z's dimensions, as many of each as `n_draws` has.

    states: those that are patched; `matched` is their name. A draw is the same whatever the number
    of draws, and a random space whatever is matched. Raises DataError as `energy_matched_spaces`.
    """
    k, d = Z.shape

    def generators(name: str, pair: list[tuple[Space, bool]]) -> Iterator[torch.Generator]:
        for i in range(max(n_draws[space] for space, _ in pair)):
            yield torch.Generator().manual_seed(derive_seed(seed, f"{name}/k{k}/{i}"))

    out = [
        SpaceDraw(name, k, 0, Component(Z.to(states), perp))
        for name, perp in _both("z", "z_perp", n_draws)
    ]
    if random := _both("random", "random_perp", n_draws):
        drawn = [random_space(d, k, own).to(states) for own in generators("random", random)]
        out += [
            SpaceDraw(name, k, i, Component(V, perp))
            for name, perp in random
            for i, V in enumerate(drawn[: n_draws[name]])
        ]
    if energy := _both("energy", "energy_perp", n_draws):
        wide = states.double().cpu()
        spectrum = energy_spectrum_of(wide)
        of_z = energy_share(wide, Z.cpu())
        found = [
            energy_matched_spaces(spectrum, k, of_z, 1, generator)[0]
            for generator in generators(f"energy/{matched}", energy)
        ]
        out += [
            SpaceDraw(
                name,
                k,
                i,
                Component(V.to(states), perp),
                *_shares(energy_share(wide, V), of_z, perp),
            )
            for name, perp in energy
            for i, V in enumerate(found[: n_draws[name]])
        ]
    return out


def _both(inside: Space, outside: Space, asked: Container[Space]) -> list[tuple[Space, bool]]:
    """A space and its complement, as far as they are asked for."""
    return [(name, perp) for name, perp in ((inside, False), (outside, True)) if name in asked]


def _shares(of_draw: float, of_z: float, perp: bool) -> tuple[float, float]:
    return (1 - of_draw, 1 - of_z) if perp else (of_draw, of_z)
