"""The configuration of the toy language study (seed 001)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from zscope.config.base import (
    Flag,
    Probability,
    Section,
    Seeds,
    Steps,
    Unit,
    WrongKeyError,
    check_warmup,
)

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
ConditionName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Words = Annotated[int, Field(ge=1, le=100), Unit("tokens")]
Distance = Annotated[int, Field(ge=1, le=1024), Unit("tokens")]
Weight = Annotated[float, Field(ge=0, le=1e6)]
Row = Annotated[dict[Target, Weight], Field(min_length=1)]

REFERENCE = "reference"  # the condition that the others are compared with
DEFAULT_MODELS: dict[str, dict[str, Any]] = {"softmax": {"attention": "softmax", "rms_norm": True}}
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
    """How many words each category has; beyond those of the package, words are numbered."""

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
    """A name leads to verbs: name i to the transitive verbs m i, m i + 1, ... for m weights, the
    last verb being followed by the first. alice: sees .7, helps .2, finds .1."""

    weights: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1)] = [
        0.7,
        0.2,
        0.1,
    ]
    """Probabilities of a name's verbs, falling, with sum 1."""

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
    """A name with `never` before it loses its top verb; the others share its probability."""

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
    """Rules [anchor place, trigger adjective, function word]; of two that hold the first wins."""
    max_skip: Distance = 8
    """Largest distance from the adjective back to its anchor."""
    p: Probability = 0.9
    """Share of the rule; the rest is what would govern without it."""

    @model_validator(mode="after")
    def _three_words(self) -> Self:
        for i, rule in enumerate(self.rules):
            if len(rule) != 3:
                raise WrongKeyError(
                    "rules",
                    f"rule {i} has {len(rule)} words, not 3 [anchor, trigger, output]: {rule}",
                )
        return self


class InductionConfig(Section):
    """An object that was followed by a colour before is followed by the same one."""

    p: Probability = 0.9
    """Share of the first colour; the rest is uniform over colours."""


class LongRangeConfig(Section):
    """`recall` leads to the answer of the topic at position 0."""

    p: Probability = 0.9
    """Share of the right answer; the rest is uniform over answers."""


class DelimiterConfig(Section):
    """Brackets and quotes: the innermost one that is open governs, and only it can be closed."""

    max_depth: int = Field(2, ge=1, le=5)
    """Most that are open at once, brackets and quotes together."""
    close: float = Field(0.23, gt=0, lt=1)
    """Probability of closing the innermost."""
    open: float = Field(0.15, ge=0, lt=1)
    """Probability of opening another, whichever; at max_depth it falls to the others."""
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
    """Row if the latest verb is transitive."""
    verb_i: Row = {"place": 3, "adjective": 1}
    """Row if it is intransitive; the ordinary row applies before the first verb."""


class TransitionsConfig(Section):
    """Category bigram outside delimiters: weights of the next category by that of the last token,
    uniform over the words inside. Delimiters that are off are left out."""

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
    """The toy language (seed 001): which primitives govern, and with what numbers.

    Of the primitives that match, the first in the order long_range, induction, novel, skip,
    suppress, bigram, bracket, quote, context governs the next token; else the category bigram.
    """

    length: Annotated[int, Unit("tokens")] = Field(64, ge=2, le=4096)
    """Tokens of a sequence, the topic at position 0 included."""
    primitives: list[Primitive] = [
        "long_range",
        "induction",
        "novel",
        "skip",
        "suppress",
        "bigram",
        "bracket",
    ]
    """Those that are on. quote and context are further ones; the category bigram is always on."""
    vocabulary: VocabularyConfig = VocabularyConfig()
    """Sizes of the categories."""
    transitions: TransitionsConfig = TransitionsConfig()
    """The category bigram: it sets how often every primitive occurs."""
    bigram: BigramConfig = BigramConfig()
    """Names and their verbs."""
    suppress: SuppressConfig = SuppressConfig()
    """What `never` does to the top verb."""
    skip: SkipConfig = SkipConfig()
    """Skip rules."""
    induction: InductionConfig = InductionConfig()
    """Objects and their colours."""
    long_range: LongRangeConfig = LongRangeConfig()
    """What `recall` asks about the topic."""
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
        off = {"round", "square", "quote"} - set(self.open_delimiters)
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
        inside: list[tuple[str, str, Row]] = [
            ("delimiters", d, getattr(self.delimiters, d)) for d in self.open_delimiters
        ]
        for block, key, row in inside:
            if nested := {"round", "square", "quote"} & set(row):
                raise WrongKeyError(
                    block, f"{key} holds {', '.join(sorted(nested))}: nesting is set by open"
                )
        rows = [
            *inside,
            *(("transitions", key, row) for key, row in self.transitions),
            *(("context", key, row) for key, row in self.context if self.on("context")),
        ]
        for block, key, row in rows:
            if not self.possible(row):
                raise WrongKeyError(
                    block,
                    f"{key} has no weight above 0 for anything that is on: {row}",
                    "primitives",
                )


