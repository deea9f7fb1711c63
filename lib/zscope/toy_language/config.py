"""The configuration of the toy language: its primitives and their numbers."""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from zscope.config.base import Probability, Section, Unit, WrongKeyError

# In the order in which they govern.
Primitive = Literal[
    "long_range",
    "induction",
    "novel",
    "skip",
    "suppress",
    "bigram",
    "bracket",
    "quote",
    "context",
]
Target = Literal[
    "name",
    "verb_t",
    "verb_i",
    "place",
    "adjective",
    "function",
    "object",
    "colour",
    "answer",
    "never",
    "recall",
    "period",
    "round",
    "square",
    "quote",
]
Delimiter = Literal["round", "square", "quote"]
Words = Annotated[int, Field(ge=1, le=100), Unit("tokens")]
Distance = Annotated[int, Field(ge=1, le=1024), Unit("tokens")]
Share = Annotated[float, Field(gt=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1e6)]
Row = Annotated[dict[Target, Weight], Field(min_length=1)]


WORDS: dict[str, tuple[str, ...]] = {
    "name": ("alice", "bob", "carol", "dave", "erin", "frank"),
    "verb_t": ("sees", "helps", "finds", "knows", "likes", "meets", "calls", "tells"),
    "verb_i": ("sleeps", "runs", "waits", "sings", "falls", "smiles"),
    "place": ("beach", "garden", "lake", "office", "forest", "market"),
    "adjective": ("big", "old", "new", "small", "quiet", "bright"),
    "function": ("at", "and", "or", "to", "the", "with"),
    "object": ("ball", "cup", "hat", "key", "lamp", "box"),
    "colour": ("red", "blue", "green", "black", "white", "brown"),
    "topic": ("music", "sport", "food", "travel"),
    "answer": ("song", "goal", "bread", "train"),
}


class VocabularyConfig(Section):
    """How many words each category has. Words beyond those of the package are numbered."""

    name: Words = 6
    """Names, which the bigram and suppression act on."""
    verb_t: Words = 8
    """Transitive verbs, which the bigram leads to."""
    verb_i: Words = 6
    """Intransitive verbs."""
    place: Words = 6
    """Places, the anchors of skip rules."""
    adjective: Words = 6
    """Adjectives, the triggers of skip rules."""
    function: Words = 6
    """Function words, the outputs of skip rules."""
    object: Words = 6
    """Objects, which are given a colour on their first occurrence."""
    colour: Words = 6
    """Colours, which follow objects."""
    topic: Words = 4
    """Topics, one of which opens a sequence; there is an answer for each."""

    def words(self, category: str) -> tuple[str, ...]:
        """The words of a category of WORDS."""
        n = getattr(self, "topic" if category == "answer" else category)
        known = WORDS[category]
        return known[:n] + tuple(f"{category}{i + 1}" for i in range(len(known), n))


class BigramConfig(Section):
    """A name leads to verbs. With m weights, name i leads to transitive verbs m i, m i + 1, ...;
    the first verb follows the last. alice: sees 0.7, helps 0.2, finds 0.1."""

    weights: Annotated[list[Share], Field(min_length=1)] = [0.7, 0.2, 0.1]
    """Probabilities of a name's verbs, in decreasing order, with sum 1."""

    @model_validator(mode="after")
    def _weights(self) -> Self:
        if abs(sum(self.weights) - 1) > 1e-9:
            raise WrongKeyError("weights", f"have the sum {sum(self.weights):.6g}, not 1")
        if any(a < b for a, b in zip(self.weights, self.weights[1:], strict=False)):
            raise WrongKeyError(
                "weights", f"must fall: the first is of the top verb, not {self.weights}"
            )
        return self


class SuppressConfig(Section):
    """A name with `never` before it loses its top verb; the other verbs share its probability."""

    window: Distance = 6
    """Largest distance from the name back to `never`."""


class SkipConfig(Section):
    """An adjective with its anchor before it leads to a function word."""

    rules: list[list[str]] = [
        ["beach", "big", "at"],
        ["garden", "old", "and"],
        ["lake", "new", "or"],
        ["office", "small", "to"],
    ]
    """Rules [anchor place, trigger adjective, function word]. If two hold, the first wins."""
    max_skip: Distance = 8
    """Largest distance from the adjective back to its anchor."""
    p: Probability = 0.9
    """Share of the rule's output; the rest is distributed as without the rule."""

    @model_validator(mode="after")
    def _three_words(self) -> Self:
        for i, rule in enumerate(self.rules):
            if len(rule) != 3:
                n = f"{len(rule)} words, not 3 [anchor, trigger, output]"
                raise WrongKeyError("rules", f"rule {i} has {n}: {rule}")
        return self


