"""The configuration of the dictionaries part."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from zscope.config.base import Probability, Section, Seeds, Steps, Unit, WrongKeyError
from zscope.models.subjects import SubjectName

VariantName = Literal["l1", "topk", "batch_topk", "gated", "jump_relu", "jump_relu_l0"]
"""Gated and JumpReLU: Rajamanoharan et al. 2024; jump_relu has the tanh penalty, jump_relu_l0 the
number of codes."""
COUNTING: tuple[VariantName, ...] = ("topk", "batch_topk")
"""Variants whose strength is a number of codes."""
PlantedCondition = Literal["correlated", "zipf", "noise"]
Strength = Annotated[float, Field(gt=0)]
Strengths = Annotated[list[Strength], Field(min_length=1)]
Vectors = Annotated[int, Unit("inputs")]
Sequences = Annotated[int, Unit("sequences")]


class RecipeConfig(Section):
    """How a dictionary is trained: Adam, the penalty warmed up, the learning rate cooled down."""

    steps: Steps = Field(800, ge=1)
    """Adam's steps."""
    batch: Vectors = Field(256, ge=8)
    """Inputs of a step."""
    lr: float = Field(3e-3, gt=0)
    """Learning rate; over the last `cooled` share of the steps it falls to 0."""
    cooled: Probability = 0.3
    """Share of the steps over which the learning rate falls."""
    warmed: Probability = 0.3
    """Share of the steps over which the penalty rises from 0."""
    dead_after: Steps = Field(100, ge=1)
    """Steps without firing after which a latent is dead; TopK's then explain the residual."""


def _unique(name: str, values: list[object]) -> None:
    if len(set(values)) != len(values):
        raise WrongKeyError(name, f"repeats a value: {values}")


class PlantedConfig(Section):
    """Dictionaries on inputs that are sparse sums of known directions."""

    d: int = Field(32, ge=2)
    """Dimensions of an input."""
    ratios: list[int] = Field([1, 2, 4], min_length=1)
    """Directions per dimension. More than one is superposition."""
    conditions: list[PlantedCondition] = ["correlated", "zipf", "noise"]
    """What is changed, one at a time, at `varied_ratio`: correlated, where half of the directions
    are active with their parent only; zipf, rates that fall with the rank; noise."""
    varied_ratio: int = Field(2, ge=1)
    """Directions per dimension of these."""
    active: float = Field(1.55, gt=0)
    """Mean number of active directions of an input."""
    zipf: float = Field(1.0, gt=0)
    """Exponent of the rates in condition zipf."""
    noise: float = Field(0.1, gt=0, lt=1)
    """Share of the variance in condition noise."""
    strengths: dict[VariantName, Strengths] = {
        "l1": [4.0],
        "topk": [2.0],
        "batch_topk": [2.0],
        "gated": [6.0],
        "jump_relu": [2.0],
    }
    """Variants, and for each the weights of its penalty, or its numbers of codes (TopK kin)."""
    width: int = Field(2, ge=1)
    """Latents per direction."""
    seeds: Seeds = [0, 1, 2]
    """Each is a truth of its own, and a dictionary of its own, drawn independently."""
    pool: Vectors = Field(32768, ge=64)
    """Inputs that batches are drawn from."""
    test: Vectors = Field(4096, ge=64, multiple_of=64)
    """Fresh inputs; latents and thresholds are chosen on one half and scored on the other."""
    recipe: RecipeConfig = RecipeConfig()
    """The training."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _unique("ratios", [*self.ratios])
        _unique("conditions", [*self.conditions])
        _unique("seeds", [*self.seeds])
        if min(self.ratios) < 1:
            raise WrongKeyError("ratios", f"must be 1 or more: {self.ratios}")
        return self


class ToyConfig(Section):
    """Dictionaries on the stream of models of the toy language, against the exact language."""

    width: int = Field(4, ge=1)
    """Latents per dimension of the stream."""
    curves: dict[VariantName, Strengths] = {
        "l1": [0.5, 1.0, 2.0, 4.0, 8.0],
        "topk": [2.0, 4.0, 8.0, 16.0, 32.0],
        "batch_topk": [2.0, 4.0, 8.0, 16.0, 32.0],
        "gated": [0.5, 1.0, 2.0, 4.0, 8.0],
        "jump_relu": [0.25, 0.5, 1.0, 2.0, 4.0],
    }
    """Variants, and the strengths of their curves of FVU against L0, on the first training."""
    curves_of: list[SubjectName] = ["toylang/reference"]
    """Conditions with curves."""
    variant: VariantName = "topk"
    """The variant that is scored against the language, on every training, and at every site of the
    stream with its strengths in `curves`."""
    strength: Strength = 8.0
    """Its strength there."""
    layer: int | None = Field(None, ge=0)
    """The scored site: the stream before this layer (the number of layers: after the last); null:
    before the last layer."""
    seeds: Seeds = [0, 1, 2]
    """Random seeds of the scored dictionaries, on every training and its untrained twin."""
    trainings: int = Field(5, ge=1)
    """Most trainings of a condition that are scored."""
    pool: Sequences = Field(768, ge=8)
    """Sequences whose stream the batches are drawn from."""
    test: Sequences = Field(256, ge=12)
    """Others; latents and thresholds are chosen on one half and scored on the other."""
    tokens: int = Field(16, ge=1)
    """Tokens whose features are scored, as the last and as the one before."""
    ks: list[int] = Field([1, 2, 5, 16], min_length=1)
    """Latents that a probe may read."""
    draws: int = Field(40, ge=1)
    """Random dictionaries, for the null."""
    probe_steps: Steps = Field(300, ge=1)
    """Steps of the probe of the whole stream, the ceiling."""
    recipe: RecipeConfig = RecipeConfig(steps=300)
    """The training."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _unique("seeds", [*self.seeds])
        if sorted({*self.ks}) != self.ks or self.ks[0] != 1:
            raise WrongKeyError("ks", f"must rise from 1: {self.ks}")
        return self


