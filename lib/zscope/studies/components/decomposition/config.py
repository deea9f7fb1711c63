"""The configuration of the decomposition part."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from zscope.config.base import Probability, Section, Seeds, Steps, Unit, WrongKeyError
from zscope.models.subjects import SubjectName

Sequences = Annotated[int, Unit("sequences")]
PlantedKind = Literal["linear", "superposition", "compiled"]


class DecompositionTrainingConfig(Section):
    """How a model of the toy language is decomposed."""

    components: int = Field(64, ge=1)
    """Components of each matrix; fewer than its rank cannot be faithful."""
    hidden: int = Field(128, ge=1)
    """Hidden units of the network that gives all importances."""
    penalty: float = Field(5e-4, gt=0)
    """Weight b of the penalty b sum |g|^p."""
    p_first: float = Field(2.0, gt=0)
    """Power p of the penalty at the start."""
    p_last: float = Field(0.5, gt=0)
    """Power p at the end."""
    faithful_steps: Steps = Field(200, ge=0)
    """Steps of faithfulness alone, before the others."""
    steps: Steps = Field(1000, ge=1)
    """Steps with random masks and the penalty."""
    adversarial_steps: Steps = Field(60, ge=0)
    """Steps after these in which an adversary chooses masks, too; 0: none."""
    attack_steps: int = Field(8, ge=1)
    """Sign steps of the adversary's fresh attack in each of them."""
    batch_size: Sequences = Field(6, ge=1)
    """Sequences per step."""
    lr: float = Field(6e-3, gt=0)
    """Peak learning rate (AdamW, no decay)."""
    eval_every: Steps = Field(100, ge=1)
    """Steps between evaluations, from which a killed training resumes."""
    eval_sequences: Sequences = Field(24, ge=1)
    """Sequences of each."""


class PlantedConfig(Section):
    """A planted target, and how it is decomposed."""

    kind: PlantedKind
    """What is planted. linear: a linear map with known reads; superposition: five features in two
    dimensions; compiled: a transformer compiled by hand."""
    penalties: list[float] = Field(min_length=1)
    """Every b of the sweep."""
    components: int = Field(ge=1)
    """Components of each matrix."""
    steps: Steps = Field(ge=1)
    """Steps with random masks and the penalty."""
    faithful_steps: Steps = Field(200, ge=0)
    """Steps of faithfulness alone, before them."""
    batch_size: Annotated[int, Unit("inputs")] = Field(256, ge=1)
    """Inputs per step."""
    lr: float = Field(1e-2, gt=0)
    """Peak learning rate."""
    p_first: float = Field(2.0, gt=0)
    """Power p of the penalty at the start; it ends at 0.5."""
    seeds: Seeds = [0, 1]
    """Seeds of the target and its decomposition."""


class SelectivityConfig(Section):
    """Which components are said to serve a primitive, and how their effect is tested."""

    importance: Probability = 0.3
    """Mean importance on the primitive's positions above which a component is chosen."""
    lift: float = Field(8.0, gt=1)
    """It must also be so many times its mean elsewhere."""
    loose_importance: Probability = 0.15
    """The same of a looser rule, which is shown beside it and gives no verdict."""
    loose_lift: float = Field(4.0, gt=1)
    """Ratio to elsewhere of the looser rule."""
    draws: int = Field(40, ge=1)
    """Random sets of as many components of the same matrices, matched in mean importance and
    norm; a verdict needs 40."""
    alpha: float = Field(0.05, gt=0, lt=1)
    """Level of the tests of a verdict."""
    flips: int = Field(2000, ge=100)
    """Most random sign flips of a paired test."""


class DecompositionConfig(Section):
    """Parameter decomposition: planted targets, and one condition of the toy language."""

    subject: SubjectName = "toylang/reference"
    """The condition that is decomposed; it must be among the toy conditions of the study."""
    trainings: int = Field(1, ge=1)
    """How many of its trainings are decomposed, the first ones."""
    seeds: Seeds = [0, 1, 2]
    """Seeds of the decompositions of each training."""
    training: DecompositionTrainingConfig = DecompositionTrainingConfig()
    """How it is decomposed."""
    planted: list[PlantedConfig] = [
        PlantedConfig(kind="linear", penalties=[0.003, 0.01, 0.03, 0.1], components=16, steps=1200),
        PlantedConfig(
            kind="superposition",
            penalties=[0.001, 0.003, 0.01, 0.03],
            components=20,
            steps=1200,
            p_first=1.0,
        ),
        PlantedConfig(
            kind="compiled",
            penalties=[0.0003, 0.003, 0.03],
            components=32,
            steps=800,
            batch_size=48,
            seeds=[0],
        ),
    ]
    """Targets whose components are known. Each sweeps b: a wrong b looks like no structure."""
    sequences: Sequences = Field(128, ge=8)
    """Sequences on which components are chosen and described, and as many others on which their
    effects and the reconstruction are measured."""
    attack_sequences: Sequences = Field(16, ge=2)
    """Sequences of the adversary of the evidence."""
    attack_steps: list[Annotated[int, Field(ge=0)]] = [0, 5, 10, 20, 40, 80]
    """Sign steps after which its damage is shown."""
    attack_size: float = Field(0.1, gt=0, le=1)
    """Size of a sign step; masks are between 0 and 1."""
    selectivity: SelectivityConfig = SelectivityConfig()
    """Which components serve a primitive."""
    page_layers: list[Annotated[int, Field(ge=0)]] = [0, 1]
    """Layers whose components get a page."""
    max_offset: Annotated[int, Unit("tokens")] = Field(12, ge=1)
    """Largest distance of query and key at which pairs of components are shown."""
    pairs: int = Field(6, ge=1)
    """Pairs shown for each head and choice."""
    induction_components: int = Field(8, ge=1)
    """Components of each matrix whose ablation is measured on induction, the most important."""
    least_firings: int = Field(30, ge=1)
    """A component fires where its importance is above 0.1; those that fire less are left out of the
    tables of pairs that fire together."""
    shifts: int = Field(40, ge=1)
    """Draws of the null of these, in which one sequence's firings meet another's."""

    @model_validator(mode="after")
    def _once(self) -> Self:
        kinds = [p.kind for p in self.planted]
        if len(set(kinds)) != len(kinds):
            raise WrongKeyError("planted", f"names a kind twice: {', '.join(kinds)}")
        if self.attack_steps != sorted(set(self.attack_steps)) or not self.attack_steps:
            raise WrongKeyError("attack_steps", f"must increase: {self.attack_steps}")
        return self
