"""Pairs of prompts made from the program of the toy language, for every primitive.

A prompt is the beginning of a sampled sequence whose next token the primitive governs. The other
prompt of the pair differs in one token, is one that the language can produce, and lowers the
program's p(answer) by more than `least_drop`. For suppression the answer is the forbidden verb, and
the edit must raise it above `least_raise`. The edit is drawn uniformly: a position among those that
have a valid edit, then a token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from zscope.core.provenance import derive_seed
from zscope.studies.components.attribution.config import PairsConfig
from zscope.toy_language.distributions import LABELS
from zscope.toy_language.language import ToyLanguage

SEQUENCES = 64  # sampled at a time
CHANCES = 40  # prompts of a primitive that are tried for each pair


@dataclass(frozen=True, eq=False)
class PromptPair:
    """Two prompts that differ at `edit` alone.

    p_clean, p_corrupted: the program's probability of the answer after each.
    """

    primitive: str
    clean: Int[np.ndarray, " seq"]
    corrupted: Int[np.ndarray, " seq"]
    edit: int
    answer: int
    p_clean: float
    p_corrupted: float


@dataclass(frozen=True)
class PrimitivePairs:
    """The pairs of a primitive. tried: prompts that were tried. why: if there is no pair, why."""

    primitive: str
    pairs: tuple[PromptPair, ...]
    tried: int
    why: str | None = None


@dataclass(frozen=True)
class PairRule:
    """What a pair has to be. Lengths are in tokens."""

    shortest: int
    longest: int
    least_drop: float
    least_raise: float


def rule_of(config: PairsConfig) -> PairRule:
    return PairRule(config.shortest, config.longest, config.least_drop, config.least_raise)


def all_pairs(language: ToyLanguage, n: int, rule: PairRule, seed: int) -> list[PrimitivePairs]:
    """n pairs of every primitive, and of the category bigram; fewer, or none, if there are not."""
    return [
        pairs_of(language, primitive, n, rule, derive_seed(seed, f"pairs {primitive}"))
        for primitive in (*language.config.primitives, "category")
    ]


def pairs_of(
    language: ToyLanguage, primitive: str, n: int, rule: PairRule, seed: int
) -> PrimitivePairs:
    if why := _impossible(language, primitive, rule):
        return PrimitivePairs(primitive, (), 0, why)
    rng = np.random.default_rng(seed)
    found: list[PromptPair] = []
    tried = 0
    for prompt in _prompts(language, primitive, rule, rng, n * CHANCES):
        tried += 1
        if pair := _edited(language, primitive, prompt, rule, rng):
            found.append(pair)
            if len(found) == n:
                break
    if not tried:
        why = f"it governs no token {rule.shortest} to {rule.longest} tokens from the start"
    elif not found:
        why = f"no edit of {tried} prompts changes p(answer) enough"
    return PrimitivePairs(primitive, tuple(found), tried, why or None)


def _impossible(language: ToyLanguage, primitive: str, rule: PairRule) -> str | None:
    """Why no edit can be enough, by the primitive's distributions alone."""
    d = language.distributions
    of = d.p[d.label == LABELS.index(primitive)]
    if primitive == "suppress" or not len(of) or of.max() > rule.least_drop:
        return None
    return (
        f"p(answer) cannot fall by more than {rule.least_drop:g}: no token after it has more than "
        f"p = {of.max():.2f}"
    )


def _prompts(
    language: ToyLanguage, primitive: str, rule: PairRule, rng: np.random.Generator, most: int
) -> Iterator[Int[np.ndarray, " seq"]]:
    """Prompts whose next token the primitive governs, one of a sequence, `most` at most."""
    label = LABELS.index(primitive)
    given = 0
    for _ in range(most):
        sampled = language.sample(SEQUENCES, rng)
        for tokens, labels in zip(sampled.tokens, sampled.labels, strict=True):
            (at,) = np.nonzero(labels[: rule.longest + 1] == label)
            at = at[at >= rule.shortest]
            if len(at):
                yield tokens[: rng.choice(at)]
                given += 1
            if given == most:
                return


def _edited(
    language: ToyLanguage,
    primitive: str,
    prompt: Int[np.ndarray, " seq"],
    rule: PairRule,
    rng: np.random.Generator,
) -> PromptPair | None:
    """A pair of this prompt, if it has a valid edit."""
    size, length = len(language.vocabulary), len(prompt)
    (clean,) = next_token(language, prompt[None])
    edits = [(s, v) for s in range(length) for v in range(size) if v != prompt[s]]
    edited = np.repeat(prompt[None], len(edits), axis=0)
    edited[np.arange(len(edits)), [s for s, _ in edits]] = [v for _, v in edits]
    possible, after = _followed(language, edited)
    if primitive == "suppress":
        answer = _forbidden(language, prompt)
        valid = possible & (clean[answer] == 0) & (after[:, answer] > rule.least_raise)
    else:
        answer = int(clean.argmax())
        valid = possible & (clean[answer] - after[:, answer] > rule.least_drop)
    chosen = _drawn(edits, valid, rng)
    if chosen is None:
        return None
    return PromptPair(
        primitive,
        prompt,
        edited[chosen],
        edits[chosen][0],
        answer,
        float(clean[answer]),
        float(after[chosen, answer]),
    )


def next_token(
    language: ToyLanguage, prompts: Int[np.ndarray, "n seq"]
) -> Float[np.ndarray, "n vocab"]:
    """The program's distribution of the token after each prompt."""
    return _followed(language, prompts)[1]


def _followed(
    language: ToyLanguage, prompts: Int[np.ndarray, "n seq"]
) -> tuple[Bool[np.ndarray, " n"], Float[np.ndarray, "n vocab"]]:
    """Whether the language can produce each prompt, and the distribution of the next token."""
    open_end = np.pad(prompts, ((0, 0), (0, 1)))
    rows = language.rows(open_end)
    p = language.distributions.p
    return (p[rows[:, :-1], prompts] > 0).all(1), p[rows[:, -1]]


def _forbidden(language: ToyLanguage, prompt: Int[np.ndarray, " seq"]) -> int:
    """The top verb of the name that the prompt ends with, where nothing suppresses it."""
    plain = np.array([[prompt[0], prompt[-1]]])
    return int(next_token(language, plain)[0].argmax())


def _drawn(
    edits: Sequence[tuple[int, int]], valid: Bool[np.ndarray, " edits"], rng: np.random.Generator
) -> int | None:
    """Index of a valid edit: first a position is drawn, then a token."""
    (kept,) = np.nonzero(valid)
    if not len(kept):
        return None
    positions = np.array([edits[i][0] for i in kept.tolist()])
    position = rng.choice(np.unique(positions))
    return int(rng.choice(kept[positions == position]))