class InductionConfig(Section):
    """An object that had a colour before has the same colour again."""

    p: Probability = 0.9
    """Share of the first colour; the rest is uniform over all colours."""


class LongRangeConfig(Section):
    """`recall` leads to the answer of the topic at position 0."""

    p: Probability = 0.9
    """Share of the right answer; the rest is uniform over all answers."""


class DelimiterConfig(Section):
    """Brackets and quotes: the innermost open one governs, and only it can be closed."""

    max_depth: int = Field(2, ge=1, le=5)
    """Largest number open at once, brackets and quotes together."""
    close: float = Field(0.23, gt=0, lt=1)
    """Probability of closing the innermost."""
    open: float = Field(0.15, ge=0, lt=1)
    """Probability of opening another one of any kind; at max_depth the others share it."""
    round: Row = {"place": 3, "adjective": 1}
    """Content of ( ): weights of categories."""
    square: Row = {"verb_i": 2, "function": 1}
    """Content of [ ]."""
    quote: Row = {"name": 1, "place": 1}
    """Content of a quotation."""

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if self.close + self.open >= 1:
            raise WrongKeyError(
                "close", f"and open have the sum {self.close + self.open:g}: content needs a share"
            )
        return self


class ContextConfig(Section):
    """After a function word, the next category depends on the kind of the latest verb."""

    verb_t: Row = {"object": 3, "name": 1}
    """Weights if the latest verb is transitive."""
    verb_i: Row = {"place": 3, "adjective": 1}
    """Weights if it is intransitive. Before the first verb, the ordinary ones apply."""


class TransitionsConfig(Section):
    """The category bigram outside delimiters: weights of the next token's category by that of the
    last token; words within a category are equally likely. Delimiters that are off are left out."""

    topic: Row = {"name": 4, "adjective": 3, "place": 3, "function": 2}
    """After the topic at position 0."""
    name: Row = {"verb_t": 4, "verb_i": 1}
    """After a name (if neither bigram nor suppression governs)."""
    verb_t: Row = {
        "object": 9,
        "period": 6,
        "place": 4,
        "adjective": 4,
        "function": 3,
        "verb_i": 1,
        "round": 1,
        "quote": 1,
    }
    """After a transitive verb."""
    verb_i: Row = {
        "period": 4,
        "adjective": 4,
        "function": 3,
        "place": 3,
        "name": 3,
        "never": 1,
        "recall": 1,
        "round": 2,
        "square": 1,
    }
    """After an intransitive verb."""
    place: Row = {
        "adjective": 10,
        "period": 5,
        "function": 1,
        "verb_i": 1,
        "name": 1,
        "never": 1,
        "square": 2,
        "round": 1,
        "quote": 1,
    }
    """After a place."""
    adjective: Row = {"object": 8, "name": 5, "place": 4, "function": 2, "verb_i": 1}
    """After an adjective (if no skip rule governs)."""
    function: Row = {"object": 8, "adjective": 4, "name": 3, "place": 2, "verb_i": 1, "never": 1}
    """After a function word."""
    object: Row = {"colour": 4, "function": 2, "verb_i": 2, "place": 1, "period": 1}
    """After an object (if neither induction nor novel governs)."""
    colour: Row = {
        "function": 7,
        "adjective": 6,
        "place": 5,
        "period": 5,
        "verb_i": 2,
        "name": 2,
        "recall": 1,
        "round": 2,
        "square": 2,
    }
    """After a colour."""
    answer: Row = {"function": 5, "place": 3, "period": 2, "verb_i": 1}
    """After an answer."""
    never: Row = {"name": 12, "adjective": 1}
    """After `never`."""
    recall: Row = {"answer": 1}
    """After `recall` (if long_range is off)."""
    period: Row = {
        "name": 4,
        "adjective": 4,
        "recall": 3,
        "place": 2,
        "never": 1,
        "function": 1,
        "quote": 1,
    }
    """After a full stop."""
    closed: Row = {"adjective": 8, "function": 4, "name": 3, "verb_i": 2, "period": 1}
    """After a delimiter that closed the outermost one."""


