"""The parts that all blocks of the configuration share: sections, units, common types."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError


@dataclass(frozen=True)
class Unit:
    """The unit of a key, for the reference page."""

    name: str


Flag = Annotated[bool, Strict()]
Probability = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Seeds = Annotated[list[Seed], Field(min_length=1)]
Steps = Annotated[int, Unit("optimizer steps")]
Characters = Annotated[int, Unit("characters")]
Rows = Annotated[int, Unit("rows")]


class Section(BaseModel):
    """A block of the configuration: frozen, and an unknown key is an error."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_flag_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Python counts true as 1, but in a config it is a mistake."""
        wanted = set(_leaves(cls.model_fields[str(info.field_name)].annotation))
        values = value if isinstance(value, list) else [value]
        if wanted & {int, float} and any(isinstance(v, bool) for v in values):
            raise PydanticCustomError("a_flag", "must be a number")
        return value


class WrongKeyError(ValueError):
    """A key of a block is wrong. `also`: other keys that are part of the mistake."""

    def __init__(self, key: str, message: str, *also: str) -> None:
        super().__init__(message)
        self.keys = (key, *also)


def _leaves(hint: Any) -> Iterator[Any]:
    """The plain types in a type hint."""
    arguments = get_args(hint)
    if not arguments or get_origin(hint) in (dict, Literal):
        yield hint
    for argument in arguments if get_origin(hint) not in (dict, Literal) else ():
        yield from _leaves(argument)


class Bootstrap(Section):
    """The level of every interval, and how bootstrap intervals are resampled."""

    level: float = Field(0.95, gt=0, lt=1)
    """Confidence level of every interval."""
    resamples: int = Field(1000, ge=10)
    """Number of resamples of every bootstrap interval."""
    seed: Seed = 0
    """Random seed of the resampling."""

    @property
    def tails(self) -> tuple[float, float]:
        """The quantiles at the two ends of an interval."""
        return (1 - self.level) / 2, (1 + self.level) / 2


def percent(level: float) -> str:
    """A confidence level as text: "95 %"."""
    return f"{100 * level:.4g} %"


class TrainingSection(Section):
    """Settings of every training: its length, its schedule and the clipping of its gradient."""

    steps: Steps = Field(1000, ge=1)
    """Optimizer steps."""
    warmup_steps: Steps = Field(50, ge=0)
    """Steps over which the learning rate rises linearly from 0."""
    final_lr_fraction: Probability = 0.0
    """Share of the peak learning rate at the end of the schedule."""
    grad_clip: float = Field(1.0, gt=0)
    """Largest global norm of the gradient."""

    @model_validator(mode="after")
    def _warmup(self) -> Self:
        if self.warmup_steps >= self.steps:
            raise WrongKeyError(
                "warmup_steps",
                f"{self.warmup_steps} is not below steps {self.steps}: the learning rate would "
                "never reach its peak",
                "steps",
            )
        return self


class AdamWSection(TrainingSection):
    """Training by AdamW (Loshchilov and Hutter 2019)."""

    lr: float = Field(1e-3, gt=0)
    """Peak learning rate."""
    beta1: float = Field(0.9, ge=0, lt=1)
    """AdamW's decay of the first moment."""
    beta2: float = Field(0.999, ge=0, lt=1)
    """AdamW's decay of the second moment."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled weight decay."""
