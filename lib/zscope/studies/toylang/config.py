"""The configuration of the toy language study."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from zscope.config.base import (
    Flag,
    Probability,
    Section,
    Seeds,
    Steps,
    TrainingSection,
    Unit,
    WrongKeyError,
)
from zscope.config.schedules import log_spaced
from zscope.studies.toylang.tables import REFERENCE
from zscope.toy_language.config import Distance, LanguageConfig, Primitive

ConditionName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
DEFAULT_MODELS: dict[str, dict[str, Any]] = {"softmax": {"attention": "softmax", "rms_norm": True}}


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
    """RMSNorm before every attention and before the unembedding. Such a model is no polynomial, so
    its weights are not read."""
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


class ToyTraining(TrainingSection):
    """Muon on queries, keys, values and outputs, AdamW on the embeddings. Every batch is sampled
    afresh."""

    steps: Steps = Field(1200, ge=10)
    final_lr_fraction: Probability = 0.02
    batch_size: Annotated[int, Unit("sequences")] = Field(64, ge=1)
    """Sequences in a batch."""
    muon_lr: float = Field(0.02, gt=0)
    """Peak learning rate of Muon."""
    adamw_lr: float = Field(3e-3, gt=0)
    """Peak learning rate of AdamW."""
    eval_sequences: Annotated[int, Unit("sequences")] = Field(256, ge=2)
    """Fixed sequences that the excess is measured on."""
    eval_every: Steps = Field(50, ge=1)
    """Steps between evaluations. There are more at step 0, at the last step, and log-spaced before
    the first."""
    checkpoints_per_doubling: int = Field(3, ge=1, le=20)
    """Checkpoints between a step and its double, from step 1 on. Step 0 and the last one are
    checkpoints too."""

    @property
    def checkpoint_steps(self) -> tuple[int, ...]:
        """0, log-spaced steps, and the last."""
        return tuple(sorted({0, *self._log_spaced(self.steps), self.steps}))

    @property
    def eval_steps(self) -> tuple[int, ...]:
        """0, log-spaced steps up to `eval_every`, its multiples, and the last."""
        early = self._log_spaced(min(self.eval_every, self.steps))
        regular = range(self.eval_every, self.steps, self.eval_every)
        return tuple(sorted({0, *early, *regular, self.steps}))

    def _log_spaced(self, last: int) -> Iterator[int]:
        return itertools.takewhile(lambda s: s < last, log_spaced(self.checkpoints_per_doubling))


def _check_without(language: LanguageConfig, key: str, *primitives: Primitive) -> None:
    """Raise WrongKeyError, about `key`, if the language makes no sense without these."""
    try:
        language.without(*primitives)
    except ValidationError as error:
        what = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise WrongKeyError(
            key, f"impossible without {', '.join(primitives)}: {what}", "language"
        ) from None


class ToyRunConfig(Section):
    """All settings of a run except its seed."""

    language: LanguageConfig = LanguageConfig()
    """The language that the model is trained and evaluated on."""
    model: TensorModelConfig = TensorModelConfig()
    """The transformer."""
    training: ToyTraining = ToyTraining()
    """The training."""
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
        """Languages of the training data, by the step from which each is used; the first is 0."""
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
    """Seeds of each condition, compared with the reference at the same seeds."""


class ReadoutConfig(Section):
    """Readouts of the weights, and ablations."""

    max_offset: Distance = 16
    """Largest distance of the window profile."""
    rule_offsets: Distance = 8
    """The rule search and the induction readout average over distances 1 to this one."""
    top: int = Field(100, ge=10, le=10000)
    """Triples that the rule search keeps."""
    random_heads: int = Field(10, ge=1)
    """Random sets of heads with which an ablation of named heads is compared. Where there are at
    most 40 other sets of as many heads in the same layers, all of them are ablated instead."""


class ToyOnsetConfig(Section):
    """When a primitive counts as learned."""

    excess: Probability = 0.1
    """A primitive is learned when its excess is below this share of its excess at the first
    evaluation. With the default language, knowing the last token alone leaves 0.25 to 0.4 of the
    excess of primitives that depend on more."""
    consecutive: int = Field(2, ge=1)
    """Evaluations or checkpoints in a row that must be past the threshold."""


class ToylangConfig(Section):
    """The toy language and tensor transformers."""

    run: ToyRunConfig = ToyRunConfig()
    """The reference. Every other condition differs from it in one thing."""
    seeds: Seeds = [0, 1, 2, 3, 4]
    """Seeds of the reference and of every model."""
    models: dict[ConditionName, TensorModelConfig] = {
        name: TensorModelConfig.model_validate(own) for name, own in DEFAULT_MODELS.items()
    }
    """Other transformers on the same data. A key that is left out has the value of run.model."""
    dependency: DependencyConfig = DependencyConfig()
    """Runs that show which primitive waits for which."""
    readouts: ReadoutConfig = ReadoutConfig()
    """Readouts of the weights, and ablations."""
    onset: ToyOnsetConfig = ToyOnsetConfig()
    """Definition of an onset."""
    n_sequences: Annotated[int, Unit("sequences")] = Field(500, ge=2)
    """Sampled sequences in the table of sequences."""
    floor_sequences: Annotated[int, Unit("sequences")] = Field(8192, ge=2)
    """Sequences on which the floors are measured."""
    rule_sequences: Annotated[int, Unit("sequences")] = Field(64, ge=1)
    """Sequences in which every token is edited to find the true rules."""

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
            return raw  # reported once, where it stands
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
            raise WrongKeyError("models", f"the name {clash[0]} is taken by another condition")
        return self

    @cached_property
    def dependency_conditions(self) -> dict[str, tuple[Literal["removed", "delayed"], Primitive]]:
        """(how, primitive) of every condition with a primitive removed or delayed, by name."""
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
        """Everything that is trained, by name; the first is the reference."""
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
