"""States that are patched in, for every design and source. Sources:

matched      the translation of the same problem
mismatched   another problem with another answer, in the source's language
placebo      the states of `mismatched`, of which only the norm of the difference is used
own          the prompt's own mean: what is lost by pooling, with nothing transferred
mean         the mean over the other problems in the prompt's language (mean ablation)

Designs:

mean           one vector, the mean over the source prompt's tokens (protocol A.3)
ot             for each token its image under optimal transport (protocol A.6)
site_answer    the state at the last token of a forced answer stem
site_language  the state at the prompt's last token
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from zscope.core.errors import DataError
from zscope.models.language_model import LanguageModel
from zscope.studies.crosslingual.config import Design, GenerationConfig, PatchSource
from zscope.studies.crosslingual.patching.patched_generation import (
    Examples,
    generate_from,
    prompt_prefix,
)
from zscope.studies.crosslingual.patching.readouts import stopping_rule
from zscope.studies.crosslingual.problems.parallel import (
    AnswerKind,
    Language,
    Problem,
    answer_kind,
)
from zscope.studies.crosslingual.problems.wording import COMPLETIONS
from zscope.studies.crosslingual.space.alignment import barycentric_image
from zscope.studies.crosslingual.space.updates import largest_norm, norms_of

# Pooling the prompt says nothing about one site, and a mean has no tokens to transport.
SOURCES_OF: dict[Design, tuple[PatchSource, ...]] = {
    "mean": ("matched", "mismatched", "own", "placebo", "mean"),
    "ot": ("matched", "mismatched", "placebo"),
    "site_answer": ("matched", "mismatched", "placebo", "mean"),
    "site_language": ("matched", "mismatched", "placebo", "mean"),
}


class Partners(NamedTuple):
    """For each problem the index of its mismatched one, and whether that is of another category."""

    problem: list[int]
    other_category: list[bool]


def mismatched_partners(problems: Sequence[Problem], seed: int) -> Partners:
    """Another problem with another answer, of the same category where there is one.

    Drawn uniformly, each by itself. Raises DataError if all problems have the same answer.
    """
    rng = np.random.default_rng(seed)
    index, other_category = [], []
    for problem in problems:
        different = [j for j, p in enumerate(problems) if p.answer != problem.answer]
        if not different:
            raise DataError("all problems have the same answer: none can be mismatched")
        same = [j for j in different if problems[j].category == problem.category]
        index.append(int(rng.choice(same or different)))
        other_category.append(not same)
    # By value: deranging indices would pair problems whose answers agree.
    assert all(problems[j].answer != p.answer for p, j in zip(problems, index, strict=True))
    return Partners(index, other_category)


def forced_stem(language: Language, kind: AnswerKind = "text_number") -> str:
    """The start of a completion up to the answer, as in "答案是"; empty where the prompt itself
    ends at the answer (kinds line_number, line_class)."""
    return COMPLETIONS[language].partition("{")[0] if kind == "text_number" else ""


@dataclass(frozen=True, eq=False)
class PromptStates:
    """resid_pre(l) of the prompts of one language, in float32.

    prompts: of each problem, its real tokens alone, without those of examples. used: which of them
    are pooled and patched, at least one of each. answer_site: of the last token of the prompt with
    the forced stem. limit: the norm from which on a state is massive.
    """

    prompts: list[Float[Tensor, "tokens d"]]
    used: list[Bool[Tensor, " tokens"]]
    answer_site: Float[Tensor, "n d"]
    limit: float

    @property
    def kept(self) -> list[Float[Tensor, "used d"]]:
        """Of each prompt the states of its used tokens."""
        return [x[used] for x, used in zip(self.prompts, self.used, strict=True)]

    def pooled(self) -> Float[Tensor, "n d"]:
        """Mean over each prompt's used tokens, in float64, then float32."""
        return torch.stack([x.double().mean(0) for x in self.kept]).float()

    def tokens(self) -> Float[Tensor, "tokens d"]:
        """The used ones of all prompts, one after another."""
        return torch.cat(self.kept)

    def site(self, design: Design) -> Float[Tensor, "n d"]:
        """The states at a site design's position."""
        if design == "site_answer":
            return self.answer_site
        return torch.stack([x[-1] for x in self.prompts])


