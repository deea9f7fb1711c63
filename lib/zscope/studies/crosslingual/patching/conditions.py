"""The grid of conditions of experiment A, and how many random spaces each has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zscope.studies.crosslingual.config import (
    Design,
    Direction,
    PatchingConfig,
    PatchSource,
    Where,
)
from zscope.studies.crosslingual.declared import DeclaredCell
from zscope.studies.crosslingual.patching.matching import MatchedOn, matched_on
from zscope.studies.crosslingual.patching.sources import SOURCES_OF
from zscope.studies.crosslingual.problems.parallel import LANGUAGES, Language


@dataclass(frozen=True)
class Cell:
    """A condition without its space: what is put in, from where to where."""

    design: Design
    source: PatchSource
    where: Where
    direction: Direction

    @property
    def languages(self) -> tuple[Language, Language]:
        """Of the source and of the patched prompt."""
        return languages_of(self.direction)

    @property
    def forced(self) -> bool:
        """Whether the prompts end with the forced stem of an answer."""
        return self.design == "site_answer"

    @property
    def at_site(self) -> bool:
        """Whether the last position alone is patched."""
        return self.design in ("site_answer", "site_language")

    @property
    def matched_on(self) -> MatchedOn:
        """The states that the patch acts on."""
        return matched_on(self.design, self.where)

    def n_draws(self, k: int, config: PatchingConfig, read: Sequence[DeclaredCell]) -> int:
        """Draws of each random space of k dimensions. read: the cells of this layer that a verdict
        reads."""
        own = (k, self.design, self.source, self.where, self.direction)
        verdict = own in {(c.k, c.design, c.source, c.where, c.direction) for c in read}
        return config.verdict_draws if verdict else config.draws


def languages_of(direction: Direction) -> tuple[Language, Language]:
    """The source's and the prompt's language of "zh->en"."""
    source, _, target = direction.partition("->")
    first, second = (next(x for x in LANGUAGES if x == name) for name in (source, target))
    return first, second


def cells(config: PatchingConfig) -> list[Cell]:
    """Every combination that makes sense: `where: all` needs the design mean (one vector), and
    SOURCES_OF says which sources a design has."""
    return [
        Cell(design, source, where, direction)
        for direction in config.directions
        for design in config.designs
        for source in config.sources
        if source in SOURCES_OF[design]
        for where in config.where
        if where == "prefill" or design == "mean"
    ]


def n_parts(
    config: PatchingConfig,
    ks: Sequence[int],
    n_problems: int,
    batch_size: int,
    read: Sequence[DeclaredCell] = (),
) -> int:
    """How many lists of rows `LayerPatching.outputs` yields. read: as in `Cell.n_draws`."""
    names = {*config.spaces}
    n_drawn = len([name for name in names if name.startswith(("random", "energy"))])
    n_own = len(names & {"z", "z_perp"})
    grid = cells(config)
    conditions = sum(
        ("full" in names) + sum(n_own + cell.n_draws(k, config, read) * n_drawn for k in ks)
        for cell in grid
    )
    unpatched = {(cell.direction, cell.forced) for cell in grid}
    return (conditions + len(unpatched)) * -(-n_problems // batch_size)
