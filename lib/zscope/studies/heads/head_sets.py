"""Sets of heads: how they are written, which are like one another, how many there are. No torch."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import combinations, product

import numpy as np

Head = tuple[int, int]
"""Layer and head."""
Heads = tuple[Head, ...]
"""Ascending."""

MANY = 10**9
"""Stands for more sets than this: their number may have a hundred digits."""


def heads_text(heads: Iterable[Head]) -> str:
    """As L0H3+L1H1."""
    return "+".join(f"L{layer}H{head}" for layer, head in heads)


def heads_of(text: str) -> Heads:
    """What `heads_text` wrote."""
    return tuple((int(a), int(b)) for a, b in re.findall(r"L(\d+)H(\d+)", text))


def count_like(heads: Heads, n_heads: int) -> int:
    """How many other sets have as many heads in each layer, of `n_heads` heads."""
    layers = Counter(layer for layer, _ in heads)
    return min(MANY, math.prod(math.comb(n_heads, n) for n in layers.values()) - 1)


def sets_like(heads: Heads, n_heads: int, most: int, rng: np.random.Generator) -> Iterator[Heads]:
    """Other sets with as many heads in each layer, all different: all of them if they are at most
    `most`, else that many, drawn."""
    layers = Counter(layer for layer, _ in heads)
    if count_like(heads, n_heads) <= most:
        chosen = [list(combinations(range(n_heads), n)) for n in layers.values()]
        for one in product(*chosen):
            found = tuple((layer, h) for layer, of in zip(layers, one, strict=True) for h in of)
            if found != heads:
                yield found
        return

    def draw() -> Heads:
        return tuple(
            (layer, int(h))
            for layer, n in layers.items()
            for h in np.sort(rng.choice(n_heads, n, replace=False))
        )

    yield from _different(draw, {heads}, most)


def count_anywhere(n: int, n_layers: int, n_heads: int) -> int:
    """How many other sets of n heads there are in the whole model, at most MANY."""
    return min(MANY, math.comb(n_layers * n_heads, n) - 1)


def sets_anywhere(
    heads: Heads, n_layers: int, n_heads: int, most: int, rng: np.random.Generator
) -> Iterator[Heads]:
    """Other sets of as many heads of any layer, as `sets_like`."""
    every = list(product(range(n_layers), range(n_heads)))
    if count_anywhere(len(heads), n_layers, n_heads) <= most:
        yield from (found for found in combinations(every, len(heads)) if found != heads)
        return

    def draw() -> Heads:
        places = np.sort(rng.choice(len(every), len(heads), replace=False))
        return tuple(every[i] for i in places)

    yield from _different(draw, {heads}, most)


def _different(draw: Callable[[], Heads], excluded: Collection[Heads], n: int) -> Iterator[Heads]:
    seen = set(excluded)
    while n:
        if (found := draw()) not in seen:
            seen.add(found)
            n -= 1
            yield found


def random_beside(chosen: Collection[Head], n_heads: int, rng: np.random.Generator) -> list[Head]:
    """For each of the chosen heads another one of its layer that is not chosen, all different, as
    far as there are any."""
    found: set[Head] = set()
    for layer, _ in sorted(chosen):
        free = [h for h in range(n_heads) if (layer, h) not in {*chosen, *found}]
        if free:
            found.add((layer, int(rng.choice(free))))
    return sorted(found)
