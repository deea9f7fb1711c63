"""What an ablation is measured on: a harm y per sequence, in nats, higher where heads are missed.

    language models   loss on the second copy of repeats, on text and on random tokens; the next of
                      an ordinal list less the mean of its class, and the indirect object less the
                      subject, both with the sign turned
    toy language      excess over the exact distribution (up to what does not depend on the model)
    rows of a format  loss on the tokens that the model is asked for, and on the others

Each detector has its own behaviour, which the heads that it names should be needed for, and a
control, which should suffer less.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from zscope.models.head_effects import Measure
from zscope.studies.heads.asked_models import AskedModel
from zscope.studies.heads.streams import Stream
from zscope.toy_language.distributions import LABELS

_COPIES = ("previous", "duplicate", "induction")
_PLACES = ("positional", "delimiter")
OWN_AND_CONTROL: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "named": {
        **dict.fromkeys(_COPIES, ("repeats", "text")),
        **dict.fromkeys(_PLACES, ("text", "random")),
        "successor": ("successor", "successor_shuffled"),
        "s_inhibition": ("ioi", "abc"),
    },
    "rows": {
        **dict.fromkeys(_COPIES, ("target", "rest")),
        **dict.fromkeys(_PLACES, ("text", "random")),
    },
    "toylang": {
        **dict.fromkeys(_COPIES, ("induction", "not_induction")),
        **dict.fromkeys(_PLACES, ("text", "random")),
    },
}
"""(own behaviour, control) of every question, by what kind of sequences a model has."""


@dataclass(frozen=True, eq=False)
class Piece:
    """Sequences of one length.

    Attributes:
        tokens: ids.
        counts: what y sums over in each sequence: tokens, or 1 for a difference of logits.
        y: harm of each sequence, summed over what is counted.
        read: positions whose logits y is given; None: all.
    """

    tokens: Int[Tensor, "n seq"]
    counts: Float[np.ndarray, " n"]
    y: Measure
    read: tuple[int, ...] | None = None


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


def own_and_control(source: str) -> Mapping[str, tuple[str, str]]:
    """By question, for a subject's source."""
    return OWN_AND_CONTROL["rows" if source in ("lag", "tiny") else source]


def behaviours(model: AskedModel, source: str) -> dict[str, Behaviour]:
    """Every behaviour that the model's sequences allow, by its name."""
    found = {
        "toylang": _of_toy_language,
        "lag": _of_rows,
        "tiny": _of_rows,
        "named": _of_language_model,
    }[source](model)
    return {b.name: b for b in found if b.counts.sum() > 0}


def _of_language_model(model: AskedModel) -> Iterator[Behaviour]:
    for name in ("text", "random"):
        for stream in model.streams.get(name, ()):
            yield Behaviour(name, (_loss_piece(stream, _all_but_first(stream)),))
    for stream in model.streams.get("repeats", ()):
        yield Behaviour("repeats", (_loss_piece(stream, second_copy(stream.ids)),))
    lists = {"successor": "ordinals", "successor_shuffled": "shuffled_ordinals"}
    for name, of in lists.items():
        for stream in model.streams.get(of, ()):
            yield Behaviour(name, (_successor_piece(stream, model.items),))
    for name in ("ioi", "abc"):
        if streams := model.streams.get(name):
            yield Behaviour(name, tuple(_object_piece(s) for s in streams), at=-1)


def _of_rows(model: AskedModel) -> Iterator[Behaviour]:
    text, *_ = model.streams["text"]
    asked = text.mark("measured").clone()
    asked[:, 0] = False
    yield Behaviour("text", (_loss_piece(text, _all_but_first(text)),))
    yield Behaviour("target", (_loss_piece(text, asked),))
    yield Behaviour("rest", (_loss_piece(text, _all_but_first(text) & ~asked),))
    random, *_ = model.streams["random"]
    yield Behaviour("random", (_loss_piece(random, _all_but_first(random)),))