class TensorModelConfig(Section):
    """The attention-only transformer (docs/toylang.md has its formulas)."""

    n_layers: int = Field(2, ge=1, le=8)
    """Layers of heads; there are no MLPs."""
    n_heads: int = Field(4, ge=1)
    """Heads of a layer."""
    d_model: int = Field(64, ge=2)
    """Width of the residual stream."""
    d_head: int = Field(16, ge=2)
    """Width of a head; even, for the rotary embedding."""
    attention: Literal["bilinear", "softmax"] = "bilinear"
    """Product of two scores (a tensor transformer), or softmax of one."""
    rms_norm: Flag = False
    """RMSNorm before every attention and before the unembedding; the weights of such a model are
    not read, for it is no polynomial."""
    residual: Literal["add", "lerp"] = "add"
    """Layers add to the stream, or are interpolated with it."""
    lerp: float = Field(0.5, gt=0, lt=1)
    """The layer's share of residual: lerp."""
    rope_base: float = Field(1e4, gt=0)
    """Base of the rotary embedding."""

    @model_validator(mode="after")
    def _even(self) -> Self:
        if self.d_head % 2:
            raise WrongKeyError("d_head", f"must be even, for the rotary embedding: {self.d_head}")
        return self

    @property
    def is_polynomial(self) -> bool:
        """Whether weights can be read and patches are exact."""
        return self.attention == "bilinear" and not self.rms_norm


class ToyTraining(Section):
    """Muon on queries, keys, values and outputs, AdamW on the embeddings; data never repeat."""

    steps: Steps = Field(1200, ge=10)
    """Optimizer steps."""
    batch_size: Annotated[int, Unit("sequences")] = Field(64, ge=1)
    """Fresh sequences of a batch."""
    muon_lr: float = Field(0.02, gt=0)
    """Peak learning rate of Muon."""
    adamw_lr: float = Field(3e-3, gt=0)
    """Peak learning rate of AdamW."""
    warmup_steps: Steps = Field(50, ge=0)
    """Steps over which the learning rates rise linearly from 0."""
    final_lr_fraction: Probability = 0.02
    """Share of the peak learning rates that the linear decay ends at."""
    grad_clip: float = Field(1.0, gt=0)
    """Largest global norm of the gradient."""
    eval_sequences: Annotated[int, Unit("sequences")] = Field(256, ge=2)
    """Fixed sequences that the excess is measured on."""
    eval_every: Steps = Field(50, ge=1)
    """Steps between evaluations; also at 0, at the last, and log-spaced before the first."""
    checkpoints_per_doubling: int = Field(3, ge=1, le=20)
    """Checkpoints between a step and its double, from step 1 on; also at 0 and the last."""

    @model_validator(mode="after")
    def _warmup(self) -> Self:
        check_warmup(self.warmup_steps, self.steps)
        return self

    @property
    def checkpoint_steps(self) -> tuple[int, ...]:
        """0, then log-spaced, then the last."""
        return tuple(sorted({0, *self._log_spaced(self.steps), self.steps}))

    @property
    def eval_steps(self) -> tuple[int, ...]:
        """0, log-spaced up to `eval_every`, then its multiples, and the last."""
        early = self._log_spaced(min(self.eval_every, self.steps))
        regular = range(self.eval_every, self.steps, self.eval_every)
        return tuple(sorted({0, *early, *regular, self.steps}))

    def _log_spaced(self, last: int) -> set[int]:
        n = math.ceil(math.log2(last) * self.checkpoints_per_doubling) + 1
        every = (round(2 ** (i / self.checkpoints_per_doubling)) for i in range(n))
        return {step for step in every if step < last}


