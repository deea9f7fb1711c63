"""What every block of the configuration is made of: sections, units, common types."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationInfo, field_validator
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
        """Python counts true as 1; a config that says so is a mistake."""
        wanted = set(_leaves(cls.model_fields[str(info.field_name)].annotation))
        values = value if isinstance(value, list) else [value]
        if wanted & {int, float} and any(isinstance(v, bool) for v in values):
            raise PydanticCustomError("a_flag", "must be a number")
        return value


class WrongKeyError(ValueError):
    """What is wrong with a key of a block; `also` are the other keys that it is a matter of."""

    def __init__(self, key: str, message: str, *also: str) -> None:
        super().__init__(message)
        self.keys = (key, *also)


def check_warmup(warmup_steps: int, steps: int) -> None:
    """Raise WrongKeyError unless the warm-up ends before the training does."""
    if warmup_steps >= steps:
        raise WrongKeyError(
            "warmup_steps",
            f"{warmup_steps} is not below steps {steps}: the learning rate would never reach its "
            "peak",
            "steps",
        )


def _leaves(hint: Any) -> Iterator[Any]:
    """The plain types in a type hint."""
    arguments = get_args(hint)
    if not arguments or get_origin(hint) in (dict, Literal):
        yield hint
    for argument in arguments if get_origin(hint) not in (dict, Literal) else ():
        yield from _leaves(argument)


class BootstrapConfig(Section):
    """Bootstrap intervals."""

    level: float = Field(0.95, gt=0, lt=1)
    """Confidence level of every interval."""
    resamples: int = Field(1000, ge=10)
    """Resamples of every interval."""
    seed: Seed = 0
    """Seed of the resampling."""
