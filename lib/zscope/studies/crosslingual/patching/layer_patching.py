"""Experiment A: every condition of patching one layer, as rows of table crosslingual_outputs.

Source states are computed once for a layer and language; a batch of clean prompts is run once up to
the layer, and every condition goes on from it, several components at once. Memory does not grow
with the conditions: the rows of one run are yielded before the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from zscope.core.provenance import derive_seed
from zscope.models.language_model import Generated, LanguageModel
from zscope.studies.crosslingual.config import (
    Direction,
    GenerationConfig,
    PatchingConfig,
    Space,
)
from zscope.studies.crosslingual.declared import VerdictNulls
from zscope.studies.crosslingual.patching.conditions import (
    Cell,
    cells,
    languages_of,
)
from zscope.studies.crosslingual.patching.matching import MatchedOn
from zscope.studies.crosslingual.patching.null_spaces import (
    FULL,
    SpaceDraw,
    draw_spaces,
)
from zscope.studies.crosslingual.patching.patched_generation import (
    Component,
    Examples,
    Patch,
    Prefix,
    generate_from,
    last_position,
    prompt_prefix,
    run_examples,
)
from zscope.studies.crosslingual.patching.readouts import (
    Reading,
    output_columns,
    read_text,
    stopping_rule,
)
from zscope.studies.crosslingual.patching.sources import (
    Partners,
    PromptStates,
    completion_states,
    forced_stem,
    mismatched_partners,
    read_states,
    source_states,
)
from zscope.studies.crosslingual.problems.parallel import (
    LANGUAGES,
    AnswerKind,
    Language,
    Problem,
    answer_kind,
)
from zscope.studies.crosslingual.problems.prompt_tokens import shared_examples
from zscope.tables.schema import Row


@dataclass(frozen=True, eq=False)
class LayerPatching:
    """All patches of one layer of a model.

    Attributes:
        bases: Z of this layer, [k, d], one of each k.
        position_0: whether every token is pooled and patched; otherwise neither the first is
            (behind examples, that is none of the query's) nor are massive ones.
        seed: of the partners, the placebos and the random spaces, each with a stream of its own.
        read: the nulls of this layer that a verdict reads; they have more draws.
    """

    lm: LanguageModel
    problems: Sequence[Problem]
    layer: int
    bases: Sequence[Float[Tensor, "k d"]]
    config: PatchingConfig
    generation: GenerationConfig
    position_0: bool
    seed: int
    read: VerdictNulls = field(default_factory=dict)

    @cached_property
    def kind(self) -> AnswerKind:
        """How the answers are read."""
        return answer_kind(self.problems)

    @cached_property
    def examples(self) -> dict[Language, Examples | None]:
        """What stands in front of every prompt, run once."""
        return {x: run_examples(self.lm, shared_examples(self.problems, x)) for x in LANGUAGES}

    @cached_property
    def states(self) -> dict[Language, PromptStates]:
        """Of the queries in each language."""
        size = self.generation.batch_size
        return {
            x: read_states(
                self.lm, self.problems, x, self.layer, size, self.position_0, self.examples[x]
            )
            for x in LANGUAGES
        }

    @cached_property
    def partners(self) -> Partners:
        return mismatched_partners(self.problems, derive_seed(self.seed, "mismatched"))

    @cached_property
    def _cells(self) -> dict[Direction, list[Cell]]:
        grid = cells(self.config)
        return {d: [c for c in grid if c.direction == d] for d in self.config.directions}

    @cached_property
    def _drawn(self) -> dict[tuple[Direction, MatchedOn, int], list[SpaceDraw]]:
        """The components by direction, states and k, with as many draws as any cell asks for."""
        out = {}
        for direction, own in self._cells.items():
            language = languages_of(direction)[1]
            seed = derive_seed(self.seed, f"spaces/{language}")
            for matched in dict.fromkeys(cell.matched_on for cell in own):
                states = self._patched_states(matched, language)
                for Z in self.bases:
                    asked = [self._n_draws(c, len(Z)) for c in own if c.matched_on == matched]
                    n = {space: max(draws[space] for draws in asked) for space in asked[0]}
                    drawn = draw_spaces(Z, states, n, seed, matched)
                    out[direction, matched, len(Z)] = drawn
        return out

    def _patched_states(self, matched: MatchedOn, language: Language) -> Float[Tensor, "tokens d"]:
        """Those of the unpatched run that a patch of these prompts acts on."""
        states = self.states[language]
        if matched == "answer site":
            return states.site("site_answer")
        if matched == "last prompt tokens":
            return states.site("site_language")
        prompts = states.tokens()
        if matched == "prompt tokens":
            return prompts
        args = (self.lm, self.problems, language, self.layer, self.generation)
        return torch.cat([prompts, completion_states(*args, self.examples[language])])

    def _n_draws(self, cell: Cell, k: int) -> dict[Space, int]:
        return cell.n_draws(k, self.config, self.read)

    def energy_shares(self) -> Iterator[Row]:
        """Rows of table crosslingual_energy_shares without model, layer, kind and position_0.

        Raises DataError as `energy_matched_spaces`.
        """
        for (direction, matched, _), spaces in self._drawn.items():
            for space in spaces:
                if space.energy_share is not None:
                    yield {"direction": direction, "matched_on": matched} | space.share_row()

    def outputs(self) -> Iterator[list[Row]]:
        """Rows of one condition (and batch) after another, the unpatched ones of a batch first.

        Columns: crosslingual_outputs without model, layer, kind and position_0, which are the same
        in all. Raises DataError if a source cannot be made.
        """
        # Prompts of a length go together: less is padding.
        order = np.argsort([len(x) for x in self.states["en"].prompts], kind="stable")
        n_batches = -(-len(self.problems) // self.generation.batch_size)
        batches = [part.tolist() for part in np.array_split(order, n_batches)]
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "placebo"))
        gaussian = torch.randn(len(self.problems), self.lm.d_model, generator=generator).to(
            self.states["en"].answer_site
        )
        for direction, own in self._cells.items():
            source_language, language = languages_of(direction)
            other, target = self.states[source_language], self.states[language]
            sources = {
                (c.design, c.source): source_states(
                    c.design, c.source, target, other, self.partners.problem
                )
                for c in own
            }
            for rows in batches:
                batch = _Batch(self, rows, direction)
                for forced in sorted({cell.forced for cell in own}):
                    yield batch.unpatched(forced)
                for cell in own:
                    source = sources[cell.design, cell.source]
                    for spaces in self.runs(cell, len(rows)):
                        yield from batch.patched(cell, spaces, source, gaussian)

    def runs(self, cell: Cell, n_rows: int) -> Iterator[list[SpaceDraw]]:
        """The cell's components, as many of one k together as a batch may hold."""
        if "full" in self.config.spaces:
            yield [FULL]
        together = max(1, self.generation.batch_size // n_rows)
        for Z in self.bases:
            k = len(Z)
            drawn = self._drawn[cell.direction, cell.matched_on, k]
            n = self._n_draws(cell, k)
            own = [draw for draw in drawn if draw.draw < n[draw.space]]
            for start in range(0, len(own), together):
                yield own[start : start + together]


class _Batch:
    """Problems whose prompts in one language are run together, plain and with the forced stem."""

    def __init__(self, study: LayerPatching, rows: list[int], direction: Direction) -> None:
        self.study, self.rows, self.direction = study, rows, direction
        self.problems = [study.problems[i] for i in rows]
        self.language = languages_of(direction)[1]
        self._baselines: dict[bool, list[Reading]] = {}  # by whether the stem is forced
        self._prefixes: dict[tuple[bool, bool], Prefix] = {}  # and whether of the last position

    def unpatched(self, forced: bool) -> list[Row]:
        """The baseline rows; must come before the patched ones of the same prompts."""
        study = self.study
        texts = [p.query(self.language) + self._stem(forced) for p in self.problems]
        prefix = prompt_prefix(study.lm, study.examples[self.language], texts, study.layer)
        outputs, readings = self._generate(prefix, None, forced)
        self._prefixes[forced, False] = prefix
        self._baselines[forced] = readings
        condition = {
            "design": "site_answer" if forced else "none",
            "source": "none",
            "where": "none",
            "space": "none",
            "k": None,
            "draw": 0,
            "source_problem": None,
        }
        return [
            self._row(problem, output)
            | condition
            | output_columns(reading, None, problem.answer, None)
            for problem, output, reading in zip(self.problems, outputs, readings, strict=True)
        ]

    def patched(
        self,
        cell: Cell,
        spaces: Sequence[SpaceDraw],
        source: Sequence[Float[Tensor, "one_or_tokens d"]],
        gaussian: Float[Tensor, "n d"],
    ) -> Iterator[list[Row]]:
        """Rows of each component; all are patched in one run, and must have one k."""
        prefix = self._prefix(cell).repeated(len(spaces))
        component = Component.stacked([space.component for space in spaces], len(self.rows))
        patch = self._patch(prefix, cell, component, source, gaussian)
        outputs, readings = self._generate(prefix, patch, cell.forced)
        n = len(self.rows)
        for i, space in enumerate(spaces):
            own = slice(i * n, (i + 1) * n)
            yield self._patched_rows(cell, space, outputs[own], readings[own])

    def _patched_rows(
        self,
        cell: Cell,
        space: SpaceDraw,
        outputs: Sequence[Generated],
        readings: Sequence[Reading],
    ) -> list[Row]:
        condition = {
            "design": cell.design,
            "source": cell.source,
            "where": cell.where,
            "space": space.space,
            "k": space.k,
            "draw": space.draw,
        }
        partners: dict[str, list[int | None]] = {
            "matched": [*self.rows],
            "mismatched": [self.study.partners.problem[i] for i in self.rows],
        }
        indices = partners.get(cell.source, [None] * len(self.rows))
        others = [None if i is None else self.study.problems[i] for i in indices]
        return [
            self._row(problem, output)
            | condition
            | {"source_problem": other.id if other else None}
            | output_columns(reading, baseline, problem.answer, other.answer if other else None)
            for problem, output, reading, baseline, other in zip(
                self.problems,
                outputs,
                readings,
                self._baselines[cell.forced],
                others,
                strict=True,
            )
        ]

    def _prefix(self, cell: Cell) -> Prefix:
        key = cell.forced, cell.at_site
        if key not in self._prefixes:
            whole = self._prefixes[cell.forced, False]
            self._prefixes[key] = last_position(self.study.lm, whole)
        return self._prefixes[key]

    def _patch(
        self,
        prefix: Prefix,
        cell: Cell,
        component: Component,
        source: Sequence[Float[Tensor, "one_or_tokens d"]],
        gaussian: Float[Tensor, "n d"],
    ) -> Patch:
        times = len(prefix) // len(self.rows)
        own = [source[i] for i in self.rows]
        if cell.at_site:
            positions = torch.ones_like(prefix.positions, dtype=torch.bool)
        else:
            limit = self.study.states[self.language].limit
            positions = prefix.used(self.study.position_0, limit)
        if cell.design == "ot":
            # Each image is at its token; the rest is never read.
            _, seq, d = prefix.states.shape
            stacked = prefix.states.new_zeros((len(own), seq, d), dtype=torch.float32)
            for row, used, images in zip(stacked, positions, own, strict=False):
                row[used] = images
        else:
            stacked = torch.stack(own)
        directions = None
        if cell.source == "placebo":
            noise = component.of(gaussian[self.rows].repeat(times, 1).unsqueeze(1))
            directions = torch.nn.functional.normalize(noise.squeeze(1), dim=-1)
        return Patch(component, stacked.repeat(times, 1, 1), positions, cell.where, directions)

    def _generate(
        self, prefix: Prefix, patch: Patch | None, forced: bool
    ) -> tuple[list[Generated], list[Reading]]:
        g, stem, kind = self.study.generation, self._stem(forced), self.study.kind
        stop = stopping_rule(g.strict, stem, kind)
        outputs = generate_from(self.study.lm, prefix, patch, g.max_new_tokens, stop)
        readings = [
            read_text(stem + o.text, o.finished, g.min_letters, g.strict, kind) for o in outputs
        ]
        return outputs, readings

    def _stem(self, forced: bool) -> str:
        return forced_stem(self.language, self.study.kind) if forced else ""

    def _row(self, problem: Problem, output: Generated) -> Row:
        return {
            "problem": problem.id,
            "category": problem.category,
            "direction": self.direction,
            "text": output.text,
            "finished": output.finished,
        }
