"""Windows of running text, all equally long, with classes of tokens and marks of delimiters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from zscope.core.errors import DataError
from zscope.studies.heads.streams import Stream

CLASSES = ("word", "letters", "digits", "punctuation", "line end", "other")
"""word: letters with a space in front; letters: without (the rest of a word, or a line's first)."""
DELIMITERS = frozenset(".,;:!?\n。，；：！？、")
PROTOCOL_DELIMITERS = (".", ",", ";", ":", "!", "?", "\n", ".\n", ".\n\n", ",\n", ";\n")
"""How vocabularies write the space in front of a word (byte-level BPE, SentencePiece)."""


def text_windows(
    texts: Sequence[Sequence[int]],
    length: int,
    *,
    front: Sequence[int],
    limit: int | None = None,
    written: Mapping[int, str],
    protocol_delimiters: frozenset[int],
) -> Stream:
    """`front` and the next tokens of a text, window after window; what is left over is dropped.

    texts: encoded, without special tokens. limit: most windows, taken evenly from all of them.
    written: each token as text, with the blank in front of a word. Raises DataError if no text
    fills a window.
    """
    room = length - len(front)
    if room < 1:
        raise DataError(f"windows of {length} tokens have no room behind {len(front)} in front")
    windows = [
        [*front, *text[at : at + room]]
        for text in texts
        for at in range(0, len(text) - room + 1, room)
    ]
    if not windows:
        longest = max(map(len, texts), default=0)
        raise DataError(f"no text fills a window of {room} tokens: the longest has {longest}")
    if limit is not None and limit < len(windows):
        windows = [windows[i * len(windows) // limit] for i in range(limit)]
    ids = torch.tensor(windows)
    return with_classes(Stream("text", ids), written, protocol_delimiters)


def with_classes(
    stream: Stream, written: Mapping[int, str], protocol_delimiters: frozenset[int]
) -> Stream:
    """The stream with a class for every token, and the marks of delimiters."""
    classes = _each(stream.ids, lambda i: CLASSES.index(token_class(written[i])))
    marks = {
        "delimiter": _each(stream.ids, lambda i: is_delimiter(written[i])).bool(),
        "protocol_delimiter": _each(stream.ids, lambda i: i in protocol_delimiters).bool(),
    }
    return Stream(stream.name, stream.ids, {**stream.marks, **marks}, classes, CLASSES)


def token_class(text: str) -> str:
    """The class of a token by its text, with the space that it begins with."""
    bare = text.strip(" ")
    if "\n" in bare:
        return "line end"
    if not bare or "\ufffd" in bare:
        return "other"
    if any(c.isdigit() for c in bare):
        return "digits"
    if any(c.isalpha() for c in bare):
        return "word" if text.startswith(" ") else "letters"
    return "punctuation"


def is_delimiter(text: str) -> bool:
    """Whether a token is made of delimiters alone, but for a space in front."""
    bare = text.strip(" ")
    return bool(bare) and set(bare) <= DELIMITERS


def protocol_delimiter_ids(encode: Callable[[str], Sequence[int]]) -> frozenset[int]:
    """The original protocol's delimiters that are one token. encode: without special tokens."""
    encoded = (encode(text) for text in PROTOCOL_DELIMITERS)
    return frozenset(ids[0] for ids in encoded if len(ids) == 1)


def _each(ids: Int[Tensor, "n seq"], of: Callable[[int], int]) -> Int[Tensor, "n seq"]:
    values, where = torch.unique(ids, return_inverse=True)
    return torch.tensor([int(of(i)) for i in values.tolist()])[where]
