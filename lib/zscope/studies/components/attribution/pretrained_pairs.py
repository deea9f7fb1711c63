"""Pairs of prompts for a language model: sentences with an indirect object, and repeated texts.

ioi: "When Mary and John went to the store, John gave a drink to" goes on with Mary. The second John
becomes Mary, and John is the answer (Wang et al. 2023; word lists of `zscope.text`).
repeats: the beginning of a text, twice, without the last token, which is the answer. That of the
first copy becomes a token of another text, which is then the answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zscope.core.errors import DataError
from zscope.models.tokenizers import front_tokens, plain_encoder
from zscope.text import word_lists
from zscope.text.ioi_sentences import Sentence, encode_sentence
from zscope.text.passages import read_passages
from zscope.text.single_words import single_tokens

IOI, REPEATS = FAMILIES = ("ioi", "repeats")
ENOUGH_NAMES = 6  # a sentence is tried with two fillings of three names


@dataclass(frozen=True)
class TokenPair:
    """Prompts that differ at `edit` alone; their answers."""

    family: str
    clean: tuple[int, ...]
    corrupted: tuple[int, ...]
    edit: int
    answer: int
    other: int


def token_pairs(
    tokenizer: Any, ioi: int, repeats: int, length: int, rng: np.random.Generator
) -> list[TokenPair]:
    """Pairs of both families. Raises DataError if the tokenizer allows none of one."""
    encode, front = plain_encoder(tokenizer), front_tokens(tokenizer)
    names = single_tokens(encode, word_lists.names())
    sentences = [
        found
        for key, template in word_lists.ioi_sentences().items()
        if len(names) >= ENOUGH_NAMES and (found := encode_sentence(encode, key, template, names))
    ]
    texts = [ids for x in read_passages("en") if (ids := encode(x.text))]
    made = [
        *_ioi(sentences[:ioi], list(names.values()), front, rng),
        *_repeats([t[:length] for t in texts], repeats, front),
    ]
    for family in FAMILIES:
        if not any(pair.family == family for pair in made):
            raise DataError(
                f"the tokenizer allows no pairs of {family}: it has no tokens for names, or for "
                "the package's English texts; leave the model out of components.pretrained"
            )
    return made


def _ioi(
    sentences: Sequence[Sentence], names: Sequence[int], front: Sequence[int],
    rng: np.random.Generator,
) -> Iterator[TokenPair]:  # fmt: skip
    for i, sentence in enumerate(sentences):
        io, subject = (names[k] for k in rng.permutation(len(names))[:2])
        first, second, again = sentence.at
        ids = list(sentence.ids)
        io_at, subject_at = (first, second) if i % 2 == 0 else (second, first)
        ids[io_at], ids[subject_at], ids[again] = io, subject, subject
        yield _pair(IOI, [*front, *ids], len(front) + again, io, answer=io, other=subject)


def _repeats(texts: Sequence[Sequence[int]], n: int, front: Sequence[int]) -> Iterator[TokenPair]:
    """Of texts whose tokens are all different."""
    usable = [list(t) for t in texts if len({*t}) == len(t) == max(map(len, texts))]
    for i, ids in enumerate(usable[:n]):
        other = next((t[-1] for t in usable[i + 1 :] + usable[:i] if t[-1] not in ids), None)
        if other is not None:
            prompt = [*front, *ids, *ids[:-1]]
            at = len(front) + len(ids) - 1
            yield _pair(REPEATS, prompt, at, other, answer=ids[-1], other=other)


def _pair(
    family: str, clean: list[int], edit: int, token: int, *, answer: int, other: int
) -> TokenPair:
    corrupted = [*clean[:edit], token, *clean[edit + 1 :]]
    return TokenPair(family, tuple(clean), tuple(corrupted), edit, answer, other)