def _check_without(language: LanguageConfig, key: str, *primitives: Primitive) -> None:
    """Raise WrongKeyError, of `key`, if the language makes no sense without these."""
    try:
        language.without(*primitives)
    except ValidationError as error:
        what = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise WrongKeyError(
            key, f"impossible without {', '.join(primitives)}: {what}", "language"
        ) from None


class ToyRunConfig(Section):
    """What a run is made from, but for its seed."""

    language: LanguageConfig = LanguageConfig()
    """The language that it is trained and evaluated on."""
    model: TensorModelConfig = TensorModelConfig()
    """The transformer."""
    training: ToyTraining = ToyTraining()
    """How it is trained."""
    delayed: dict[Primitive, Steps] = {}
    """Primitives that are absent from the training data before a step."""

    @model_validator(mode="after")
    def _delayed(self) -> Self:
        for primitive, step in self.delayed.items():
            if not self.language.on(primitive):
                raise WrongKeyError("delayed", f"{primitive} is not on", "primitives")
            if not 0 < step < self.training.steps:
                raise WrongKeyError(
                    "delayed", f"{primitive}: {step} is not within 1 ... {self.training.steps - 1}"
                )
        if self.delayed:
            _check_without(self.language, "delayed", *self.delayed)
        return self

    @property
    def stages(self) -> dict[int, LanguageConfig]:
        """The language of the training data from a step on, by that step; the first is 0."""
        return {
            start: self.language.without(*(p for p, step in self.delayed.items() if step > start))
            for start in sorted({0, *self.delayed.values()})
        }


