"""A model with short prompts; every source of models has its own.

A language model reads a set of prompts. Models that know no running text read beginnings of their
own sequences, whose family says what governs the token that comes next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from jaxtyping import Float
from torch import Tensor

from zscope.models.attention_view import AttentionView
from zscope.models.head_effects import mean_z
from zscope.studies.heads.asked.model import AskedModel, Sizes, SubjectFiles
from zscope.text.prompt_tokens import PromptTokens

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class PromptedModel:
    """A model and its prompts.

    Attributes:
        z_bar: the mean z over the tokens of the study's own sequences, never of the prompts.
        texts: what tokens stand for.
        context: most tokens of a sequence; None: not known.
    """

    name: str
    view: AttentionView
    z_bar: Float[Tensor, "layer head d_head"]
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
    ) -> PromptedModel:
        """Its mean z is over the text that it is asked on; over random tokens if there is none."""
        stream = (model.streams.get("text") or model.streams["random"])[0]
        z_bar = mean_z(model.view, stream.ids.to(model.view.device))
        return cls(model.name, model.view, z_bar, prompts, texts, context)


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
