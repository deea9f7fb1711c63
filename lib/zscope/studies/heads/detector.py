"""What a detector is: targets, null, the sequences it is asked on, and when it applies.

    raw   = sum over sequences and eligible rows of the weight on the targets / number of those rows
    score = (raw - null) / (1 - null)        0: what the null gives; 1: everything on the targets

A module in `detectors/` is a detector or a family of them; nothing here imports one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool
from torch import Tensor

from zscope.studies.heads.settings import DetectorSettings
from zscope.studies.heads.streams import Stream
from zscope.studies.heads.weights import WeightKind

Null: TypeAlias = Literal["uniform", "mismatch", "control"]
"""uniform: of attention that is spread evenly over the keys a row can see. mismatch: of the same
patterns under the masks of other sequences, which is what a head gets that sees positions only.
control: of the head's weight at the same places in other prompts (shuffled lists, ABC prompts)."""
Kind: TypeAlias = Literal["content", "positional", "reported"]
"""reported: scored, never named (sinks; the other names of an IOI sentence)."""


@dataclass(frozen=True, eq=False)
class Targets:
    """mask: the keys that row i should attend to, none after i. rows: those that are counted."""

    mask: Bool[Tensor, "n seq seq"]
    rows: Bool[Tensor, "n seq"]

    @staticmethod
    def where_any(mask: Bool[Tensor, "n seq seq"], first_row: int = 0) -> Targets:
        """Targets whose rows are those that have one, from `first_row` on."""
        rows = mask.any(-1)
        rows[:, :first_row] = False
        return Targets(mask, rows)


@dataclass(frozen=True)
class Vocabulary:
    """What a model's tokenizer and texts allow.

    Attributes:
        running_text: whether there are texts, not just rows of one format.
        random_tokens: distinct tokens that random sequences can be made of.
        delimiters: tokens that delimit.
        ordinals: single-token words in a row, by ordinal class.
        names: first names that are single tokens.
        ioi_templates: IOI sentences that keep their names apart as single tokens.
    """

    running_text: bool
    random_tokens: int
    delimiters: int = 0
    ordinals: Mapping[str, int] = field(default_factory=dict)
    names: int = 0
    ioi_templates: int = 0


@dataclass(frozen=True, eq=False)
class ProtocolRule:
    """The original protocol's own number, from attention, and the threshold of its verdict.

    Attributes:
        stream: the sequences that it is measured on.
        targets: which weights are averaged over which rows.
        threshold: a head is named if the number is above it.
        less: the stream whose mean is subtracted.
        over: the mark whose share of all tokens the mean is divided by.
        negative_copy: the raw copy score must be below 0, too.
        peak: the largest number of the family counts.
        unless: no verdict where the head already has one of this family.
    """

    stream: str
    targets: Callable[[Stream], Targets]
    threshold: float
    less: str | None = None
    over: str | None = None
    negative_copy: bool = False
    peak: bool = False
    unless: str | None = None


@dataclass(frozen=True, eq=False)
class Detector:
    """One question about every head.

    Attributes:
        name: of the detector; unique.
        streams: the sequences that it is asked on, each a question of its own.
        targets: of a stream.
        null: what the score is measured from.
        kind: which least score names a head.
        applies: a reason why it cannot be asked of a vocabulary, or None.
        weights: those that it is defined for.
        control: the stream of the null "control"; its sequences match those of the stream.
        family: detectors of one family are one question: the best of them counts.
        offset: distance of query and key, where it is one number.
        by_class: whether it is also scored by the class of the query token.
        protocol: the original protocol's rule.
    """

    name: str
    streams: tuple[str, ...]
    targets: Callable[[Stream], Targets]
    null: Null
    kind: Kind
    applies: Callable[[Vocabulary], str | None]
    weights: tuple[WeightKind, ...] = ("attention", "contribution", "without_first")
    control: str | None = None
    family: str | None = None
    offset: int | None = None
    by_class: bool = True
    protocol: ProtocolRule | None = None

    @property
    def question(self) -> str:
        """The name of the family, or its own."""
        return self.family or self.name


def always(vocabulary: Vocabulary) -> None:
    """The rule of a detector that applies to every vocabulary."""


def causal(seq: int, distance: int = 0) -> Bool[Tensor, "seq seq"]:
    """Keys that lie `distance` tokens or more before the row."""
    return torch.ones(seq, seq, dtype=torch.bool).tril(-distance)


def at_offset(stream: Stream, offset: int, first_row: int) -> Targets:
    """The key `offset` tokens back, for rows from `first_row` on."""
    n, seq = stream.ids.shape
    mask = torch.eye(seq, dtype=torch.bool, device=stream.ids.device).roll(-offset, 1)
    mask = mask & causal(seq, offset).to(mask.device)
    rows = torch.arange(seq, device=mask.device) >= max(first_row, offset)
    return Targets(mask.expand(n, seq, seq), rows.expand(n, seq))


DetectorsOf: TypeAlias = Callable[[DetectorSettings], tuple[Detector, ...]]
"""What a module in `detectors/` defines, by the name `detectors`."""
