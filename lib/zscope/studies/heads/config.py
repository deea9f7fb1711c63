"""The configuration of the heads study."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from zscope.config.base import Section, Unit, WrongKeyError
from zscope.models.registry import UserPath, check_file
from zscope.models.subjects import SubjectName
from zscope.studies.heads.registry import detector_names
from zscope.studies.heads.settings import DetectorSettings, NamingSettings

AblationKind = Literal["mean", "zero", "resample"]
PromptSet = Literal["crafted", "own"]
Sequences = Annotated[int, Unit("sequences")]
Tokens = Annotated[int, Unit("tokens")]
_NAMING, _DETECTOR = NamingSettings(), DetectorSettings()


class StreamsConfig(Section):
    """The sequences that heads are scored on."""

    sequences: Sequences = Field(48, ge=8)
    """Sequences of each kind for a language model: text, random tokens, repeats."""
    length: Tokens = Field(48, ge=16, le=2048)
    """Length of each."""
    trained_sequences: Sequences = Field(128, ge=9)
    """The same for a model that the workflow trains; their length is its training's."""
    shortest_period: Tokens = Field(14, ge=2)
    """Fewest distinct tokens of a repeat. Periods vary between sequences, because under one period
    a head that looks a fixed number of tokens back is a perfect induction head."""
    longest_period: Tokens = Field(26, ge=3)
    """Most distinct tokens of a repeat."""
    prompts: Sequences = Field(36, ge=8)
    """Prompts with an indirect object, and lists, of each kind."""
    list_items: int = Field(5, ge=4, le=20)
    """Items of an ordinal list."""
    batch_size: Sequences = Field(16, ge=1)
    """Sequences that are run together; it changes memory only."""

    @model_validator(mode="after")
    def _periods(self) -> Self:
        if not self.shortest_period < self.longest_period < self.length - 1:
            raise WrongKeyError(
                "longest_period",
                f"{self.longest_period} is not between shortest_period {self.shortest_period} and "
                f"length - 1, {self.length - 1}: periods must vary and be repeated",
                "shortest_period",
                "length",
            )
        return self


class DetectorsConfig(Section):
    """The detectors, and when they name a head."""

    names: list[str] | None = Field(None, min_length=1)
    """Detectors that are asked; null: all."""
    max_offset: Tokens = Field(_DETECTOR.max_offset, ge=1, le=64)
    """Largest distance of query and key of a positional head."""
    max_q: float = Field(_NAMING.max_q, gt=0, lt=1)
    """A head is named if its q value (Benjamini and Hochberg 1995) over layers, heads and detectors
    is below."""
    min_content: float = Field(_NAMING.min_content, ge=0, lt=1)
    """The lower end of its score must be above, for detectors whose targets depend on tokens."""
    min_positional: float = Field(_NAMING.min_positional, ge=0, lt=1)
    """The same, for detectors whose targets depend on the position alone."""
    min_rows: int = Field(_NAMING.min_rows, ge=1)
    """A class of query tokens with fewer rows has no score."""
    max_flips: int = Field(_NAMING.max_flips, ge=1000)
    """Most random sign flips of a test."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        if unknown := [n for n in self.names or () if n not in detector_names()]:
            raise WrongKeyError(
                "names", f"no detector {unknown[0]}; there are {', '.join(detector_names())}"
            )
        if self.names and len(set(self.names)) != len(self.names):
            raise WrongKeyError("names", f"repeats a detector: {self.names}")
        return self

    @property
    def asked(self) -> tuple[str, ...]:
        """The modules of the detectors that are asked."""
        return tuple(n for n in detector_names() if self.names is None or n in self.names)

    @property
    def settings(self) -> DetectorSettings:
        return DetectorSettings(max_offset=self.max_offset)

    @property
    def naming(self) -> NamingSettings:
        return NamingSettings(
            self.max_q, self.min_content, self.min_positional, self.min_rows, self.max_flips
        )


class AblationConfig(Section):
    """Ablations of heads."""

    kinds: list[AblationKind] = Field(["mean", "zero", "resample"], min_length=1)
    """What replaces z of the heads that are named by all rows, and of random heads beside them.
    mean is always among them: sets of heads, and the other heads, are replaced by it alone."""
    sequences: Sequences = Field(6, ge=6)
    """Sequences of a language model on which effects are measured, and as many others that the
    screen sees."""
    draw_sequences: Sequences = Field(3, ge=2)
    """Others, on which the named heads are ranked among random sets. Fewer are no less exact: the
    rank compares all sets on the same sequences."""
    length: Tokens = Field(20, ge=16, le=2048)
    """Tokens of each text and repeat."""
    trained_sequences: Sequences = Field(64, ge=6)
    """The same as `sequences`, for a model that the workflow trains."""
    top_k: int = Field(4, ge=1, le=64)
    """Heads of each behaviour that are ablated because the first-order screen ranks them first."""
    exact_layers: list[int] = [0, 1]
    """Layers in which every head is ablated, because the first-order screen is wrong there."""
    draws: int = Field(140, ge=1)
    """Random sets of as many heads in the same layers, for each named set; where there are no more
    than these, all of them. With seven detectors under Holm's correction, 140 are the fewest with
    which one of them can reach 0.05. Drawing stops early where no verdict can come of it."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if "mean" not in self.kinds:
            raise WrongKeyError("kinds", f"mean is not among {self.kinds}: add it")
        for key in ("kinds", "exact_layers"):
            values = getattr(self, key)
            if len(set(values)) != len(values):
                raise WrongKeyError(key, f"repeats a value: {values}")
        if any(layer < 0 for layer in self.exact_layers):
            raise WrongKeyError("exact_layers", f"layers count from 0: {self.exact_layers}")
        return self