def read_states(
    lm: LanguageModel,
    problems: Sequence[Problem],
    language: Language,
    layer: int,
    batch_size: int,
    position_0: bool,
    examples: Examples | None = None,
) -> PromptStates:
    """Run the prompts of one language, plain and with the forced stem, up to `layer`.

    position_0: whether every token is used; otherwise neither the first nor massive ones are.
    examples: those in front of these problems, already run. Raises DataError if a prompt has no
    token left.
    """
    texts = [p.query(language) for p in problems]
    stem = forced_stem(language, answer_kind(problems))
    prefixes, sites = [], []
    for start in range(0, len(texts), batch_size):
        part = texts[start : start + batch_size]
        prefixes.append(prompt_prefix(lm, examples, part, layer))
        forced = prompt_prefix(lm, examples, [t + stem for t in part], layer)
        sites.append(forced.states[:, -1])
    limit = largest_norm(torch.cat([norms_of(p.states)[p.own_mask.bool()] for p in prefixes]))
    prompts, kept = [], []
    for prefix in prefixes:
        used = prefix.used(position_0, limit)
        for h, own, chosen in zip(prefix.states, prefix.own_mask.bool(), used, strict=True):
            prompts.append(h[own].float())
            kept.append(chosen[own])
    return PromptStates(prompts, kept, torch.cat(sites).float(), limit)


def completion_states(
    lm: LanguageModel,
    problems: Sequence[Problem],
    language: Language,
    layer: int,
    generation: GenerationConfig,
    examples: Examples | None = None,
) -> Float[Tensor, "tokens d"]:
    """resid_pre(l) of the tokens of the unpatched completions, in float32, in the order of steps.

    The last token of a completion is never run, so no patch acts on it.
    """
    seen: list[Tensor] = []
    found = [torch.empty(0, lm.d_model, device=lm.device)]
    stop = stopping_rule(generation.strict, kind=answer_kind(problems))
    for start in range(0, len(problems), generation.batch_size):
        part = problems[start : start + generation.batch_size]
        prefix = prompt_prefix(lm, examples, [p.query(language) for p in part], layer)
        hook = lm.layer(layer).register_forward_pre_hook(lambda module, args: seen.append(args[0]))
        try:
            generate_from(lm, prefix, None, generation.max_new_tokens, stop)
        finally:
            hook.remove()
        found += [h.squeeze(1).float() for h in seen[1:]]  # the first are the prompts
        seen.clear()
    return torch.cat(found)


def source_states(
    design: Design,
    source: PatchSource,
    target: PromptStates,
    other: PromptStates,
    partners: Sequence[int],
) -> list[Float[Tensor, "one_or_tokens d"]]:
    """s of each problem: one row, or (design ot) one per patched token of its prompt.

    target: states of the patched prompts; other: of the same problems in the source's language.
    Raises DataError where the two make no sense together (see SOURCES_OF).
    """
    if source not in SOURCES_OF[design]:
        raise DataError(f"design {design} has no source {source}")
    index = range(len(partners)) if source == "matched" else partners
    if design == "ot":
        images = other.kept
        return [barycentric_image(images[j], x) for x, j in zip(target.kept, index, strict=True)]

    def vectors(states: PromptStates) -> Tensor:
        return states.pooled() if design == "mean" else states.site(design)

    if source == "own":
        chosen = vectors(target)
    elif source == "mean":
        chosen = _mean_of_others(vectors(target))
    else:
        chosen = vectors(other)[torch.as_tensor(list(index))]
    return list(chosen.unsqueeze(1))


def _mean_of_others(x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    if len(x) < 2:
        raise DataError("the mean over other problems needs 2 or more")
    wide = x.double()
    return ((wide.sum(0) - wide) / (len(x) - 1)).float()
