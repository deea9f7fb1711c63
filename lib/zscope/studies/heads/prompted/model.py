"""A model with short prompts; every source of models has its own.

A language model reads a set of prompts. Models that know no running text read beginnings of their
own sequences, whose family says what governs the token that comes next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zscope.core.provenance import derive_seed
from zscope.models.attention_view import AttentionView, LayerHeads
from zscope.models.head_effects import CHUNK, mean_z
from zscope.studies.heads.asked.model import AskedModel, Sizes, SubjectFiles
from zscope.text.prompt_tokens import PromptTokens

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Instead:
    """What z of ablated heads is set to. All of it is of the study's own sequences, never of the
    prompts.

    Attributes:
        mean: the mean over all tokens.
        drawn: z of one token for each prompt, drawn at random: what resampling puts there.
    """

    mean: Float[Tensor, "layer head d_head"]
    drawn: Float[Tensor, "prompt layer head d_head"]

    @classmethod
    def of(
        cls, view: AttentionView, tokens: Int[Tensor, "n seq"], prompts: int, seed: int
    ) -> Instead:
        """Drawn are sequences and positions, each alike."""
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randint(len(tokens), (prompts,), generator=generator)
        places = torch.randint(tokens.shape[1], (prompts,), generator=generator)
        drawn = torch.zeros(prompts, view.n_layers, view.n_heads, view.d_head, dtype=torch.float64)
        for some in torch.arange(prompts).split(CHUNK):

            def keep(heads: LayerHeads, some: Int[Tensor, " some"] = some) -> None:
                z = heads.z.detach().cpu().double()
                drawn[some, heads.layer] = z[torch.arange(len(some)), places[some]]

            view.run(tokens[rows[some].to(tokens.device)], visit=keep, read=[-1])
        return cls(mean_z(view, tokens), drawn)


@dataclass(frozen=True, eq=False)
class PromptedModel:
    """A model and its prompts.

    Attributes:
        texts: what tokens stand for.
        context: most tokens of a sequence; None: not known.
    """

    name: str
    view: AttentionView
    instead: Instead
    prompts: Sequence[PromptTokens]
    texts: Callable[[Iterable[int]], tuple[str, ...]]
    context: int | None

    @classmethod
    def of(
        cls,
        model: AskedModel,
        prompts: Sequence[PromptTokens],
        texts: Callable[[Iterable[int]], tuple[str, ...]],
        context: int | None,
        seed: int,
    ) -> PromptedModel:
        """What ablated heads are set to is of the text that the model is asked on; of random tokens
        if there is none. seed: of the tokens that are drawn."""
        stream = (model.streams.get("text") or model.streams["random"])[0]
        tokens = stream.ids.to(model.view.device)
        own_seed = derive_seed(seed, "heads resampled on prompts")
        instead = Instead.of(model.view, tokens, len(prompts), own_seed)
        return cls(model.name, model.view, instead, prompts, texts, context)


@dataclass(frozen=True, eq=False)
class Origin:
    """What a model and its prompts are loaded from.

    Attributes:
        files: of the one model that is shown.
        sizes: of the sequences that means are taken over.
        file: of the set of prompts; None: the package's.
        n: prompts of a model that has its own sequences alone.
    """

    files: SubjectFiles
    sizes: Sizes
    file: str | None
    n: int

    @property
    def name(self) -> str:
        """Of the model."""
        return next(iter(self.files.models))

    @property
    def weights(self) -> str:
        """Of the model: its file or folder."""
        return self.files.models[self.name]


Prompted = Callable[[Origin], PromptedModel]
"""`prompted` of a module. Raises what `asked.model.Asks` does, and ConfigError for a wrong file of
prompts."""


def in_turns(families: Mapping[str, Iterator[T]], n: int) -> list[T]:
    """At most n: the first of each family, then the second, and so on."""
    found: list[T] = []
    left = dict(families)
    while left and len(found) < n:
        for family, members in list(left.items()):
            one = next(members, None) if len(found) < n else None
            if one is None:
                del left[family]
            else:
                found.append(one)
    return found


def some_of(prompts: Sequence[PromptTokens], n: int) -> list[PromptTokens]:
    """At most n prompts, in their order, from as many families as there are."""
    families: dict[str, list[PromptTokens]] = {}
    for prompt in prompts:
        families.setdefault(prompt.prompt.family, []).append(prompt)
    chosen = in_turns({name: iter(of) for name, of in families.items()}, n)
    return [p for p in prompts if p in chosen]
