"""The true rules of the toy language, found by intervention on the program.

Every token of a sampled prefix is replaced by every other token, and the program's own conditionals
are compared. No frequencies are counted, and the rule lists of the config are not read. Only
prefixes that the language can produce are compared. The effect of a key on a position is the
conditional with it minus the median, token by token, over all keys that are possible in its place:
the difference from having nothing special there.
"""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N806

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from zscope.core.errors import DataError
from zscope.toy_language.distributions import LABEL_ID, LABELS
from zscope.toy_language.language import ToyLanguage
from zscope.toy_language.rules import NOT_ZERO, Rule

FEWEST = 3  # possible keys in a place; with fewer, the median is the key's own effect
DIRECT = "bigram"  # the one primitive whose rules have no key: the last token alone decides
# The other primitives depend on categories or on open brackets: they have no single-token rules.
KEYED = ("long_range", "induction", "skip", "suppress")


@dataclass
class _Effects:
    """Changes of the conditional over the contexts of a (primitive, key, query)."""

    total: Float[np.ndarray, " vocab"]
    low: Float[np.ndarray, " vocab"]
    high: Float[np.ndarray, " vocab"]
    nearest: int
    farthest: int
    n: int

    def add(self, change: Float[np.ndarray, " vocab"], distance: int) -> None:
        self.total = self.total + change
        self.low = np.minimum(self.low, change)
        self.high = np.maximum(self.high, change)
        self.nearest, self.farthest = min(self.nearest, distance), max(self.farthest, distance)
        self.n += 1


def find_rules(language: ToyLanguage, rng: np.random.Generator, n: int = 64) -> list[Rule]:
    """The rules seen in all edits of all tokens of `n` sampled sequences, in order of LABELS.

    A key matters where fewer than half of the keys that are possible in its place have the same
    cause (`Distributions`). A (key, query) is a rule if p of some token moves in one direction in
    every context in which the key matters; among these tokens, the output is the one that moves
    most. For `bigram`, every token that the query makes likelier is a rule.

    With few sequences (ten, say), pairs are missed, and a pair that is seen once may pass by
    chance. A place with fewer than 3 possible keys, such as position 0 with 2 topics, says nothing.
    Raises DataError for n below 1.
    """
    if n < 1:
        raise DataError(f"the rules need at least 1 sequence, not {n}")
    effects: dict[tuple[int, int, int], _Effects] = {}
    for tokens in language.sample(n, rng).tokens:
        for place, change, distance in _changes(language, tokens):
            if place in effects:
                effects[place].add(change, distance)
            else:
                effects[place] = _Effects(change, change, change, distance, distance, 1)
    return [
        rule
        for (label, key, query), e in sorted(effects.items())
        for rule in _rules_of(language.vocabulary.tokens, LABELS[label], key, query, e)
    ]


def _rules_of(
    names: tuple[str, ...], primitive: str, key: int, query: int, e: _Effects
) -> Iterator[Rule]:
    mean = e.total / e.n
    if primitive == DIRECT:
        for o in np.flatnonzero(e.low > NOT_ZERO).tolist():
            yield Rule(primitive, None, names[query], names[o], float(mean[o]), None, None, e.n)
        return
    steady = (e.low > NOT_ZERO) | (e.high < -NOT_ZERO)
    if steady.any():
        o = int(np.argmax(np.abs(mean) * steady))
        where = e.nearest, e.farthest
        yield Rule(primitive, names[key], names[query], names[o], float(mean[o]), *where, e.n)


def _changes(
    language: ToyLanguage, tokens: Int[np.ndarray, " seq"]
) -> Iterator[tuple[tuple[int, int, int], Float[np.ndarray, " vocab"], int]]:
    """((label, key, query), change of the conditional, distance) for every edit that matters."""
    rows, possible = _edited(language, tokens)
    label, P = language.distributions.label, language.distributions.p
    keyed = np.isin(label, [LABEL_ID[name] for name in KEYED])
    direct = label == LABEL_ID[DIRECT]
    for s, t in np.argwhere(_matters(rows, possible)):
        keys = np.flatnonzero(possible[s, :, t])
        there = rows[s, keys, t]
        distance = int(t - 1 - s)
        counts = (keyed if distance else direct)[there]
        if not counts.any():
            continue
        change = P[there] - np.median(P[there], axis=0)
        cause = language.distributions.cause[there]
        counts &= (cause[:, None] == cause).mean(axis=1) < 0.5
        for i in np.flatnonzero(counts):
            key = int(keys[i])
            query = int(tokens[t - 1]) if distance else key
            yield (int(label[there[i]]), key, query), change[i], distance


def _edited(
    language: ToyLanguage, tokens: Int[np.ndarray, " seq"]
) -> tuple[Int[np.ndarray, "seq vocab seq"], Bool[np.ndarray, "seq vocab seq"]]:
    """For token k put at position s, at [s, k, t]: the row of position t, and whether the language
    can produce the edited tokens before t."""
    length, size = len(tokens), len(language.vocabulary)
    edited = np.tile(tokens, (length, size, 1))
    s = np.arange(length)
    edited[s, :, s] = np.arange(size)
    rows = language.rows(edited.reshape(-1, length)).reshape(edited.shape)
    fits = language.distributions.p[rows, edited] > 0
    before = np.ones_like(fits)
    before[..., 1:] = np.logical_and.accumulate(fits[..., :-1], axis=-1)
    return rows, before


def _matters(
    rows: Int[np.ndarray, "seq vocab seq"], possible: Bool[np.ndarray, "seq vocab seq"]
) -> Bool[np.ndarray, "seq seq"]:
    """At [s, t], whether t is after s and its row depends on which possible key is at s."""
    low = np.where(possible, rows, np.iinfo(rows.dtype).max).min(axis=1)
    high = np.where(possible, rows, -1).max(axis=1)
    after = np.triu(np.ones(low.shape, dtype=bool), 1)
    return after & (possible.sum(axis=1) >= FEWEST) & (low < high)