class DependencyConfig(Section):
    """Runs with one primitive removed or delayed, to see which onsets move."""

    removed: list[Primitive] = ["bigram", "skip", "bracket", "long_range"]
    """Primitives that are removed, one in each condition."""
    delayed: list[Primitive] = ["skip"]
    """Primitives that are delayed, one in each condition."""
    delay: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Share of the steps before which a delayed primitive is absent."""
    seeds: Seeds = [0, 1, 2]
    """Seeds of each; those of the reference are used for the comparison."""


class ReadoutConfig(Section):
    """What is read from the weights."""

    max_offset: Distance = 16
    """Largest distance of the window profile."""
    rule_offsets: Distance = 8
    """Distances 1 ... this that the rule search and the induction readout are the mean of."""
    top: int = Field(100, ge=10, le=10000)
    """Triples of the rule search that are kept."""
    random_heads: int = Field(10, ge=1)
    """Random sets of heads that an ablation of named heads is compared with."""


class ToyOnsetConfig(Section):
    """When a primitive counts as learned."""

    excess: Probability = 0.1
    """Share of the first evaluation's excess that it must fall below. With the default language
    knowledge of the last token alone leaves .25 to .4 of what depends on more."""
    consecutive: int = Field(2, ge=1)
    """Evaluations (or checkpoints) in a row that must be past the threshold."""


class ToylangConfig(Section):
    """The toy language and tensor transformers (seed 001)."""

    run: ToyRunConfig = ToyRunConfig()
    """The reference: every condition has this unless it says otherwise."""
    seeds: Seeds = [0, 1, 2, 3, 4]
    """Seeds of the reference and of every model."""
    models: dict[ConditionName, TensorModelConfig] = {
        name: TensorModelConfig.model_validate(own) for name, own in DEFAULT_MODELS.items()
    }
    """Other transformers on the same data; a key that is left out is that of run.model."""
    dependency: DependencyConfig = DependencyConfig()
    """Which primitive waits for which."""
    readouts: ReadoutConfig = ReadoutConfig()
    """Weights-only readouts and ablations."""
    onset: ToyOnsetConfig = ToyOnsetConfig()
    """Definition of an onset."""
    n_sequences: Annotated[int, Unit("sequences")] = Field(500, ge=2)
    """Sampled sequences in the table."""
    floor_sequences: Annotated[int, Unit("sequences")] = Field(8192, ge=2)
    """Sequences that the floors are measured on."""
    rule_sequences: Annotated[int, Unit("sequences")] = Field(64, ge=1)
    """Sequences whose every token is edited to find the true rules."""

    @model_validator(mode="before")
    @classmethod
    def _overlay(cls, raw: Any) -> Any:
        """Lay each of `models` over run.model."""
        if not isinstance(raw, Mapping):
            return raw
        run, models = raw.get("run"), raw.get("models", DEFAULT_MODELS)
        model = run.get("model") if isinstance(run, Mapping) else None
        if not isinstance(model, Mapping) or not isinstance(models, Mapping):
            return raw
        try:
            TensorModelConfig.model_validate(model)
        except ValidationError:
            return raw  # it is named where it stands, and once
        laid = {
            name: {**model, **own} if isinstance(own, Mapping) else own
            for name, own in models.items()
        }
        return {**raw, "models": laid}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for key, seeds in (("seeds", self.seeds), ("dependency", self.dependency.seeds)):
            if len(set(seeds)) != len(seeds):
                raise WrongKeyError(key, f"repeats a seed: {seeds}")
        if extra := sorted({*self.dependency.seeds} - {*self.seeds}):
            raise WrongKeyError(
                "dependency", f"seeds {extra} have no run of the reference to compare with", "seeds"
            )
        for key in ("removed", "delayed"):
            primitives = getattr(self.dependency, key)
            if len(set(primitives)) != len(primitives):
                raise WrongKeyError("dependency", f"{key} repeats a primitive: {primitives}")
            for primitive in primitives:
                if not self.run.language.on(primitive):
                    raise WrongKeyError("dependency", f"{primitive} is not on", "run")
                _check_without(self.run.language, "dependency", primitive)
        taken = {REFERENCE, *self.dependency_conditions}
        if clash := sorted(taken & {*self.models}):
            raise WrongKeyError("models", f"the name {clash[0]} is that of another condition")
        return self

    @cached_property
    def dependency_conditions(self) -> dict[str, tuple[Literal["removed", "delayed"], Primitive]]:
        """What is done to which primitive, by the name of the condition."""
        removed = {f"without_{p}": ("removed", p) for p in self.dependency.removed}
        delayed = {f"delayed_{p}": ("delayed", p) for p in self.dependency.delayed}
        return {**removed, **delayed}  # type: ignore[dict-item]

    def _changed(self, how: str, primitive: Primitive) -> ToyRunConfig:
        """The run with a primitive removed or delayed."""
        run = self.run
        if how == "removed":
            others = {p: step for p, step in run.delayed.items() if p != primitive}
            language = run.language.without(primitive)
            return run.model_copy(update={"language": language, "delayed": others})
        steps = run.training.steps
        step = min(max(1, round(self.dependency.delay * steps)), steps - 1)
        return run.model_copy(update={"delayed": {**run.delayed, primitive: step}})

    @cached_property
    def conditions(self) -> dict[str, ToyRunConfig]:
        """All that is trained, by name; the first is the reference."""
        models = {
            name: self.run.model_copy(update={"model": model})
            for name, model in self.models.items()
        }
        dependency = {
            name: self._changed(how, primitive)
            for name, (how, primitive) in self.dependency_conditions.items()
        }
        return {REFERENCE: self.run, **models, **dependency}

    def seeds_of(self, condition: str) -> list[int]:
        """Seeds of a condition's runs."""
        own = condition in self.dependency_conditions
        return list(self.dependency.seeds if own else self.seeds)
