"""What is true at every position of a sequence of the toy language, exactly, as labels.

Position t of a label is about the stream at token t, which has read tokens 0 to t and predicts
t + 1. Groups:

    token      the token is v                previous   the token before it is v
    bracket    how many delimiters are open, and whether the innermost is of a kind
    topic      the topic at position 0 is v
    governs    the primitive that governs token t + 1
    output     the rule that fires at t + 1 (skip, induction, long_range), with its likeliest output
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from zscope.core.provenance import derive_seed
from zscope.toy_language.distributions import CLOSERS, LABELS
from zscope.toy_language.language import ToyLanguage
from zscope.toy_language.vocabulary import ToyVocabulary

GROUPS = ("token", "previous", "bracket", "topic", "governs", "output")
FIRING = ("skip", "induction", "long_range")
"""Primitives that name one output."""


@dataclass(frozen=True, eq=False)
class Truth:
    """Labels of every position but the last.

    Attributes:
        group, name: of each label.
        primitive: index into LABELS of what governs the next token.
    """

    group: tuple[str, ...]
    name: tuple[str, ...]
    labels: Bool[np.ndarray, "n seq-1 label"]
    primitive: Int[np.ndarray, "n seq-1"]

    @property
    def flat(self) -> Bool[np.ndarray, "inputs label"]:
        return self.labels.reshape(-1, self.labels.shape[-1])


def truth_of(
    language: ToyLanguage, tokens: Int[np.ndarray, "n seq"], n_tokens: int, seed: int
) -> Truth:
    """The labels of sequences. n_tokens: so many tokens, drawn from the seed named "asked tokens",
    have labels of groups token and previous."""
    vocabulary = language.vocabulary
    rows = language.rows(tokens)[:, 1:]
    now, before = tokens[:, :-1], np.full_like(tokens[:, :-1], -1)
    before[:, 1:] = tokens[:, :-2]
    rng = np.random.default_rng(derive_seed(seed, "asked tokens"))
    asked = np.sort(rng.permutation(len(vocabulary))[:n_tokens]).tolist()
    found: list[tuple[str, str, Bool[np.ndarray, "n seq-1"]]] = []
    for group, of in (("token", now), ("previous", before)):
        found += [(group, vocabulary.tokens[v], of == v) for v in asked]
    depth, inner, kinds = open_delimiters(vocabulary, now)
    found += [("bracket", f"depth {d} or more", depth >= d) for d in range(1, int(depth.max()) + 1)]
    found += [("bracket", f"in {kind}", inner == i) for i, kind in enumerate(kinds)]
    for v in vocabulary.members["topic"].tolist():
        found.append(
            ("topic", vocabulary.tokens[v], np.broadcast_to(tokens[:, :1] == v, now.shape))
        )
    primitive = language.distributions.label[rows]
    found += [("governs", name, primitive == i) for i, name in enumerate(LABELS) if name != "start"]
    output = language.distributions.p.argmax(1)[rows]
    # What a skip rule shares with others can be likelier than its output; its cause is the output.
    skip = LABELS.index("skip")
    output = np.where(primitive == skip, language.distributions.cause[rows], output)
    for name in FIRING:
        fires = primitive == LABELS.index(name)
        for v in np.unique(output[fires]).tolist():
            label = f"{name} -> {vocabulary.tokens[v]}"
            found.append(("output", label, fires & (output == v)))
    kept = [(group, name, mask) for group, name, mask in found if mask.any()]
    return Truth(
        tuple(group for group, _, _ in kept),
        tuple(name for _, name, _ in kept),
        np.stack([mask for _, _, mask in kept], axis=-1),
        primitive,
    )


def open_delimiters(
    vocabulary: ToyVocabulary, tokens: Int[np.ndarray, "n seq"]
) -> tuple[Int[np.ndarray, "n seq"], Int[np.ndarray, "n seq"], tuple[str, ...]]:
    """How many delimiters are open behind each token, the innermost one's kind (-1: none), kinds.

    tokens: of the language, so only the innermost is ever closed. A quotation mark closes a
    quotation that is innermost, and opens one elsewhere.
    """
    kinds = tuple(kind for kind in CLOSERS if kind in vocabulary.members)
    opens = np.full(len(vocabulary), -1)
    closes = np.full(len(vocabulary), -1)
    for i, kind in enumerate(kinds):
        opens[vocabulary.members[kind]] = i
        closes[vocabulary.members[CLOSERS[kind]]] = i
    n, seq = tokens.shape
    stack = np.full((n, seq + 2), -1)
    depth = np.zeros(n, dtype=np.int64)
    at = np.arange(n)
    depths, inner = np.zeros((n, seq), dtype=np.int64), np.full((n, seq), -1)
    for t in range(seq):
        top = stack[at, depth]
        closing = (closes[tokens[:, t]] >= 0) & (closes[tokens[:, t]] == top)
        opening = (opens[tokens[:, t]] >= 0) & ~closing
        depth = depth - closing + opening
        stack[at[opening], depth[opening]] = opens[tokens[opening, t]]
        depths[:, t], inner[:, t] = depth, np.where(depth > 0, stack[at, depth], -1)
    return depths, inner, kinds
