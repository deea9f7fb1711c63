"""The configuration of the cross-lingual study (protocol 004)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from zscope.config.base import (
    AdamWSection,
    Flag,
    Probability,
    Section,
    Seed,
    Seeds,
    Steps,
    Unit,
    WrongKeyError,
)
from zscope.config.sizes import check_layer
from zscope.core.errors import ConfigError
from zscope.models.registry import TINY, UserPath, check_file


def _index_or_share(value: Any) -> Any:
    """Layers count from 0; 0.75 is three quarters of the depth."""
    whole = type(value) is int and value >= 0
    if not whole and not (type(value) is float and 0 <= value < 1):
        raise PydanticCustomError(
            "index_or_share",
            "must be a layer's index, such as 2, or a share of the depth, such as 0.75",
        )
    return value


def _number_or_share(value: Any) -> Any:
    whole = type(value) is int and value >= 1
    if not whole and not (type(value) is float and 0 < value <= 1):
        raise PydanticCustomError(
            "number_or_share", "must be a number of dimensions, such as 50, or a share, such as 0.5"
        )
    return value


Depth = Annotated[int | float, BeforeValidator(_index_or_share)]
Size = Annotated[int | float, BeforeValidator(_number_or_share)]
Kind = Literal["qk", "kq", "ov"]
ProblemSource = Literal["generated", "hand_written", "categories", "number_words"]
# How few and how many problems a source has, where that is narrower than what n allows.
SOURCE_SIZES: dict[str, tuple[int, int]] = {"categories": (42, 112), "number_words": (12, 164)}
Pooling = Literal["mean", "last"]
Design = Literal["mean", "ot", "site_answer", "site_language"]
Space = Literal["z", "z_perp", "full", "random", "random_perp", "energy", "energy_perp"]
PatchSource = Literal["matched", "mismatched", "own", "placebo", "mean"]
Where = Literal["prefill", "all"]
Direction = Literal["zh->en", "en->zh"]
Basis = Literal["coordinates", "pca", "z"]
Position0 = Literal["exclude", "include"]


class TinyShape(Section):
    """The embedded Qwen2 model: rotary grouped-query attention, tied embeddings."""

    n_layers: int = Field(4, ge=1, le=64)
    """Decoder layers."""
    d_model: int = Field(64, ge=2)
    """Width of the residual stream; a multiple of n_heads."""
    d_mlp: int = Field(192, ge=1)
    """Hidden units of a layer's MLP."""
    n_heads: int = Field(4, ge=1)
    """Query heads; a multiple of n_kv_heads."""
    n_kv_heads: int = Field(2, ge=1)
    """Key-value heads."""
    rope_theta: float = Field(1e4, gt=0)
    """Base of the rotary embedding."""
    init_std: float = Field(0.05, gt=0)
    """Standard deviation of the initial weights."""

    @model_validator(mode="after")
    def _heads(self) -> Self:
        for key, whole, part in (
            ("d_model", self.d_model, "n_heads"),
            ("n_heads", self.n_heads, "n_kv_heads"),
        ):
            if whole % getattr(self, part):
                raise WrongKeyError(
                    key, f"{whole} is not divisible by {part} {getattr(self, part)}", part
                )
        if self.d_model // self.n_heads % 2:
            raise WrongKeyError(
                "d_model", "d_model / n_heads must be even, for the rotary embedding", "n_heads"
            )
        return self


class TinyTraining(AdamWSection):
    """How the embedded model is trained: AdamW, with weight decay on the matrices only."""

    steps: Steps = Field(5000, ge=1)
    warmup_steps: Steps = Field(60, ge=0)
    final_lr_fraction: Probability = 0.03
    lr: float = Field(2e-3, gt=0)
    beta2: float = Field(0.98, ge=0, lt=1)
    weight_decay: float = Field(0.3, ge=0)
    n_pairs: int = Field(20000, ge=1)
    """Training problems; each gives a Chinese and an English text."""
    batch_size: Annotated[int, Unit("texts")] = Field(64, ge=1)
    """Texts of a batch, of similar length."""
    early_exit: Probability = 0.5
    """Share of the batches that leave the model after one of exit_layers (LayerSkip, Elhoushi et
    al. 2024), so that the answer is formed in the middle of the model. With 0 it may be formed in
    the last layer alone, and a patch before that carries nothing."""
    exit_layers: Annotated[list[Depth], Field(min_length=1)] = [0.5, 0.75]
    """Layers before which these batches leave, by index or share of the depth."""
    eval_every: Steps = Field(500, ge=1)
    """Steps between evaluations."""
    eval_problems: Annotated[int, Unit("problems")] = Field(500, ge=10)
    """Held-out problems of an evaluation, the last one's accuracy being the gate's."""
    checkpoint_every: Steps = Field(500, ge=1)
    """Steps between the checkpoints that a killed job resumes from."""
    gate: Probability = 0.9
    """Least exact accuracy on held-out operands in either language; below it the job fails."""


