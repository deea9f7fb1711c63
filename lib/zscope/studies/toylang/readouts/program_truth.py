"""The program's own probabilities for every readout: the truth that it is compared with.

The program is asked for its conditional after short prefixes that hold the tokens that matter and
full stops elsewhere. Only the rules come from samples (`toy_language.rule_finding`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int

from zscope.studies.toylang.readouts.rule_search import Triple
from zscope.toy_language.distributions import CLOSERS, DistributionBuilder
from zscope.toy_language.language import ToyLanguage
from zscope.toy_language.rules import Rule, triple_text


def rule_text(triple: Triple, language: ToyLanguage) -> str:
    query, key, output = (language.vocabulary.tokens[i] for i in triple)
    return triple_text(key, query, output)


def boosting_rules(language: ToyLanguage, rules: Iterable[Rule]) -> dict[Triple, str]:
    """The true rules that make a token likelier (`Rule.boosts`), with their primitives.

    A suppression rule lowers a token, so a search for boosts cannot return it. The tokens that it
    does make likelier, a name's other verbs, are in `program_boosts`.
    """
    ids = language.vocabulary.ids
    return {
        (ids[rule.query], ids[str(rule.key)], ids[rule.output]): rule.primitive
        for rule in rules
        if rule.boosts
    }


@lru_cache(maxsize=1)  # the same for every checkpoint and search
def program_boosts(
    language: ToyLanguage, offsets: range
) -> tuple[Float[np.ndarray, "query key output"], Int[np.ndarray, "query key"]]:
    """Every effect of one token on another, and what governs there (index into LABELS).

    The effect is the change of p(output | query) by the key against a full stop in its place, the
    mean over the key's distances; the label is that of the least distance. A key that needs more
    than itself (a colour needs its object, a topic needs position 0) has no effect here: those are
    among the rules that editing sampled prefixes finds.
    """
    size = len(language.vocabulary)
    (topic, *_), (period,) = (language.vocabulary.members[name] for name in ("topic", "period"))
    query, key = (x.ravel() for x in np.indices((size, size)))
    rows = []
    for distance in sorted(offsets):
        tokens = np.full((size**2, distance + 4), period)
        tokens[:, 0], tokens[:, 2], tokens[:, -2] = topic, key, query
        rows.append(language.rows(tokens)[:, -1].reshape(size, size))
    p = language.distributions.p
    with_key = np.mean([p[r] for r in rows], axis=0)
    without = p[[r[:, period] for r in rows]].mean(axis=0)
    return with_key - without[:, None], language.distributions.label[rows[0]]


def pairs_alone(language: ToyLanguage) -> Bool[np.ndarray, "query key"]:
    """Whether brackets allow a query with a key before it and no other bracket around.

    No text holds a bracket that closes nothing. It may hold the same two tokens with the opening
    bracket before them: `pairs_that_occur`.
    """
    members, size = language.vocabulary.members, len(language.vocabulary)
    occur = np.ones((size, size), dtype=bool)
    for kind in ("round", "square"):
        openers, closers = members.get(kind, ()), members.get(f"{kind}_close", ())
        for closer in closers:
            occur[closer, [key for key in range(size) if key not in openers]] = False
        occur[:, closers] = False
    return occur


@lru_cache(maxsize=1)
def pairs_that_occur(language: ToyLanguage, offsets: range) -> Bool[np.ndarray, "query key"]:
    """Whether the program can write a text with the key at one of `offsets` before the query.

    Found by writing texts: after the shortest text for every last token and everything that can be
    open then (that token is the key), all continuations that the program allows are followed. Of
    the continuations of one key that agree in the last token and in what is open, one is followed
    further. So every pair that is found has a text. One could be missed if all of its texts need
    something else before them; none is in the default language, at the default offsets.
    """
    size, pushed = len(language.vocabulary), _open_after(language)
    occur = np.zeros((size, size), dtype=bool)
    topics = language.vocabulary.members["topic"][:, None]
    level = _Texts(topics, np.zeros(len(topics), dtype=np.int64), topics[:, 0])
    known: set[tuple[int, int]] = set()
    while len(level.tokens):
        texts = level
        for distance in range(1, max(offsets) + 1):
            texts = _continued(language, pushed, texts)
            if distance in offsets:
                occur[texts.tokens[:, -1], texts.key] = True
        known |= {*zip(level.open.tolist(), level.key.tolist(), strict=True)}
        following = _continued(language, pushed, level)
        key = following.tokens[:, -1]
        kept = _first_of_each(following.open, key)
        new = [i for i in kept if (int(following.open[i]), int(key[i])) not in known]
        level = _Texts(following.tokens[new], following.open[new], key[new])
    return occur


@dataclass(frozen=True, eq=False)
class _Texts:
    """Texts of one length that the program can write, what is open after each, and a token."""

    tokens: Int[np.ndarray, "n seq"]
    open: Int[np.ndarray, " n"]  # row of `_open_after`
    key: Int[np.ndarray, " n"]


def _continued(
    language: ToyLanguage, pushed: Int[np.ndarray, "open vocab"], texts: _Texts
) -> _Texts:
    """All texts one token longer, one for every key, last token and what is open; none that are
    longer than the language's."""
    n, length = texts.tokens.shape
    if n == 0 or length == language.config.length:
        return _Texts(np.empty((0, length + 1), dtype=np.int64), *[np.empty(0, dtype=np.int64)] * 2)
    # The last token of what `rows` is given does not matter.
    rows = language.rows(np.pad(texts.tokens, ((0, 0), (0, 1))))[:, -1]
    text, token = np.nonzero(language.distributions.p[rows] > 0)
    open_, key = pushed[texts.open[text], token], texts.key[text]
    kept = _first_of_each(open_, token, key)
    longer = np.column_stack([texts.tokens[text[kept]], token[kept]])
    return _Texts(longer, open_[kept], key[kept])