class LanguageConfig(Section):
    """The toy language: which primitives govern, and with what numbers.

    The first primitive that matches, in the order long_range, induction, novel, skip, suppress,
    bigram, bracket, quote, context, governs the next token. If none does, the category bigram
    governs it.
    """

    length: Annotated[int, Unit("tokens")] = Field(64, ge=2, le=4096)
    """Tokens of a sequence, the topic at position 0 included."""
    primitives: list[Primitive] = [p for p in get_args(Primitive) if p not in ("quote", "context")]
    """Primitives that are on; quote and context can be added. The category bigram is always on."""
    vocabulary: VocabularyConfig = VocabularyConfig()
    """Sizes of the categories."""
    transitions: TransitionsConfig = TransitionsConfig()
    """The category bigram, which sets how often every primitive occurs."""
    bigram: BigramConfig = BigramConfig()
    """Names and their verbs."""
    suppress: SuppressConfig = SuppressConfig()
    """The effect of `never` on the top verb."""
    skip: SkipConfig = SkipConfig()
    """Skip rules."""
    induction: InductionConfig = InductionConfig()
    """Objects and their colours."""
    long_range: LongRangeConfig = LongRangeConfig()
    """Questions about the topic, asked by `recall`."""
    delimiters: DelimiterConfig = DelimiterConfig()
    """Brackets and quotes."""
    context: ContextConfig = ContextConfig()
    """Transitions that depend on the latest verb."""

    def on(self, primitive: Primitive) -> bool:
        return primitive in self.primitives

    def without(self, *primitives: Primitive) -> LanguageConfig:
        """The language with these off. Raises ValidationError if it needs one of them."""
        kept = [p for p in self.primitives if p not in primitives]
        return LanguageConfig.model_validate({**self.model_dump(), "primitives": kept})

    @property
    def open_delimiters(self) -> tuple[Delimiter, ...]:
        """The delimiters that can be opened."""
        brackets: tuple[Delimiter, ...] = ("round", "square") if self.on("bracket") else ()
        return (*brackets, "quote") if self.on("quote") else brackets

    def possible(self, row: Row) -> dict[str, float]:
        """A row's weights above 0, without the delimiters that are off."""
        off = {*get_args(Delimiter)} - {*self.open_delimiters}
        return {target: w for target, w in row.items() if w > 0 and target not in off}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.primitives)) != len(self.primitives):
            raise WrongKeyError("primitives", f"repeats a primitive: {self.primitives}")
        n_verbs, n_weights = self.vocabulary.verb_t, len(self.bigram.weights)
        if n_verbs < n_weights:
            raise WrongKeyError(
                "bigram",
                f"{n_weights} weights need as many transitive verbs; verb_t is {n_verbs}",
                "vocabulary",
            )
        if self.on("suppress") and n_weights < 2:
            raise WrongKeyError(
                "bigram",
                "1 weight leaves a suppressed name without a verb: give 2, or turn suppress off",
                "primitives",
            )
        if self.on("skip"):
            self._check_rules()
        self._check_rows()
        return self

    def _check_rules(self) -> None:
        seen = set()
        for i, rule in enumerate(self.skip.rules):
            for word, category in zip(rule, ("place", "adjective", "function"), strict=True):
                words = self.vocabulary.words(category)
                if word not in words:
                    raise WrongKeyError(
                        "skip",
                        f"rule {i}: {word!r} is not among the {len(words)} words of {category}: "
                        f"{', '.join(words[:12])}{', ...' if len(words) > 12 else ''}",
                        "vocabulary",
                    )
            if (pair := tuple(rule[:2])) in seen:
                raise WrongKeyError("skip", f"rule {i}: {' .. '.join(pair)} has a rule already")
            seen.add(pair)

    def _check_rows(self) -> None:
        kinds = self.open_delimiters
        inside = [("delimiters", str(kind), getattr(self.delimiters, kind)) for kind in kinds]
        for block, key, row in inside:
            if nested := ", ".join(sorted({*get_args(Delimiter)} & set(row))):
                raise WrongKeyError(block, f"{key} holds {nested}: nesting is set by open")
        rows = [
            *inside,
            *(("transitions", key, row) for key, row in self.transitions),
            *(("context", key, row) for key, row in self.context if self.on("context")),
        ]
        for block, key, row in rows:
            if not self.possible(row):
                nothing = f"{key} has no weight above 0 for anything that is on: {row}"
                raise WrongKeyError(block, nothing, "primitives")
