"""A model whose heads are asked, with the sequences that it is asked on.

Every source of models has its own sequences: texts of the package for a language model, samples of
the toy language, rows of one format for the models of other studies. Behind this module all are
alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from zscope.core.provenance import derive_seed
from zscope.models.attention_view import AttentionView
from zscope.studies.heads.behaviours import Behaviour
from zscope.studies.heads.config import AblationConfig, PartsConfig, StreamsConfig
from zscope.studies.heads.detector import Vocabulary
from zscope.studies.heads.streams import Stream
from zscope.studies.heads.token_maps import TokenMaps

PURPOSES = ("effects", "screen", "draws")
"""What sequences are for: effects of ablations, the choice of heads, ranks among random sets."""


@dataclass(frozen=True)
class Sizes:
    """How many sequences of what length, and which of the texts.

    Attributes:
        sequences, length: of text, random tokens and repeats of a language model.
        prompts: sentences and lists of each kind.
        trained_sequences: of a model that the workflow trains.
        part: (first, step) of the texts and rows that are taken.
        seed: of what is drawn.
    """

    streams: StreamsConfig
    sequences: int
    length: int
    prompts: int
    trained_sequences: int
    part: tuple[int, int]
    seed: int

    @classmethod
    def of_scores(cls, streams: StreamsConfig, seed: int) -> Sizes:
        s = streams
        return cls(s, s.sequences, s.length, s.prompts, s.trained_sequences, (0, 1), seed)

    @classmethod
    def of_parts(cls, streams: StreamsConfig, config: PartsConfig, seed: int) -> Sizes:
        own_seed = derive_seed(seed, "heads parts")
        return cls(
            streams,
            config.sequences,
            config.length,
            config.prompts,
            config.trained_sequences,
            (0, 1),
            own_seed,
        )

    @classmethod
    def of_ablations(
        cls, streams: StreamsConfig, config: AblationConfig, seed: int, purpose: str
    ) -> Sizes:
        """purpose: one of PURPOSES, which have no sequence in common."""
        part = (PURPOSES.index(purpose), len(PURPOSES))
        n = config.draw_sequences if purpose == "draws" else config.sequences
        of_trained = config.trained_sequences
        own_seed = derive_seed(seed, f"heads {purpose}")
        return cls(streams, n, config.length, n, of_trained, part, own_seed)


@dataclass(frozen=True, eq=False)
class AskedModel:
    """A model and its sequences.

    Attributes:
        name: of the model.
        signed: whether its patterns are signed, and no shares.
        vocabulary: what its tokenizer and texts allow.
        streams: by name; of sentences several, which differ in length.
        p: of the toy language the exact conditionals of the tokens of "text", from the second on.
        labels: of the toy language the primitive that governs each, an index into its LABELS.
        least: of rows of a format the least loss of each token of "text" that the model is asked
            for; NaN for the others.
        items: the ids of the ordinal classes that lists are made of.
        copies: the protocol's copy scores of every head over the names; None where there are none.
        names: the ids of the names that sentences are made of.
        maps: the weights between single tokens, of a language model.
    """

    name: str
    view: AttentionView
    signed: bool
    vocabulary: Vocabulary
    streams: Mapping[str, tuple[Stream, ...]]
    p: Float[Tensor, "n seq-1 vocab"] | None = None
    labels: Int[np.ndarray, "n seq-1"] | None = None
    least: Float[np.ndarray, "n seq"] | None = None
    items: Mapping[str, Sequence[int]] = field(default_factory=dict)
    copies: Callable[[], Float[np.ndarray, "layer head"]] | None = None
    names: Sequence[int] = ()
    maps: TokenMaps | None = None


Ask = Callable[[Sizes], AskedModel]
"""A model that is loaded, to be given sequences of one size after another."""


@dataclass(frozen=True)
class SubjectFiles:
    """What the models of a subject are loaded from. Attributes as of `models.subjects.Subject`."""

    models: Mapping[str, str]
    rows: Sequence[str]
    settings: Mapping[str, Any]
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(
        cls,
        subject: Mapping[str, Any],
        weights: Sequence[str],
        rows: Sequence[str],
        device: torch.device,
    ) -> SubjectFiles:
        """subject: as a job reads it. weights: of each of its models."""
        models = dict(zip(subject["models"], weights, strict=True))
        return cls(models, rows, subject["settings"], getattr(torch, subject["dtype"]), device)


Asks = Callable[[SubjectFiles], Iterator[Ask]]
"""Each model of a subject. Raises CheckpointError or TableError for a file that is missing or
damaged."""


@dataclass(frozen=True)
class Series:
    """A model at the steps of its training that a checkpoint was kept of, ascending.

    at: loads it at one of them. Raises CheckpointError for another step, or a damaged file.
    """

    name: str
    steps: tuple[int, ...]
    at: Callable[[int], Ask]


SeriesOf = Callable[[SubjectFiles], Iterator[Series]]
"""Each model of a subject at all of its steps. Errors as of `Asks`."""


@dataclass(frozen=True)
class Source:
    """Where models come from; `SOURCE` of a module.

    Attributes:
        asks: each model of a subject.
        behaviours: what its sequences allow to measure, by name.
        own_and_control: (own behaviour, control) of every question.
        series: each model at its checkpoints; None where there are none.
    """

    asks: Asks
    behaviours: Callable[[AskedModel], dict[str, Behaviour]]
    own_and_control: Mapping[str, tuple[str, str]]
    series: SeriesOf | None = None


def at_last_step(series: SeriesOf) -> Asks:
    """Each model as its training left it."""

    def asks(of: SubjectFiles) -> Iterator[Ask]:
        for one in series(of):
            yield one.at(one.steps[-1])

    return asks
