"""The grid of conditions of experiment A, and how many random spaces each has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

from zscope.studies.crosslingual.config import (
    Design,
    Direction,
    PatchingConfig,
    PatchSource,
    Space,
    Where,
)
from zscope.studies.crosslingual.declared import VerdictNulls
from zscope.studies.crosslingual.patching.matching import MatchedOn, matched_on
from zscope.studies.crosslingual.patching.sources import SOURCES_OF
from zscope.studies.crosslingual.problems.parallel import LANGUAGES, Language

NO_NULLS: VerdictNulls = MappingProxyType({})


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

    def n_draws(self, k: int, config: PatchingConfig, read: VerdictNulls) -> dict[Space, int]:
        """Draws of each space of k dimensions. read: the nulls of this layer that a verdict
        reads."""
        own = (k, self.design, self.source, self.where, self.direction)
        nulls = {
            space
            for c, spaces in read.items()
            if (c.k, c.design, c.source, c.where, c.direction) == own
            for space in spaces
        }

        def draws(space: Space) -> int:
            if not space.startswith(("random", "energy")):
                return 1
            return config.verdict_draws if space in nulls else config.draws

        return {space: draws(space) for space in config.spaces if space != "full"}


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
    read: VerdictNulls = NO_NULLS,
) -> int:
    """How many lists of rows `LayerPatching.outputs` yields. read: as in `Cell.n_draws`."""
    grid = cells(config)
    conditions = sum(
        ("full" in config.spaces) + sum(sum(cell.n_draws(k, config, read).values()) for k in ks)
        for cell in grid
    )
    unpatched = {(cell.direction, cell.forced) for cell in grid}
    return (conditions + len(unpatched)) * -(-n_problems // batch_size)
