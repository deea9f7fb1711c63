"""Lists like "one, two, three": ordinals, the same in another order, and other words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from zscope.core.errors import DataError
from zscope.studies.heads.streams import Stream
from zscope.text.single_words import (
    Encode,
    added_tokens,
    longest_run,
)

ITEM = "item"


def ordinal_classes(encode: Encode, classes: Mapping[str, Sequence[str]]) -> dict[str, list[int]]:
    """The longest run of single-token words of each class, in order."""
    return {name: longest_run(encode, words) for name, words in classes.items()}


def comma(encode: Encode) -> int:
    """The id of a comma behind a word. Raises DataError if it is no token of its own."""
    added = added_tokens(encode, ",")
    if added is None or len(added) != 1:
        raise DataError(
            "the tokenizer has no token for a comma behind a word: no lists can be made"
        )
    return added[0]


def ordinal_lists(
    classes: Mapping[str, Sequence[int]],
    words: Sequence[int],
    n: int,
    *,
    n_items: int,
    comma: int,
    front: Sequence[int],
    seed: int,
) -> tuple[Stream, Stream, Stream]:
    """Three streams of n lists: "ordinals", "shuffled_ordinals", "random_words"; lists are triples.

    classes: ids in order; each class that has `n_items` is used in turn, from a random place.
    shuffled_ordinals: the same items, in an order in which none follows its predecessor.
    random_words: `n_items` of `words`, no two the same. Raises DataError if there are too few.
    """
    usable = [ids for ids in classes.values() if len(ids) >= n_items]
    if n_items < 4:
        raise DataError(f"lists of {n_items} items have no order without a successor: need 4")
    if not usable:
        raise DataError(f"no ordinal class has {n_items} single-token words in a row")
    if len(words) < n_items:
        raise DataError(f"{len(words)} single-token words for lists of {n_items}")
    rng = np.random.default_rng(seed)
    rows: dict[str, list[list[int]]] = {
        x: [] for x in ("ordinals", "shuffled_ordinals", "random_words")
    }
    for i in range(n):
        ids = usable[i % len(usable)]
        start = int(rng.integers(len(ids) - n_items + 1))
        items = list(ids[start : start + n_items])
        rows["ordinals"].append(items)
        rows["shuffled_ordinals"].append([items[k] for k in _no_successor(n_items, rng)])
        rows["random_words"].append([words[k] for k in rng.permutation(len(words))[:n_items]])
    ordered, shuffled, other = (_stream(name, found, comma, front) for name, found in rows.items())
    return ordered, shuffled, other


def _no_successor(n: int, rng: np.random.Generator) -> list[int]:
    """A random order of 0 to n - 1 in which no k + 1 comes right behind k."""
    while True:
        order = rng.permutation(n)
        if not (np.diff(order) == 1).any():
            return [int(k) for k in order]


def _stream(name: str, lists: Sequence[Sequence[int]], comma: int, front: Sequence[int]) -> Stream:
    body = torch.full((len(lists), 2 * len(lists[0]) - 1), comma)
    body[:, ::2] = torch.tensor(lists)
    ahead = torch.tensor(front, dtype=body.dtype).expand(len(lists), len(front))
    ids = torch.cat([ahead, body], 1)
    item = torch.zeros_like(ids, dtype=torch.bool)
    item[:, len(front) :: 2] = True
    return Stream(name, ids, {ITEM: item})