class TinyConfig(Section):
    """The embedded bilingual model, trained in the workflow."""

    shape: TinyShape = TinyShape()
    """Its architecture."""
    training: TinyTraining = TinyTraining()
    """How it is trained."""

    @property
    def exits(self) -> list[int]:
        """Early exits by index, in this shape. Raises ConfigError if it has no such layer."""
        depths = self.training.exit_layers if self.training.early_exit else []
        return [check_layer(depth, self.shape.n_layers) for depth in depths]

    @model_validator(mode="after")
    def _exits(self) -> Self:
        n = self.shape.n_layers
        try:
            exits = self.exits
        except ConfigError as error:
            raise WrongKeyError("training", f"exit_layers: {error}", "shape") from None
        if 0 in exits:
            depth = self.training.exit_layers[exits.index(0)]
            raise WrongKeyError(
                "training",
                f"exit_layers: {depth} of {n} layers leaves before the first: give one from 1 to "
                f"{n - 1}, or early_exit: 0",
                "shape",
            )
        return self


class ProblemsConfig(Section):
    """The parallel problems that everything is measured on."""

    source: ProblemSource = "generated"
    """Where they come from. generated: of the embedded model's kind, with operands held out
    of its training; hand_written: the 24 problems of the package, or those of `file`; categories:
    "dog: animal" and "狗：动物", number_words: "forty-two = 42" and "四十二 = 42", for base models,
    with 14 examples in front of every prompt."""
    file: UserPath | None = None
    """YAML file of hand-written problems; null: the package's."""
    n: Annotated[int, Unit("problems")] = Field(100, ge=6, le=356)
    """How many (hand-written ones are all used). generated: each has operands of its own, and every
    category that is used has at least 6 problems; there are no more than 356 such. categories: 42
    to 112, so that each of the 7 classes has 6 to 16; number_words: 12 to 164."""
    seed: Seed = 0
    """Seed of the generator; the same problems for every model."""

    @model_validator(mode="after")
    def _file(self) -> Self:
        check_file("file", self.file)
        if self.file is not None and self.source != "hand_written":
            raise WrongKeyError("file", "is read only with source: hand_written", "source")
        low, high = SOURCE_SIZES.get(self.source, (self.n, self.n))
        if not low <= self.n <= high:
            raise WrongKeyError(
                "n", f"{self.n} is not {low} to {high}, as source {self.source} needs", "source"
            )
        return self


class GenerationConfig(Section):
    """Greedy generation."""

    max_new_tokens: Annotated[int, Unit("tokens")] = Field(12, ge=1)
    """Longest output; the protocol allows 100."""
    batch_size: Annotated[int, Unit("rows")] = Field(500, ge=1)
    """Rows of one batch: prompts, or prompts times the spaces that are patched into them together;
    bounds the memory of generation, patching and extraction."""
    min_letters: Annotated[int, Unit("letters")] = Field(1, ge=1)
    """An output with fewer letters has no language; use 5 for real models."""
    strict: Flag = True
    """Count an answer only in the exact sentence that the embedded model was taught; false: in any
    text with a final marker, for real models, whose generation then stops at a new problem. Of no
    matter for categories and number_words: there an answer is all of its line."""


class ZConfig(Section):
    """The subspace Z: top right singular vectors of the stacked attention kernels of a layer."""

    layers: Annotated[list[Depth], Field(min_length=1)] = [0.5, 0.75]
    """Layers whose input is read and patched, by index or share of the depth."""
    k: Annotated[list[Size], Field(min_length=1)] = [0.5, 0.195]
    """Dimensions of Z, as a number or as a share of n_kv_heads * d_head."""
    kinds: Annotated[list[Kind], Field(min_length=1)] = ["qk", "kq", "ov"]
    """Which kernels; patching, updates, ARD and the bridge use the first."""
    draws: int = Field(40, ge=40)
    """Random and energy-matched subspaces (and Gaussian layers) behind every null of the weights,
    the states, ARD and the bridge; patching has its own numbers."""
    position_0: Position0 = "exclude"
    """Which tokens are pooled and patched. exclude: neither the first, which collects attention,
    nor one with a massive activation (a norm above 10 times the median of its layer and language);
    include: all."""

    @property
    def kind(self) -> Kind:
        """The main kernel, which all later steps use."""
        return self.kinds[0]


class ActivationsConfig(Section):
    """Hidden states, extracted once."""

    dtype: Literal["float16", "float32"] = "float32"
    """Type they are stored in."""