class HeadOnsetsConfig(Section):
    """The heads that the last step names, over the checkpoints of their training."""

    checkpoints: int = Field(16, ge=2)
    """Most checkpoints of a run that are measured: the first, the last, and others between them,
    evenly on a log scale that is linear in the first hundredth of the training."""
    share: float = Field(0.333, gt=0, lt=1)
    """A pattern is there, and matters, when the score, and the effect of ablation, are above this
    share of their last value."""
    excess: float = Field(0.1, gt=0, lt=1)
    """The behaviour is there when the model's excess is below this share of its first value."""
    consecutive: int = Field(2, ge=1)
    """Checkpoints in a row that must be past the threshold."""
    draws: int = Field(1, ge=0)
    """Random sets of as many heads in the same layers, whose effects are drawn beside."""


class PartsConfig(Section):
    """What heads do part by part: at offsets, to later patterns, to names and other tokens."""

    sequences: Sequences = Field(8, ge=6)
    """Sequences of each kind for a language model."""
    length: Tokens = Field(32, ge=16, le=2048)
    """Length of each."""
    trained_sequences: Sequences = Field(128, ge=6)
    """The same as `sequences`, for a model that the workflow trains."""
    prompts: Sequences = Field(36, ge=8)
    """Sentences with an indirect object, and lists."""
    max_offset: Tokens = Field(8, ge=1, le=64)
    """Largest distance of query and key in the sweep of offsets."""
    logit_offsets: Tokens = Field(4, ge=1, le=64)
    """The same for the redundancy in logits, which costs two runs for each."""
    targets: int = Field(3, ge=1)
    """Named heads of each detector whose pattern is asked under ablation of earlier heads: those
    with the highest scores."""
    exact: int = Field(10, ge=2)
    """Heads that are run at their mean, for effects on an indirect object and on patterns: those
    with the largest first-order or direct effects. The effects of others are of first order."""


class PromptsConfig(Section):
    """Ablations at the last position of short prompts, and their pages."""

    sets: list[PromptSet] = Field(["crafted"], min_length=1)
    """Sets of prompts for a language model: crafted, the package's 40; own, those of `file`. The
    map of heads shows patterns on the last set."""
    file: UserPath | None = None
    """Your own prompts: a YAML list of {id: ..., family: ..., text: "..."}, as in
    lib/zscope/text/prompts/crafted.yaml. Relative to the folder of the run."""
    trained_sequences: Sequences = Field(12, ge=1)
    """Prompts of a model that the workflow trains: beginnings of its own sequences."""
    heads: int = Field(1, ge=1)
    """Best heads of each named set that are ablated alone."""
    kinds: list[AblationKind] = Field(["mean", "zero", "resample"], min_length=1)
    """What replaces z of one head at the position; resample: z of a token of the study's own
    sequences, drawn for each prompt. Sets and random heads are set to their mean."""
    top_k: int = Field(4, ge=1, le=100)
    """Tokens that rise most, and fall most, in each ranking."""
    generated_prompts: int = Field(4, ge=0)
    """Prompts that are continued under every condition; the families take turns."""
    generated_tokens: Tokens = Field(8, ge=1)
    """Tokens of a continuation, or as many as the model's context has room for."""
    pattern_prompts: int = Field(4, ge=0)
    """Prompts whose attention patterns the map of heads shows; the families take turns."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_file("file", self.file)
        for key in ("sets", "kinds"):
            values = getattr(self, key)
            if len(set(values)) != len(values):
                raise WrongKeyError(key, f"repeats a value: {values}")
        if ("own" in self.sets) != (self.file is not None):
            missing = "own is among sets: name its file" if self.file is None else "add own to sets"
            raise WrongKeyError("file", f"{missing}, or leave both out", "sets")
        return self


class HeadsVerdictConfig(Section):
    """The verdict."""

    alpha: float = Field(0.05, gt=0, lt=1)
    """Level of every test of a verdict."""


class HeadsConfig(Section):
    """Attention heads: what each does, and whether the behaviour needs it."""

    subjects: list[SubjectName] = Field(min_length=1)
    """Models whose heads are asked: names of `models`; toylang/reference or another condition of
    the toy language, crosslingual/tiny, and lag/CONDITION, each with all of its seeds. lag/SWEEP is
    the first condition of a sweep. Subjects of a study that is
    null, or that trains no such model, are left out."""
    streams: StreamsConfig = StreamsConfig()
    """The sequences that heads are scored on."""
    detectors: DetectorsConfig = DetectorsConfig()
    """The detectors, and when they name a head."""
    ablation: AblationConfig = AblationConfig()
    """Ablations of heads."""
    onsets: HeadOnsetsConfig = HeadOnsetsConfig()
    """The heads that the last step names, over the checkpoints of their training."""
    parts: PartsConfig = PartsConfig()
    """What heads do part by part."""
    prompts: PromptsConfig = PromptsConfig()
    """Ablations at the last position of short prompts, and their pages."""
    verdict: HeadsVerdictConfig = HeadsVerdictConfig()
    """The verdict."""
    seed: int = Field(0, ge=0, le=2**32 - 1)
    """Random seed of the sequences and of the random heads."""
    mem_mb: int = Field(4000, ge=500)
    """Memory of a job, for the cluster."""
    runtime_minutes: int = Field(60, ge=1)
    """Run time of a job, for the cluster."""

    @model_validator(mode="after")
    def _once(self) -> Self:
        if len(set(self.subjects)) != len(self.subjects):
            raise WrongKeyError("subjects", f"names a subject twice: {self.subjects}")
        return self

    @property
    def named(self) -> list[str]:
        """The subjects that are names of `models`."""
        return [name for name in self.subjects if "/" not in name]
