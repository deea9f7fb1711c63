"""Experiment A: every condition of patching one layer, as rows of table crosslingual_outputs.

Source states are computed once for a layer and language; a batch of clean prompts is run once up to
the layer, and every condition goes on from it. Memory does not grow with the conditions: the rows
of one condition are yielded before the next is run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from zscope.core.provenance import derive_seed
from zscope.models.language_model import LanguageModel
from zscope.studies.crosslingual.config import (
    Design,
    Direction,
    GenerationConfig,
    PatchingConfig,
    PatchSource,
    Space,
    Where,
)
from zscope.studies.crosslingual.patching.patched_generation import (
    Component,
    Patch,
    Prefix,
    generate_from,
    run_prefix,
)
from zscope.studies.crosslingual.patching.readouts import (
    Reading,
    output_columns,
    read_text,
    stopping_rule,
)
from zscope.studies.crosslingual.patching.sources import (
    SOURCES_OF,
    Partners,
    forced_stem,
    mismatched_partners,
    read_states,
    source_states,
)
from zscope.studies.crosslingual.problems.parallel import LANGUAGES, Language, Problem
from zscope.studies.crosslingual.space.subspaces import (
    energy_matched_spaces,
    energy_share,
    energy_spectrum,
    random_space,
)
from zscope.tables.schema import Row

Draws: TypeAlias = Literal["random", "energy"]


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


@dataclass(frozen=True, eq=False)
class SpaceDraw:
    """A component with its name in the tables. k is null for the whole stream."""

    space: Space
    k: int | None
    draw: int
    component: Component


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


def n_parts(config: PatchingConfig, n_bases: int, n_problems: int, batch_size: int) -> int:
    """How many lists of rows `patch_layer` yields."""
    drawn = {name for name in config.spaces if name.startswith(("random", "energy"))}
    own = len({*config.spaces} - {*drawn, "full"}) + config.draws * len(drawn)
    grid = cells(config)
    unpatched = {(cell.direction, cell.design == "site_answer") for cell in grid}
    conditions = len(grid) * (own * n_bases + ("full" in config.spaces))
    return (conditions + len(unpatched)) * -(-n_problems // batch_size)


def draw_spaces(
    bases: Sequence[Float[Tensor, "k d"]],
    states: Float[Tensor, "tokens d"],
    config: PatchingConfig,
    seed: int,
) -> list[SpaceDraw]:
    """The components of each Z in `bases`, with `config.draws` of the random ones.

    states: of the tokens that are patched; an energy-matched space holds as much of their energy as
    Z does. Raises DataError as `energy_matched_spaces`.
    """
    wide = states.double().cpu()
    with_energy = bool({"energy", "energy_perp"} & {*config.spaces})
    spectrum = energy_spectrum(wide.mT @ wide / len(wide)) if with_energy else None
    out = [SpaceDraw("full", None, 0, Component(None))] if "full" in config.spaces else []
    for Z in bases:
        k, d = Z.shape
        own: list[tuple[Space, Space, list[Tensor]]] = [("z", "z_perp", [Z])]
        if {"random", "random_perp"} & {*config.spaces}:
            generators = (_generator(seed, f"random/k{k}/{i}") for i in range(config.draws))
            drawn = [random_space(d, k, generator) for generator in generators]
            own.append(("random", "random_perp", drawn))
        if spectrum is not None:
            share = energy_share(wide, Z)
            generators = (_generator(seed, f"energy/k{k}/{i}") for i in range(config.draws))
            drawn = [energy_matched_spaces(spectrum, k, share, 1, g)[0] for g in generators]
            own.append(("energy", "energy_perp", drawn))
        out += [
            SpaceDraw(name, k, draw, Component(V.to(states), perp))
            for inside, outside, drawn in own
            for name, perp in ((inside, False), (outside, True))
            if name in config.spaces
            for draw, V in enumerate(drawn)
        ]
    return out


def patch_layer(
    lm: LanguageModel,
    problems: Sequence[Problem],
    layer: int,
    bases: Sequence[Float[Tensor, "k d"]],
    config: PatchingConfig,
    generation: GenerationConfig,
    position_0: bool,
    seed: int,
) -> Iterator[list[Row]]:
    """Rows of one condition (and batch) after another, the unpatched ones of a batch first.

    bases: Z of this layer, one of each k. Columns: crosslingual_outputs without model, layer, kind
    and position_0, which are the same in all. Raises DataError if a source cannot be made.
    """
    partners = mismatched_partners(problems, derive_seed(seed, "mismatched"))
    states = {
        language: read_states(lm, problems, language, layer, generation.batch_size)
        for language in LANGUAGES
    }
    # Prompts of a length go together: less is padding.
    order = np.argsort([len(x) for x in states["en"].prompts], kind="stable")
    n_batches = -(-len(problems) // generation.batch_size)
    batches = [part.tolist() for part in np.array_split(order, n_batches)]
    gaussian = torch.randn(len(problems), lm.d_model, generator=_generator(seed, "placebo")).to(
        states["en"].answer_site
    )
    skip = 0 if position_0 else 1
    by_direction: dict[Direction, list[Cell]] = {}
    for cell in cells(config):
        by_direction.setdefault(cell.direction, []).append(cell)
    for direction, own in by_direction.items():
        source_language, language = languages_of(direction)
        target, other = states[language], states[source_language]
        tokens = torch.cat([x[skip:] for x in target.prompts])
        spaces = draw_spaces(bases, tokens, config, derive_seed(seed, f"spaces/{language}"))
        sources = {
            (cell.design, cell.source): source_states(
                cell.design, cell.source, target, other, partners.problem, position_0
            )
            for cell in own
        }
        for rows in batches:
            batch = _Batch(lm, problems, partners, rows, direction, layer, generation, position_0)
            for forced in sorted({cell.design == "site_answer" for cell in own}):
                yield batch.unpatched(forced)
            for cell in own:
                source = sources[cell.design, cell.source]
                for space in spaces:
                    yield batch.patched(cell, space, source, gaussian)


class _Batch:
    """Problems whose prompts in one language are run together, plain and with the forced stem."""

    def __init__(
        self,
        lm: LanguageModel,
        problems: Sequence[Problem],
        partners: Partners,
        rows: list[int],
        direction: Direction,
        layer: int,
        generation: GenerationConfig,
        position_0: bool,
    ) -> None:
        self.lm, self.problems, self.partners, self.rows = lm, problems, partners, rows
        self.direction, self.layer, self.generation = direction, layer, generation
        self.position_0 = position_0
        self.language = languages_of(direction)[1]
        self._runs: dict[bool, tuple[Prefix, list[Reading]]] = {}

    def unpatched(self, forced: bool) -> list[Row]:
        """The baseline rows; must come before the patched ones of the same prompts."""
        stem = forced_stem(self.language) if forced else ""
        texts = [self.problems[i].prompt(self.language) + stem for i in self.rows]
        prefix = run_prefix(self.lm, *self.lm.encode(texts), self.layer)
        outputs, readings = self._generate(prefix, None, stem)
        self._runs[forced] = prefix, readings
        cell = {
            "design": "site_answer" if forced else "none",
            "source": "none",
            "where": "none",
            "space": "none",
            "k": None,
            "draw": 0,
        }
        return [
            self._row(i, output)
            | cell
            | {"source_problem": None}
            | output_columns(reading, None, self.problems[i].answer, None)
            for i, output, reading in zip(self.rows, outputs, readings, strict=True)
        ]

    def patched(
        self,
        cell: Cell,
        space: SpaceDraw,
        source: Sequence[Float[Tensor, "one_or_tokens d"]],
        gaussian: Float[Tensor, "n d"],
    ) -> list[Row]:
        forced = cell.design == "site_answer"
        prefix, baselines = self._runs[forced]
        patch = self._patch(prefix, cell, space.component, source, gaussian)
        stem = forced_stem(self.language) if forced else ""
        outputs, readings = self._generate(prefix, patch, stem)
        condition = {
            "design": cell.design,
            "source": cell.source,
            "where": cell.where,
            "space": space.space,
            "k": space.k,
            "draw": space.draw,
        }
        out = []
        for i, output, reading, baseline in zip(
            self.rows, outputs, readings, baselines, strict=True
        ):
            of = {"matched": i, "mismatched": self.partners.problem[i]}.get(cell.source)
            columns = output_columns(
                reading,
                baseline,
                self.problems[i].answer,
                None if of is None else self.problems[of].answer,
            )
            source_problem = None if of is None else self.problems[of].id
            out.append(
                self._row(i, output) | condition | {"source_problem": source_problem} | columns
            )
        return out

    def _patch(
        self,
        prefix: Prefix,
        cell: Cell,
        component: Component,
        source: Sequence[Float[Tensor, "one_or_tokens d"]],
        gaussian: Float[Tensor, "n d"],
    ) -> Patch:
        if cell.design.startswith("site"):
            positions = torch.zeros_like(prefix.mask, dtype=torch.bool)
            positions[:, -1] = True
        else:
            positions = prefix.used(self.position_0)
        own = [source[i] for i in self.rows]
        if cell.design == "ot":
            # Each image is at its token, at the end of the row; the rest is never read.
            stacked = prefix.states.new_zeros(prefix.states.shape, dtype=torch.float32)
            for row, images in zip(stacked, own, strict=True):
                row[-len(images) :] = images
        else:
            stacked = torch.stack(own)
        directions = None
        if cell.source == "placebo":
            directions = torch.nn.functional.normalize(component.of(gaussian[self.rows]), dim=-1)
        return Patch(component, stacked, positions, cell.where, directions)

    def _generate(
        self, prefix: Prefix, patch: Patch | None, stem: str
    ) -> tuple[list[Any], list[Reading]]:
        g = self.generation
        stop = stopping_rule(g.strict, stem)
        outputs = generate_from(self.lm, prefix, patch, g.max_new_tokens, stop)
        readings = [read_text(stem + o.text, o.finished, g.min_letters, g.strict) for o in outputs]
        return outputs, readings

    def _row(self, i: int, output: Any) -> Row:
        problem = self.problems[i]
        return {
            "problem": problem.id,
            "category": problem.category,
            "direction": self.direction,
            "text": output.text,
            "finished": output.finished,
        }


def _generator(seed: int, name: str) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(seed, name))