class PatchingConfig(Section):
    """Experiment A: the grid of conditions; every combination that makes sense is run."""

    designs: Annotated[list[Design], Field(min_length=1)] = list(get_args(Design))
    """How to patch. mean: the source's mean state at every position (protocol A.3); ot: the image
    of each position under optimal transport (protocol A.6); site_answer, site_language: one
    position, the answer's or the last of the prompt."""
    spaces: Annotated[list[Space], Field(min_length=1)] = list(get_args(Space))
    """What is replaced. energy: random spaces that hold as much energy as Z of the states that are
    patched; _perp: everything outside a space; full: everything."""
    sources: Annotated[list[PatchSource], Field(min_length=1)] = list(get_args(PatchSource))
    """Where the new content comes from. matched: the translation; mismatched: another problem with
    another answer; own: the prompt's own mean; placebo: a random direction inside the space, as
    long as the change by mismatched; mean: the mean over the other problems (necessity)."""
    where: Annotated[list[Where], Field(min_length=1)] = ["prefill", "all"]
    """Patch the prompt alone, or (design mean) every generated token too."""
    directions: Annotated[list[Direction], Field(min_length=1)] = ["zh->en", "en->zh"]
    """Source language -> prompt language."""
    draws: int = Field(1, ge=1)
    """Draws of each random and energy-matched space that no verdict reads; fewer than 40 are no
    null."""
    verdict_draws: int = Field(40, ge=1)
    """The same of those that verdicts compare with. Energy-matched spaces in the declared cell, its
    mean ablation and at the answer's own position; their complements in the declared cell; and
    uniform spaces in the mean ablation. Below 40 those verdicts cannot be told."""


class VerdictConfig(Section):
    """The cell that the verdict is read from, declared before the run, and the rules."""

    layer: Depth = 0.5
    """Layer; one of z.layers."""
    k: Size = 0.5
    """Dimensions; one of z.k."""
    design: Design = "mean"
    """Design of the patch."""
    source: PatchSource = "mismatched"
    """Source of the patch; the questions about the source's answer read mismatched in any case."""
    where: Where = "all"
    """Which tokens are patched; the protocol's hook stays during generation and patches all."""
    direction: Direction = "zh->en"
    """Source language -> prompt language."""
    kept: Probability = 0.9
    """Controlled rule: a patch preserves what is kept in at least this share of the problems that
    were right unpatched (the whole interval); broken texts keep nothing."""
    high: Probability = 0.5
    """Protocol's rule: a rate from here on counts as "changes", one minus it as "preserves"."""
    margin: Probability = 0.1
    """Protocol's partial success: Z changes this much more of the answers than Z-perp does."""
    alpha: float = Field(0.05, gt=0, lt=1)
    """Level of every test of the controlled rules: of the paired test and of the rank among draws.
    Each comparison of a rule has to pass, so none is corrected for the others."""


class ArdConfig(Section):
    """Experiment C: ARD-MMD, the original objective and the contrast that replaces it."""

    layers: list[Depth] | None = None
    """Layers; null: z.layers. A whole number may name the state after the last layer."""
    lambdas: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)] = [1e-3, 0.01, 0.1]
    """Weights of the original objective's sparsity penalty."""
    lr: float = Field(0.01, gt=0)
    """Adam's learning rate of the original objective."""
    steps: Steps = Field(500, ge=10)
    """Steps of the original objective."""
    contrast_lr: float = Field(0.05, gt=0)
    """Adam's learning rate of the contrast."""
    contrast_steps: Steps = Field(200, ge=10)
    """Steps of the contrast."""
    tau: float = Field(0.02, gt=0)
    """Temperature of the InfoNCE form of the contrast."""
    bases: Annotated[list[Basis], Field(min_length=1)] = ["coordinates", "pca", "z"]
    """Coordinates of the lengthscales: the stream's, principal axes, or [V_Z; V_perp]."""
    train_share: float = Field(0.5, gt=0, lt=1)
    """Share of the problems that lengthscales are fitted to; the rest are held out."""
    max_problems: Annotated[int, Unit("problems")] = Field(60, ge=8)
    """Largest number of problems used, to bound the time."""
    planted_seeds: Seeds = [0, 1, 2]
    """Seeds of the planted data on which both objectives are scored."""


class BridgeConfig(Section):
    """Experiment D: the linear map between the languages inside Z."""

    poolings: Annotated[list[Pooling], Field(min_length=1)] = ["mean", "last"]
    """How a prompt's states become one vector."""
    permutations: int = Field(200, ge=40)
    """Shuffles of the pairing, within categories, behind the null."""