def _first_of_each(*columns: Int[np.ndarray, " n"]) -> Int[np.ndarray, " kept"]:
    """Index of the first of all rows that agree in every column."""
    if not len(columns[0]):
        return np.empty(0, dtype=np.int64)
    code = np.ravel_multi_index(columns, [int(column.max()) + 1 for column in columns])
    return np.unique(code, return_index=True)[1]


def _open_after(language: ToyLanguage) -> Int[np.ndarray, "open vocab"]:
    """What is open after a token, for everything that can be open before it; row 0: nothing."""
    stacks: list[tuple[str, ...]] = [()]
    table = []
    for stack in stacks:  # it grows on the way
        after = []
        for category in language.vocabulary.categories:
            now = stack
            if stack and category == CLOSERS[stack[-1]]:
                now = stack[:-1]
            elif category in language.config.open_delimiters:
                now = (*stack, category)
            if now not in stacks and len(now) <= language.config.delimiters.max_depth:
                stacks.append(now)
            after.append(stacks.index(now) if now in stacks else stacks.index(stack))
        table.append(after)
    return np.array(table)


def skip_triples(language: ToyLanguage, rules: Iterable[Rule]) -> list[Triple]:
    """The true skip rules, in the order of `rules`."""
    return [t for t, name in boosting_rules(language, rules).items() if name == "skip"]


def verbs_of_names(language: ToyLanguage) -> list[list[int]]:
    """The verbs of each name: the one `never` forbids, then the rest by decreasing probability."""
    builder = DistributionBuilder(language.config, language.vocabulary)
    found = []
    for name in range(len(language.vocabulary.members["name"])):
        p = builder.verbs(name, suppressed=False)
        verbs = np.flatnonzero(p).tolist()
        kept = builder.verbs(name, suppressed=True) if len(verbs) > 1 else 0 * p
        found.append(sorted(verbs, key=lambda verb: (bool(kept[verb] > 0), -p[verb])))
    return found


def after(language: ToyLanguage, *words: int) -> Float[np.ndarray, " vocab"]:
    """p(next) after a topic, a full stop and `words`, whether or not they may follow each other."""
    ids = language.vocabulary.members
    prefix = [ids["topic"][0], ids["period"][0], *words]
    rows = language.rows(np.array([[*prefix, ids["period"][0]]]))
    return language.distributions.p[rows[0, -1]]


def after_pair(
    language: ToyLanguage, key: int, query: int, distance: int
) -> Float[np.ndarray, " vocab"]:
    """p(next) after `query` with `key` that many tokens before it, and full stops between."""
    period = int(language.vocabulary.members["period"][0])
    return after(language, key, *([period] * (distance - 1)), query)


def window_truth(
    language: ToyLanguage, rule: Triple, distances: Iterable[int]
) -> Float[np.ndarray, " distance"]:
    """Change of the log-odds of the rule's output by its key at each distance, in nats; not finite
    where the output is impossible or certain."""
    query, key, output = rule

    def log_odds(p: Float[np.ndarray, " vocab"]) -> np.float64:
        with np.errstate(divide="ignore"):
            return np.log(p[output]) - np.log1p(-p[output])

    without = after(language, query)
    changes = []
    for distance in distances:
        p = after_pair(language, key, query, distance)
        same = p[output] == without[output]
        changes.append(0.0 if same else log_odds(p) - log_odds(without))
    return np.array(changes)


def copying_truth(language: ToyLanguage) -> float:
    """Log-probability of an object's earlier colour minus the mean of the other colours', in nats;
    not finite where those are impossible."""
    colours = language.vocabulary.members["colour"]
    thing = int(language.vocabulary.members["object"][0])
    p = after(language, thing, int(colours[0]), thing)[colours]
    with np.errstate(divide="ignore"):
        log_p = np.log(p)
    return float(log_p[0] - log_p[1:].mean())