class TextConfig(Section):
    """Dictionaries on one site of a pretrained model, on the package's English passages."""

    layer: float = Field(0.5, ge=0, le=1)
    """The stream before this layer, as a share of the depth."""
    width: int = Field(2, ge=1)
    """Latents per dimension of the stream."""
    variant: VariantName = "topk"
    """The variant."""
    strengths: Strengths = [8.0, 16.0, 32.0, 64.0, 128.0]
    """Its strengths."""
    held_out: int = Field(6, ge=2)
    """Passages that no dictionary is trained on; everything is measured on their first pieces."""
    window: Annotated[int, Unit("tokens")] = Field(128, ge=16)
    """Longest piece of a passage that the model reads at once."""
    recipe: RecipeConfig = RecipeConfig(steps=150, batch=128, lr=1e-3)
    """The training."""


class QkConfig(Section):
    """Dictionaries of the queries and keys of one induction head (TopK)."""

    subject: SubjectName = "toylang/softmax"
    """A condition of the toy language with softmax attention."""
    trainings: int = Field(3, ge=0)
    """Its first trainings that have an induction head, so many; 0: none."""
    least_score: Probability = 0.5
    """A head is one if it puts at least this weight on the key that induction looks for."""
    widths: list[int] = Field([1, 4], min_length=1)
    """Latents per dimension of the head."""
    ks: list[int] = Field([1, 2, 4, 8], min_length=1)
    """Codes of each vector."""
    auxiliary: float = Field(1.0, gt=0)
    """Weight of the reconstruction losses beside the pattern's."""
    pool: Sequences = Field(256, ge=8)
    """Sequences to train on."""
    test: Sequences = Field(64, ge=8)
    """Others, on which patterns are compared."""
    recipe: RecipeConfig = RecipeConfig(steps=300, batch=512)
    """The training; joint training takes eight sequences at a step."""


class DictionariesConfig(Section):
    """Sparse dictionaries: do they find planted features, and what toy models know?"""

    planted: PlantedConfig = PlantedConfig()
    """Planted superposition."""
    toy: ToyConfig = ToyConfig()
    """Models of the toy language."""
    text: TextConfig = TextConfig()
    """Pretrained models."""
    qk: QkConfig = QkConfig()
    """Queries and keys of an induction head."""
    alpha: float = Field(0.05, gt=0, lt=1)
    """Level of the tests behind a verdict."""