class CrosslingualConfig(Section):
    """The cross-lingual Z study (protocol 004)."""

    models: list[str] = [TINY]
    """Models that everything is measured on: names of the section models; tiny, the embedded model,
    is trained here."""
    weights_only: list[str] = []
    """Names of models of which the weights alone are measured (ranks, overlap with the FFN,
    similarity of layers; the first of z.kinds), because they do not know both languages."""
    seeds: Seeds = [0]
    """Training seeds of the tiny model; each is a model of its own in every table and figure."""
    tiny: TinyConfig = TinyConfig()
    """The embedded bilingual model."""
    problems: ProblemsConfig = ProblemsConfig()
    """The parallel problems."""
    generation: GenerationConfig = GenerationConfig()
    """Greedy generation."""
    z: ZConfig = ZConfig()
    """The subspace Z."""
    activations: ActivationsConfig = ActivationsConfig()
    """Hidden states, extracted once."""
    patching: PatchingConfig = PatchingConfig()
    """Experiment A: activation patching."""
    verdict: VerdictConfig = VerdictConfig()
    """The pre-declared cell and rules of the verdict."""
    ard: ArdConfig = ArdConfig()
    """Experiment C: ARD-MMD."""
    bridge: BridgeConfig = BridgeConfig()
    """Experiment D: the linear bridge."""
    runtime_minutes: Annotated[int, Unit("min")] = Field(60, ge=1)
    """Longest time of a job that runs the model, on a cluster; doubled on a retry."""
    mem_mb: Annotated[int, Unit("MB")] = Field(4000, ge=500)
    """Memory of a job that loads the model."""

    @model_validator(mode="before")
    @classmethod
    def _old_keys(cls, value: Any) -> Any:
        if isinstance(value, dict) and "model" in value:
            raise WrongKeyError("model", _new_words(value["model"]))
        if isinstance(value, dict) and "dtype" in value:
            raise WrongKeyError(
                "dtype",
                "belongs to each model now: write "
                f"models: {{mine: {{..., dtype: {value['dtype']}}}}} at the top level",
            )
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for key, values in (("models", self.models), ("weights_only", self.weights_only)):
            if len(set(values)) != len(values):
                raise WrongKeyError(key, f"repeats a name: {values}")
        if not self.models:
            raise WrongKeyError("models", "must not be empty; crosslingual: null runs no study")
        if twice := {*self.models, TINY} & {*self.weights_only}:
            both = min(twice)
            raise WrongKeyError(
                "weights_only", f"{both} belongs in models, where its weights are measured too"
            )
        if len(set(self.seeds)) != len(self.seeds):
            raise WrongKeyError("seeds", f"repeats a seed: {self.seeds}")
        verdict, patching = self.verdict, self.patching
        for key, block, among in (
            ("layer", "z", "layers"),
            ("k", "z", "k"),
            ("design", "patching", "designs"),
            ("source", "patching", "sources"),
            ("where", "patching", "where"),
            ("direction", "patching", "directions"),
        ):
            value, allowed = getattr(verdict, key), getattr(getattr(self, block), among)
            if str(value) not in map(str, allowed):  # a k of 1 is one dimension, of 1.0 all
                raise WrongKeyError(
                    "verdict", f"{key} {value} is not among {block}.{among} {allowed}", block
                )
        needed = ("z", "z_perp", "full", "random", "energy", "energy_perp")
        if missing := [s for s in needed if s not in patching.spaces]:
            raise WrongKeyError("patching", f"the verdict needs the spaces {', '.join(missing)}")
        if self.has_tiny and self.problems.source != "generated":
            raise WrongKeyError(
                "problems", "the tiny model knows the words of generated problems only", "models"
            )
        return self

    @property
    def has_tiny(self) -> bool:
        """Whether the embedded model is among the models."""
        return TINY in self.models

    @property
    def named(self) -> list[str]:
        """The models that are not trained here."""
        return [name for name in (*self.models, *self.weights_only) if name != TINY]

    def seeds_of(self, name: str) -> dict[str, int | None]:
        """What an entry of `models` stands for: the embedded model of each seed, or itself."""
        return {f"{TINY}-s{seed}": seed for seed in self.seeds} if name == TINY else {name: None}


def _new_words(model: Any) -> str:
    """What to write instead of the key `model`, which was one model's source."""
    if model == TINY or (isinstance(model, dict) and model.get(TINY)):
        return "is a list now: write crosslingual.models: [tiny]"
    source = model if isinstance(model, dict) else {"path": model}
    words = ", ".join(f"{key}: {value}" for key, value in source.items() if value)
    return (
        "models are named at the top level now: write "
        f"models: {{mine: {{{words or 'path: folder'}}}}} and crosslingual.models: [mine]"
    )
