"""The toy language as a program: the governing primitive, exact conditionals, and sampling.

Every latent is a function of the observed prefix. A token is drawn from the same row of
`Distributions` that is reported for its position, so p(token t | tokens before t) is exact.

Position t of labels, entropies and conditionals is about token t given tokens 0 .. t-1. Position 0
is a topic, drawn uniformly, with the label `start`. A model that reads token t-1 predicts position
t.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from zscope.core.errors import DataError
from zscope.toy_language.config import LanguageConfig
from zscope.toy_language.distributions import DistributionBuilder, Distributions
from zscope.toy_language.vocabulary import ToyVocabulary, make_vocabulary

# Codes of the primitives that the last token can trigger, besides its static row.
RECALL, OBJECT, NAME, TRIGGER = 1, 2, 3, 4  # TRIGGER + i: the i-th trigger of skip rules


@dataclass(frozen=True, eq=False)
class Sequences:
    """Sampled sequences.

    Attributes:
        tokens: ids.
        labels: index into LABELS of the primitive that governs the position.
        entropy: of the distribution that the token was drawn from, in nats.
    """

    tokens: Int[np.ndarray, "n seq"]
    labels: Int[np.ndarray, "n seq"]
    entropy: Float[np.ndarray, "n seq"]


@dataclass(frozen=True)
class _SkipTrigger:
    """The rules of one trigger: their anchors, and the row of each rule over each static row."""

    anchors: tuple[int, ...]
    rows: Int[np.ndarray, "rules static"]


class _State:
    """The program's memory of n prefixes, besides their tokens."""

    def __init__(self, n: int, n_objects: int) -> None:
        self.stack = np.zeros(n, dtype=np.int32)  # code of what is open
        self.marker = np.zeros(n, dtype=np.int32)  # 0: no verb yet; 1, 2: the latest one's kind
        self.first = np.full((n, n_objects), -1, dtype=np.int32)  # colour each object had first


