"""The configuration of the attribution part."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from zscope.config.base import Probability, Section, Unit, WrongKeyError

Tokens = Annotated[int, Unit("tokens")]
Nats = Annotated[float, Unit("nats")]
Pairs = Annotated[int, Unit("pairs of prompts")]


class PairsConfig(Section):
    """Pairs of prompts, made from the program of the toy language."""

    of_primitive: Pairs = Field(16, ge=2)
    """Pairs of each primitive."""
    shortest: Tokens = Field(6, ge=2)
    """Fewest tokens of a prompt."""
    longest: Tokens = Field(40, ge=3)
    """Most tokens of a prompt."""
    least_drop: Probability = 0.25
    """The edit lowers the program's p(answer) by more than this."""
    least_raise: Probability = 0.3
    """Where a token is suppressed, the edit raises its p above this."""

    @model_validator(mode="after")
    def _lengths(self) -> Self:
        if self.shortest > self.longest:
            raise WrongKeyError(
                "shortest", f"{self.shortest} is above longest, {self.longest}", "longest"
            )
        return self


class AttributionVerdictConfig(Section):
    """When a method finds what exhaustive patching finds."""

    least_r: float = Field(0.9, gt=0, lt=1)
    """The interval of the correlation with the exact effects is at or above this, for every kind of
    node and layer."""
    most_missed: float = Field(0.1, gt=0, lt=1)
    """The interval of the share of false negatives is at or below this."""
    alpha: float = Field(0.05, gt=0, lt=1)
    """The correlation's rank among permuted estimates has a p below this."""


class PretrainedConfig(Section):
    """Attribution in a language model, where only some nodes are patched."""

    ioi_pairs: Pairs = Field(4, ge=1)
    """Sentences with an indirect object, whose second subject is exchanged."""
    repeat_pairs: Pairs = Field(4, ge=1)
    """Repeated texts, whose answer is exchanged in the first copy."""
    repeat_length: Tokens = Field(8, ge=3)
    """Tokens of a text that is repeated."""
    top: int = Field(24, ge=1)
    """Nodes of a pair with the largest estimates, which are patched."""
    random: int = Field(40, ge=1)
    """Nodes among all others that are patched too: they bound what was missed."""
    large: Nats = Field(0.1, gt=0)
    """An effect above this should not be missed."""


class AttributionConfig(Section):
    """Attribution patching, scored against exhaustive patching."""

    pairs: PairsConfig = PairsConfig()
    """Pairs of prompts of the toy language."""
    large: Nats = Field(0.05, gt=0)
    """A node with a larger effect should be found."""
    missed: Nats = Field(0.025, gt=0)
    """It is a false negative if its estimate is below this."""
    top: int = Field(5, ge=1)
    """Largest effects that are to be verified."""
    draws: int = Field(100, ge=1)
    """Permutations of the estimates, which are the null."""
    verdict: AttributionVerdictConfig = AttributionVerdictConfig()
    """When a method finds what exhaustive patching finds."""
    pretrained: PretrainedConfig = PretrainedConfig()
    """Attribution in the models of `components.pretrained`."""
