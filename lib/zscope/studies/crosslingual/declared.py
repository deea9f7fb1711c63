"""What was declared before the run: the condition that verdicts are read from, and their rules."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from zscope.core.errors import find
from zscope.studies.crosslingual.config import Space, VerdictConfig, ZConfig
from zscope.studies.crosslingual.sizes import Sizes


@dataclass(frozen=True)
class DeclaredCell:
    """A condition of patching, fixed before the run; the space is left open."""

    layer: int
    k: int
    kind: str
    design: str
    source: str
    where: str
    position_0: str
    direction: str

    def of_z(self) -> dict[str, Any]:
        """The columns that name Z."""
        return {"layer": self.layer, "k": self.k, "kind": self.kind}


VerdictNulls: TypeAlias = Mapping[DeclaredCell, Set[Space]]
"""The random spaces that verdicts compare with, by the condition that they are patched in."""


def declared_cell(wanted: VerdictConfig, z: ZConfig, sizes: Sizes) -> DeclaredCell:
    """The config's cell, with this model's layer and k."""
    return DeclaredCell(
        find(sizes.layer_of, str(wanted.layer), "layer in z.layers"),
        find(sizes.k_of, str(wanted.k), "k in z.k"),
        z.kind,
        wanted.design,
        wanted.source,
        wanted.where,
        z.position_0,
        wanted.direction,
    )


def verdict_nulls(declared: DeclaredCell) -> VerdictNulls:
    """What the questions about patching compare Z and Z-perp with; these have all their draws.

    The declared condition, its mean ablation, and those of `transferred`.
    """
    everywhere, at_site = transferred(declared)
    ablated = replace(declared, source="mean")
    compared: tuple[tuple[DeclaredCell, frozenset[Space]], ...] = (
        (declared, frozenset({"energy", "energy_perp"})),
        (everywhere, frozenset({"energy"})),
        (at_site, frozenset({"energy"})),
        (ablated, frozenset({"energy", "random"})),
    )
    read: dict[DeclaredCell, frozenset[Space]] = {}
    for cell, spaces in compared:
        read[cell] = read.get(cell, frozenset()) | spaces
    return read


def transferred(declared: DeclaredCell) -> tuple[DeclaredCell, DeclaredCell]:
    """Where a transfer of the answer can be seen, with a source that has another answer.

    The declared condition, and the one at the answer's own position.
    """
    everywhere = replace(declared, source="mismatched")
    return everywhere, replace(everywhere, design="site_answer", where="prefill")
