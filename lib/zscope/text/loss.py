"""The loss of a language model on passages, in nats per token and per character.

The loss of a token is -log p(token | what stands before it in its window). The mean per token
depends on the tokenizer; the mean per character does not, and compares models.

Start. What the tokenizer puts in front of a text (the BOS of Gemma and Llama) is put in front of
every window and is not predicted. A tokenizer that adds nothing leaves the first token of a passage
without anything to be predicted from: it is not counted, nor are the characters that end in it.

Windows. The model sees at most `window` tokens. A longer passage is run in windows that overlap by
half, and each token is predicted once: in the first window all of them, later the half that is new,
from half a window of context or more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from zscope.config.base import Bootstrap
from zscope.core.errors import DataError
from zscope.models.language_model import LanguageModel
from zscope.stats import bootstrap_interval, finite
from zscope.tables.schema import Row
from zscope.text.passages import Passage


@dataclass(frozen=True, eq=False)
class TextLoss:
    """Of each passage: the summed loss, and the tokens and the characters that it is the loss of.

    nats: [n]. tokens: [n]. characters: [n], those whose last token was predicted.
    """

    nats: Float[np.ndarray, " n"]
    tokens: Int[np.ndarray, " n"]
    characters: Int[np.ndarray, " n"]

    def rows(self, bootstrap: Bootstrap) -> Iterator[Row]:
        """Rows of table models_loss without model and language.

        The value is a ratio of sums over all passages; its interval resamples passages.
        """
        for metric, counts in (
            ("nats_per_token", self.tokens),
            ("nats_per_character", self.characters),
        ):
            low, high = bootstrap_interval(
                self.nats, counts.astype(np.float64), bootstrap=bootstrap
            )
            yield {
                "metric": metric,
                "value": float(self.nats.sum() / counts.sum()),
                "ci_low": finite(float(low)),
                "ci_high": finite(float(high)),
                "total": int(counts.sum()),
                "n": len(self.nats),
            }


class Window(NamedTuple):
    """Tokens `start` to `stop` of a passage, of which those from `new` on are predicted."""

    start: int
    stop: int
    new: int


def windows(n_tokens: int, room: int, first: int) -> list[Window]:
    """Windows of at most `room` tokens that together predict each token from `first` on once.

    Raises ValueError if `room` is below 2, or leaves no token to predict.
    """
    if room < 2 or first >= n_tokens:
        raise ValueError(f"nothing to predict in {n_tokens} tokens with room for {room}")
    found = [Window(0, min(n_tokens, room), first)]
    while (last := found[-1].stop) < n_tokens:
        stop = min(n_tokens, last + room // 2)
        found.append(Window(stop - room, stop, last))
    return found


def text_loss(
    lm: LanguageModel, passages: Sequence[Passage], *, window: int = 256, batch_size: int = 4
) -> TextLoss:
    """The loss on each passage. batch_size: windows that are run together; it changes memory only.

    Raises DataError if a passage is one token alone and the tokenizer adds none in front, if
    `window` is too short, or as `LanguageModel.encode`.
    """
    tokens = [_Tokens.of(lm, passage) for passage in passages]
    work = [(i, w) for i, t in enumerate(tokens) for w in t.windows(window)]
    nats = np.zeros(len(passages))
    for start in range(0, len(work), batch_size):
        batch = work[start : start + batch_size]
        rows = [[*tokens[i].front, *tokens[i].ids[w.start : w.stop]] for i, w in batch]
        for (i, w), row, losses in zip(batch, rows, _losses(lm, rows), strict=True):
            n_new = w.stop - w.new
            nats[i] += float(losses[len(row) - 1 - n_new :].sum())
    return TextLoss(
        nats,
        np.array([len(t.ids) - t.first for t in tokens]),
        np.array([t.n_characters for t in tokens]),
    )


@dataclass(frozen=True)
class _Tokens:
    """A passage as tokens. front: what the tokenizer adds; n_characters: the predicted ones."""

    name: str
    front: tuple[int, ...]
    ids: tuple[int, ...]
    n_characters: int

    @property
    def first(self) -> int:
        """The first token that is predicted."""
        return 0 if self.front else 1

    @staticmethod
    def of(lm: LanguageModel, passage: Passage) -> _Tokens:
        whole = lm.encode([passage.text])[0][0].tolist()
        ids = lm.tokenizer(passage.text, add_special_tokens=False)["input_ids"]
        n_front = next(
            (i for i in range(len(whole) - len(ids) + 1) if whole[i : i + len(ids)] == ids), 0
        )
        front = tuple(whole[:n_front])

        def decoded(tokens: list[int]) -> str:
            return str(lm.tokenizer.decode(tokens, clean_up_tokenization_spaces=False))

        # A character that the first token only begins (it decodes to U+FFFD) ends in a later one.
        begun = "" if front else decoded(ids[:1]).rstrip("\ufffd")
        return _Tokens(passage.name, front, tuple(ids), len(decoded(ids)) - len(begun))

    def windows(self, window: int) -> list[Window]:
        try:
            return windows(len(self.ids), window - len(self.front), self.first)
        except ValueError as error:
            raise DataError(f"text {self.name}, window {window}: {error}") from None


@torch.no_grad()
def _losses(lm: LanguageModel, rows: Sequence[Sequence[int]]) -> list[Float[Tensor, " row_less_1"]]:
    """-log p of every token of each row but its first, in float64 on the CPU."""
    length = max(map(len, rows))
    # On the right: what comes later changes nothing, and all rows begin at position 0.
    ids = torch.tensor([[*row, *[0] * (length - len(row))] for row in rows], device=lm.device)
    sizes = torch.tensor([len(row) for row in rows], device=lm.device)
    mask = (torch.arange(length, device=lm.device) < sizes.unsqueeze(1)).long()
    logits = lm.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    found = []
    for row, scores in zip(ids, logits, strict=True):
        # One row after another: a large vocabulary's log-probabilities fill the memory.
        log_p = torch.log_softmax(scores[:-1].float(), -1).gather(-1, row[1:, None])
        found.append(-log_p.squeeze(-1).double().cpu())
    return [x[: len(row) - 1] for x, row in zip(found, rows, strict=True)]
