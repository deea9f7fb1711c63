"""The configuration of the experiment on letters."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from zscope.config.base import Probability, Section, Seeds, Steps, Unit, WrongKeyError

Prompts = Annotated[int, Unit("prompts")]


class LettersConfig(Section):
    """Two-layer softmax transformers that answer with the label of an option."""

    permuted: list[Probability] = Field([0.0, 1.0], min_length=1)
    """Conditions: the share of the training prompts whose labels are in random order; in the others
    they are in alphabetical order."""
    options: int = Field(4, ge=2, le=26)
    """Options of a prompt, and labels."""
    contents: int = Field(16, ge=2)
    """Contents that an option can have; those of a prompt are all different."""
    d_model: int = Field(64, ge=2)
    """Width of the stream."""
    n_heads: int = Field(4, ge=1)
    """Heads of a layer."""
    d_head: int = Field(16, ge=2, multiple_of=2)
    """Width of a head."""
    steps: Steps = Field(700, ge=1)
    """Optimizer steps."""
    batch_size: Prompts = Field(64, ge=1)
    """Prompts of a step."""
    tested: Prompts = Field(1000, ge=2)
    """Prompts of each kind on which a model is tested."""
    seeds: Seeds = [0, 1, 2]
    """Training seeds of each condition."""

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if self.contents < self.options:
            raise WrongKeyError(
                "contents",
                f"{self.contents} for {self.options} options: all must differ",
                "options",
            )
        return self
