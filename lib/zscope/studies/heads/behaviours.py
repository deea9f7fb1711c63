"""What an ablation is measured on: a harm y per sequence, in nats, higher where heads are missed.

    language models   loss on the second copy of repeats, on text and on random tokens; the next of
                      an ordinal list less the mean of its class, and the indirect object less the
                      subject, both with the sign turned (`asked/named.py`)
    toy language      excess over the exact distribution, up to what does not depend on the model
                      (`asked/toylang.py`)
    rows of a format  loss on the tokens that the model is asked for, and on the others
                      (`asked/rows.py`)

Each detector has its own behaviour, which the heads that it names should be needed for, and a
control, which should suffer less.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from zscope.models.head_effects import Measure
from zscope.studies.heads.streams import Stream


@dataclass(frozen=True, eq=False)
class Piece:
    """Sequences of one length.

    Attributes:
        tokens: ids.
        counts: what y sums over in each sequence: tokens, or 1 for a difference of logits.
        y: harm of each sequence, summed over what is counted.
        read: positions whose logits y is given; None: all.
        least: the y of a model that knows all there is to know; None: not known.
    """

    tokens: Int[Tensor, "n seq"]
    counts: Float[np.ndarray, " n"]
    y: Measure
    read: tuple[int, ...] | None = None
    least: Float[np.ndarray, " n"] | None = None


@dataclass(frozen=True, eq=False)
class Behaviour:
    """A harm and the sequences that it is measured on.

    at: the position at which heads are ablated, counted from the end; None: all.
    """

    name: str
    pieces: tuple[Piece, ...]
    at: int | None = None

    @property
    def counts(self) -> Float[np.ndarray, " n"]:
        return np.concatenate([piece.counts for piece in self.pieces])

    @property
    def least(self) -> Float[np.ndarray, " n"] | None:
        """The y of a model that knows all there is to know; None: not known."""
        found = [piece.least for piece in self.pieces if piece.least is not None]
        return np.concatenate(found) if len(found) == len(self.pieces) else None


def those_that_occur(found: Iterable[Behaviour]) -> dict[str, Behaviour]:
    """By name; without those that nothing is counted for."""
    return {b.name: b for b in found if b.counts.sum() > 0}


def own_and_control(
    of_copies: tuple[str, str], of_places: tuple[str, str], **others: tuple[str, str]
) -> Mapping[str, tuple[str, str]]:
    """(own behaviour, control) of every question.

    of_copies: of the detectors of what stood before; of_places: of those of positions and marks.
    """
    copies, places = ("previous", "duplicate", "induction"), ("positional", "delimiter")
    return {**dict.fromkeys(copies, of_copies), **dict.fromkeys(places, of_places), **others}


def all_but_first(stream: Stream) -> Bool[Tensor, "n seq"]:
    kept = torch.ones_like(stream.ids, dtype=torch.bool)
    kept[:, 0] = False
    return kept


def second_copy(ids: Int[Tensor, "n seq"]) -> Bool[Tensor, "n seq"]:
    """Tokens of repeats that stood before, but for the first such one, which nothing foretells."""
    seen = (ids.unsqueeze(2) == ids.unsqueeze(1)).tril(-1).any(-1)
    return seen & seen.roll(1, 1).index_fill(1, torch.tensor([0], device=ids.device), False)


def loss_piece(
    stream: Stream,
    predicted: Bool[Tensor, "n seq"],
    least: Float[np.ndarray, "n seq"] | None = None,
) -> Piece:
    """-log p of the marked tokens, each from those before it. least: what it can be, per token."""
    targets, mask = stream.ids[:, 1:], predicted[:, 1:]

    def y(logits: Float[Tensor, "n seq vocab"]) -> Float[Tensor, " n"]:
        log_p = logits[:, :-1].float().log_softmax(-1)
        chosen = log_p.gather(-1, targets.to(logits.device).unsqueeze(-1)).squeeze(-1)
        return -(chosen * mask.to(logits.device)).sum(-1)

    of_marked = None if least is None else np.where(predicted.numpy(), least, 0).sum(-1)
    return Piece(stream.ids, mask.double().sum(-1).numpy(), y, least=of_marked)