def _of_toy_language(model: AskedModel) -> Iterator[Behaviour]:
    text, *_ = model.streams["text"]
    assert model.labels is not None
    masks = {name: model.labels == i for i, name in enumerate(LABELS)}
    masks |= {"not_induction": ~masks["induction"], "text": np.ones_like(model.labels, bool)}
    for name, mask in masks.items():
        yield Behaviour(name, (_excess_piece(model, text, mask),))
    random, *_ = model.streams["random"]
    yield Behaviour("random", (_loss_piece(random, _all_but_first(random)),))


# --- harms -------------------------------------------------------------------------------------


def _all_but_first(stream: Stream) -> Bool[Tensor, "n seq"]:
    kept = torch.ones_like(stream.ids, dtype=torch.bool)
    kept[:, 0] = False
    return kept


def second_copy(ids: Int[Tensor, "n seq"]) -> Bool[Tensor, "n seq"]:
    """Tokens of repeats that stood before, but for the first such one, which nothing foretells."""
    seen = (ids.unsqueeze(2) == ids.unsqueeze(1)).tril(-1).any(-1)
    return seen & seen.roll(1, 1).index_fill(1, torch.tensor([0], device=ids.device), False)


def _loss_piece(stream: Stream, predicted: Bool[Tensor, "n seq"]) -> Piece:
    """-log p of the marked tokens, each from those before it."""
    targets, mask = stream.ids[:, 1:], predicted[:, 1:]

    def y(logits: Float[Tensor, "n seq vocab"]) -> Float[Tensor, " n"]:
        log_p = logits[:, :-1].float().log_softmax(-1)
        chosen = log_p.gather(-1, targets.to(logits.device).unsqueeze(-1)).squeeze(-1)
        return -(chosen * mask.to(logits.device)).sum(-1)

    return Piece(stream.ids, mask.double().sum(-1).numpy(), y)


def _excess_piece(model: AskedModel, text: Stream, at: Bool[np.ndarray, "n seq-1"]) -> Piece:
    """-sum p log q where a primitive governs: the excess over the exact p, but for its entropy."""
    assert model.p is not None
    p, mask = model.p, torch.from_numpy(at)

    def y(logits: Float[Tensor, "n seq vocab"]) -> Float[Tensor, " n"]:
        cross = -(p.to(logits.device) * logits[:, :-1].log_softmax(-1)).sum(-1)
        return (cross * mask.to(logits.device)).sum(-1)

    return Piece(text.ids, mask.double().sum(-1).numpy(), y)


def _successor_piece(stream: Stream, classes: Mapping[str, Sequence[int]]) -> Piece:
    """Mean logit of the class, less that of the next word, behind the last comma of a list.

    The next word is the successor of the last item before this comma. A list whose last such item
    is the class's last word is not counted.
    """
    last = stream.ids[:, -3].tolist()
    members, nexts, counted = [], [], []
    for row, item in zip(stream.ids.tolist(), last, strict=True):
        ids = next(ids for ids in classes.values() if item in ids and row[-1] in ids)
        place = list(ids).index(item)
        members.append(torch.tensor(list(ids)))
        counted.append(place + 1 < len(ids))
        nexts.append(ids[place + 1] if counted[-1] else item)

    def y(logits: Float[Tensor, "n read vocab"]) -> Float[Tensor, " n"]:
        rows = logits[:, 0].float()
        harm = [
            r[m.to(r.device)].mean() - r[i] for r, m, i in zip(rows, members, nexts, strict=True)
        ]
        return torch.stack(harm) * torch.tensor(counted, device=rows.device)

    return Piece(stream.ids, np.array(counted, dtype=float), y, (-2,))


def _object_piece(stream: Stream) -> Piece:
    """Logit of the subject, as first mentioned, less that of the indirect object, at the end."""
    n = torch.arange(len(stream))
    io, s1 = (stream.ids[n, stream.mark(m).float().argmax(-1)] for m in ("io", "s1"))

    def y(logits: Float[Tensor, "n read vocab"]) -> Float[Tensor, " n"]:
        rows = logits[:, 0].float()
        at = n.to(rows.device)
        return rows[at, s1.to(rows.device)] - rows[at, io.to(rows.device)]

    return Piece(stream.ids, np.ones(len(stream)), y, (-1,))
