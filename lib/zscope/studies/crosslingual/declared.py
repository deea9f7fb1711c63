"""What was declared before the run: the condition that verdicts are read from, and their rules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from zscope.core.errors import find
from zscope.studies.crosslingual.config import VerdictConfig, ZConfig
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


def verdict_cells(declared: DeclaredCell) -> tuple[DeclaredCell, ...]:
    """The conditions that verdicts read, and whose nulls have all their draws.

    The declared one, its mean ablation, and those of `transferred`.
    """
    ablated = replace(declared, source="mean")
    return tuple(dict.fromkeys((declared, ablated, *transferred(declared))))


def transferred(declared: DeclaredCell) -> tuple[DeclaredCell, DeclaredCell]:
    """Where a transfer of the answer can be seen, with a source that has another answer.

    The declared condition, and the one at the answer's own position.
    """
    everywhere = replace(declared, source="mismatched")
    return everywhere, replace(everywhere, design="site_answer", where="prefill")