class ToyLanguage:
    """The language of a config: `sample`, `rows`, `conditionals`. Immutable once made."""

    vocabulary: ToyVocabulary
    distributions: Distributions

    def __init__(self, config: LanguageConfig) -> None:
        self.config = config
        self.vocabulary = make_vocabulary(config)
        ids = self.vocabulary.members
        builder = DistributionBuilder(config, self.vocabulary)
        self._start = builder.add("start", builder.uniform("topic"))
        stacks = _stacks(config)
        self._pushed = self._stack_table(stacks)
        self._marker = np.zeros(len(self.vocabulary), dtype=np.int32)
        if config.on("context"):
            self._marker[ids["verb_t"]], self._marker[ids["verb_i"]] = 1, 2
        self._static = self._static_table(builder, stacks)
        self._triggers = self._skip_triggers(builder) if config.on("skip") else {}
        self._sets_off = self._special_tokens()
        self._colour = self._index_of("colour")
        self._object = self._index_of("object")
        self._never = self.vocabulary.ids["never"]
        self._again = self._induction_rows(builder)
        self._answer = self._answer_rows(builder)
        self._suppressed = self._suppressed_rows(builder)
        self.distributions = builder.build()

    # --- tables ---------------------------------------------------------------------------------

    def _index_of(self, category: str) -> Int[np.ndarray, " vocab"]:
        """A token's index among the words of a category; -1 outside."""
        index = np.full(len(self.vocabulary), -1, dtype=np.int32)
        members = self.vocabulary.members[category]
        index[members] = np.arange(len(members))
        return index

    def _stack_table(self, stacks: list[tuple[str, ...]]) -> Int[np.ndarray, "stacks vocab"]:
        """Code of the stack after a token; a delimiter that cannot occur changes nothing."""
        code = {stack: i for i, stack in enumerate(stacks)}
        table = np.repeat(np.arange(len(stacks), dtype=np.int32)[:, None], len(self.vocabulary), 1)
        for i, stack in enumerate(stacks):
            inner = stack[-1] if stack else ""
            for token, category in enumerate(self.vocabulary.categories):
                if inner and category in (f"{inner}_close", "quote" if inner == "quote" else ""):
                    table[i, token] = code[stack[:-1]]
                else:
                    table[i, token] = code.get((*stack, category), i)
        return table

    def _static_table(
        self, builder: DistributionBuilder, stacks: list[tuple[str, ...]]
    ) -> Int[np.ndarray, "markers stacks vocab"]:
        """Rows that depend only on the latest verb, the stack and the last token, by these."""
        verbs = ("", "verb_t", "verb_i") if self.config.on("context") else ("",)
        table = np.zeros((len(verbs), len(stacks), len(self.vocabulary)), dtype=np.int32)
        for at in np.ndindex(table.shape[:2]):
            verb, stack = verbs[at[0]], stacks[at[1]]
            for category, ids in self.vocabulary.members.items():
                if category == "name" and self.config.on("bigram"):
                    table[at][ids] = [
                        builder.add("bigram", builder.verbs(i, suppressed=False))
                        for i in range(len(ids))
                    ]
                else:
                    table[at][ids] = self._static_row(builder, verb, stack, category)
        return table

    def _static_row(
        self, builder: DistributionBuilder, verb: str, stack: tuple[str, ...], category: str
    ) -> int:
        """The row after a token of `category`, except the bigrams of names."""
        if category == "object" and self.config.on("novel"):
            return builder.add("novel", builder.uniform("colour"))
        if stack:
            label = "quote" if stack[-1] == "quote" else "bracket"
            return builder.add(label, builder.inside(stack[-1], len(stack)))
        if category == "function" and verb:
            return builder.add("context", builder.by_category(getattr(self.config.context, verb)))
        row = getattr(self.config.transitions, category, self.config.transitions.closed)
        return builder.add("category", builder.by_category(row))

    def _skip_triggers(self, builder: DistributionBuilder) -> dict[int, _SkipTrigger]:
        by_trigger: dict[int, list[tuple[int, int]]] = {}
        for rule in self.config.skip.rules:
            anchor, trigger, output = self.vocabulary.encode(rule)
            by_trigger.setdefault(trigger, []).append((anchor, output))
        n_static, share = len(builder), self.config.skip.p
        found = {}
        for trigger, rules in by_trigger.items():
            rows = np.zeros((len(rules), n_static), dtype=np.int32)
            for base in np.unique(self._static[:, :, trigger]):
                for i, (_, output) in enumerate(rules):
                    p = share * builder.one(output) + (1 - share) * builder.p(base)
                    rows[i, base] = builder.add("skip", p, cause=output)
            found[trigger] = _SkipTrigger(tuple(anchor for anchor, _ in rules), rows)
        return found

    def _induction_rows(self, builder: DistributionBuilder) -> Int[np.ndarray, " colours"]:
        """The row of each first colour."""
        if not self.config.on("induction"):
            return np.empty(0, dtype=np.int32)
        p, colours = self.config.induction.p, self.vocabulary.members["colour"]
        rows = [builder.add("induction", builder.noisy(c, p, "colour")) for c in colours]
        return np.array(rows, dtype=np.int32)

    def _answer_rows(self, builder: DistributionBuilder) -> Int[np.ndarray, " vocab"]:
        """The row after `recall` for each token 0. Where that is no topic, as in no text, it is the
        row without long_range."""
        ids = self.vocabulary.members
        rows = np.full(len(self.vocabulary), self._static[0, 0, ids["recall"][0]])
        if self.config.on("long_range"):
            p = self.config.long_range.p
            rows[ids["topic"]] = [
                builder.add("long_range", builder.noisy(a, p, "answer")) for a in ids["answer"]
            ]
        return rows

    def _suppressed_rows(self, builder: DistributionBuilder) -> Int[np.ndarray, " vocab"]:
        """The row of each name with `never` before it."""
        rows = np.zeros(len(self.vocabulary), dtype=np.int32)
        if self.config.on("suppress"):
            names = self.vocabulary.members["name"]
            rows[names] = [
                builder.add("suppress", builder.verbs(i, suppressed=True))
                for i in range(len(names))
            ]
        return rows

    def _special_tokens(self) -> Int[np.ndarray, " vocab"]:
        """The code of the primitive that each token triggers when it is the last one."""
        kind = np.zeros(len(self.vocabulary), dtype=np.int32)
        for primitive, category, code in (
            ("long_range", "recall", RECALL),
            ("induction", "object", OBJECT),
            ("suppress", "name", NAME),
        ):
            if self.config.on(primitive):  # type: ignore[arg-type]
                kind[self.vocabulary.members[category]] = code
        for i, trigger in enumerate(self._triggers):
            kind[trigger] = TRIGGER + i
        return kind

    # --- the program ----------------------------------------------------------------------------

    def _run(
        self,
        tokens: Int[np.ndarray, "seq n"],
        choose: Callable[[int, Int[np.ndarray, " n"]], None],
    ) -> Int[np.ndarray, "seq n"]:
        """Rows of every position. `choose(t, rows)` must make sure that tokens[t] is set."""
        length, n = tokens.shape
        state = _State(n, len(self.vocabulary.members["object"]))
        rows = np.empty((length, n), dtype=np.int32)
        for t in range(length):
            rows[t] = self._rows_at(t, tokens, state) if t else self._start
            choose(t, rows[t])
            if t:
                self._remember(t, tokens, state)
        return rows

    def _rows_at(
        self, t: int, tokens: Int[np.ndarray, "seq n"], state: _State
    ) -> Int[np.ndarray, " n"]:
        """The row of position t >= 1 of every sequence."""
        last = tokens[t - 1]
        _, n_stacks, size = self._static.shape
        rows = self._static.ravel().take((state.marker * n_stacks + state.stack) * size + last)
        kind = self._sets_off.take(last)
        if self.config.on("long_range"):
            i = np.flatnonzero(kind == RECALL)
            rows[i] = self._answer[tokens[0, i]]
        if self.config.on("induction"):
            i = np.flatnonzero(kind == OBJECT)
            first = state.first[i, self._object[last[i]]]
            seen = first >= 0
            rows[i[seen]] = self._again[first[seen]]
        for code, trigger in enumerate(self._triggers.values(), TRIGGER):
            i = np.flatnonzero(kind == code)
            window = tokens[max(0, t - 1 - self.config.skip.max_skip) : t - 1, i]
            static = new = rows[i]
            for anchor, over in zip(trigger.anchors[::-1], trigger.rows[::-1], strict=True):
                new = np.where((window == anchor).any(axis=0), over[static], new)
            rows[i] = new
        if self.config.on("suppress"):
            i = np.flatnonzero(kind == NAME)
            window = tokens[max(0, t - 1 - self.config.suppress.window) : t - 1, i]
            i = i[(window == self._never).any(axis=0)]
            rows[i] = self._suppressed[last[i]]
        return rows

    def _remember(self, t: int, tokens: Int[np.ndarray, "seq n"], state: _State) -> None:
        """Update the state with token t >= 1."""
        now, last = tokens[t], tokens[t - 1]
        size = len(self.vocabulary)
        if self.config.open_delimiters:
            state.stack = self._pushed.ravel().take(state.stack * size + now)
        if self.config.on("context"):
            marker = self._marker.take(now)
            state.marker = np.where(marker > 0, marker, state.marker)
        if self.config.on("induction"):
            i = np.flatnonzero(self._object.take(last) >= 0)
            thing, colour = self._object[last[i]], self._colour[now[i]]
            new = (colour >= 0) & (state.first[i, thing] < 0)
            state.first[i[new], thing[new]] = colour[new]

    # --- questions to it ------------------------------------------------------------------------

    def sample(self, n: int, rng: np.random.Generator) -> Sequences:
        """Sample n sequences; several thousand at a time cost least per sequence."""
        size = len(self.vocabulary)
        keep, alias = (table.ravel() for table in self.distributions.alias)
        cells = rng.random((self.config.length, n))
        tokens = np.empty((self.config.length, n), dtype=np.int32)

        def draw(t: int, rows: Int[np.ndarray, " n"]) -> None:
            cell = cells[t] * size
            token = cell.astype(np.int32)
            at = rows * size + token
            tokens[t] = np.where(cell - token < keep.take(at), token, alias.take(at))

        rows = self._run(tokens, draw).T
        return Sequences(
            np.ascontiguousarray(tokens.T, dtype=np.int64),
            self.distributions.label.take(rows),
            self.distributions.entropy.take(rows),
        )

    def rows(self, tokens: Int[np.ndarray, "n seq"]) -> Int[np.ndarray, "n seq"]:
        """Index into `distributions` of every position, whether or not the tokens are possible.

        Raises DataError for ids that are no tokens.
        """
        tokens = np.asarray(tokens)
        if tokens.ndim != 2 or tokens.dtype.kind not in "iu":
            raise DataError(
                f"tokens must be whole numbers [n, seq], not {tokens.dtype} {tokens.shape}"
            )
        if tokens.size and not 0 <= tokens.min() <= tokens.max() < len(self.vocabulary):
            raise DataError(
                f"token ids run from {tokens.min()} to {tokens.max()}; "
                f"the language has 0 to {len(self.vocabulary) - 1}"
            )
        return self._run(np.ascontiguousarray(tokens.T, dtype=np.int32), lambda t, rows: None).T

    def conditionals(
        self, tokens: Int[np.ndarray, "n seq"]
    ) -> tuple[Float[np.ndarray, "n seq vocab"], Int[np.ndarray, "n seq"]]:
        """p(token t | tokens before t) for every token of the vocabulary, and labels.

        The last token of a sequence is not used. Takes 8 n seq vocab bytes. Raises DataError for a
        sequence that the language cannot produce.
        """
        rows = self.rows(tokens)
        possible = self.distributions.p[rows, tokens] > 0
        if not possible.all():
            i, t = np.argwhere(~possible)[0]
            prefix = self.vocabulary.decode(tokens[i, max(0, t - 8) : t])
            raise DataError(
                f"sequence {i} is not of this language: {self.vocabulary.tokens[tokens[i, t]]!r} "
                f"cannot stand at position {t}, after: {'... ' if t > 8 else ''}{prefix}"
            )
        return self.distributions.p[rows], self.distributions.label[rows]


def _stacks(config: LanguageConfig) -> list[tuple[str, ...]]:
    """Every stack of open delimiters, the empty one first; no quotation is directly in another."""
    stacks: list[tuple[str, ...]] = [()]
    longest = stacks
    for _ in range(config.delimiters.max_depth):
        longest = [
            (*stack, d)
            for stack in longest
            for d in config.open_delimiters
            if not (d == "quote" and stack[-1:] == ("quote",))
        ]
        stacks = stacks + longest
    return stacks
