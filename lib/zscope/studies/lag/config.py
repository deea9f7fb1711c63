"""The configuration of the lag study (protocol 000)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from zscope.config.base import Rows, Section, Seeds, Steps, Unit, WrongKeyError
from zscope.config.messages import Path, Sources, explain
from zscope.core.errors import ConfigError
from zscope.figures.registry import figure_modules
from zscope.studies.lag.probes.registry import PROBES
from zscope.studies.lag.run_config import RunConfig

if TYPE_CHECKING:
    ProbeName = str
    FigureName = str
else:
    # Literals, of which pydantic lists the values in errors and in the schema.
    ProbeName = Literal[tuple(PROBES)]
    _modules = figure_modules("lag").items()
    FigureName = Literal[tuple(name for name, m in _modules if "SWEEP" in m.constants)]
NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


class Onset(Section):
    """The threshold past which a metric counts as having set in."""

    above: float | None = None
    """Threshold that the metric must reach from below."""
    below: float | None = None
    """Threshold that the metric must fall under."""
    scale: Literal["none", "log_k", "chance", "uniform"] = "none"
    """The threshold is a share of: 1 (none); log K (log_k); the way from chance to 1 (chance: for
    set_mass the candidates' share of the first characters, for the rest 1/K); the loss of a uniform
    guess of the first character (uniform)."""
    of: str | None = None
    """Training metric whose curve is read, if not that of the definition's own name; for a second
    definition on the same metric."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.above is None) == (self.below is None):
            given = f"above {self.above} and below {self.below}" if self.above else "neither"
            raise ValueError(f"give exactly one of above and below, not {given}")
        return self


class OnsetConfig(Section):
    """The definitions of onset that every summary and figure uses."""

    consecutive: int = Field(2, ge=1)
    """Evaluations in a row that must be past the threshold."""
    metrics: dict[str, Onset] = Field(
        default={
            "first_loss": Onset(below=0.5, scale="uniform"),
            "first_loss_over_log_k": Onset(below=0.5, scale="log_k", of="first_loss"),
            "first_accuracy": Onset(above=0.5, scale="chance"),
            "set_mass": Onset(above=0.5, scale="chance"),
            "candidate_loss": Onset(below=0.5, scale="log_k"),
            "candidate_accuracy": Onset(above=0.5, scale="chance"),
            "z_gap": Onset(above=0.5, scale="none"),
        }
    )
    """Onsets of training metrics: the name of each, which is that of its metric unless `of` names
    another, and its definition."""
    probes: dict[ProbeName, Onset] = Field(
        default={
            "attention_to_z": Onset(above=0.1, scale="none"),
            "logit_lens": Onset(above=0.5, scale="chance"),
            "causal_patching": Onset(above=0.5, scale="none"),
            "random_z": Onset(above=0.5, scale="none"),
            "candidate_set": Onset(above=0.5, scale="chance"),
        }
    )
    """The same for the scalar series of each probe (docs/lag.md says which); without `of`."""

    @model_validator(mode="after")
    def _one_series(self) -> Self:
        for probe, rule in self.probes.items():
            if rule.of is not None:
                raise WrongKeyError("probes", f"{probe} has one series, so `of` does not apply")
        return self


class ProbeSettings(Section):
    """Which probes measure every checkpoint, and on which examples."""

    names: tuple[ProbeName, ...] = tuple(PROBES)
    """Probes of a sweep that does not name its own; tasks without z skip those that need z."""
    n_examples: Rows = Field(1000, ge=2)
    """Examples (pairs, for patching) per checkpoint; all rows, if there are fewer."""
    batch_size: Rows = Field(250, ge=1)
    """Examples of one forward pass."""
    split: Literal["train", "held_out"] = "train"
    """Which rows are probed. Facts are arbitrary, so held-out ones cannot be predicted."""


class Sweep(Section):
    """A named list of runs: every combination of the grid, for every random seed."""

    title: str = ""
    """Purpose of the sweep, in words."""
    data: dict[str, Any] = {}
    """Values over lag.run.data, for the whole sweep."""
    model: dict[str, Any] = {}
    """Values over lag.run.model."""
    training: dict[str, Any] = {}
    """Values over lag.run.training."""
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    """Keys of a run that vary, dotted (data.k, training.lr, ...), and the values of each."""
    seeds: Seeds
    """Random seeds of every combination; a claim about a lag needs five or more."""
    probes: tuple[ProbeName, ...] | None = None
    """Probes of this sweep; null: lag.probes.names; []: none."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.seeds)) != len(self.seeds):
            raise WrongKeyError("seeds", f"repeats a seed: {self.seeds}")
        for key, values in self.grid.items():
            if len({(isinstance(v, bool), _comparable(v)) for v in values}) != len(values):
                raise WrongKeyError("grid", f"{key} repeats a value: {values}")
        return self

    @field_validator("grid", mode="after")
    @classmethod
    def _numbers(cls, grid: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """YAML 1.1 reads 1e-3 (without a point) as text."""
        return {
            key: [float(v) if isinstance(v, str) and EXPONENT.fullmatch(v) else v for v in values]
            for key, values in grid.items()
        }


def _comparable(value: Any) -> Any:
    return value if isinstance(value, int | float | str) else repr(value)


class LinearConfig(Section):
    """The linear baselines of the contrast figure: their losses decay from step 0."""

    dim: int = Field(100, ge=2, le=200)
    """Dimensions D of the ill-conditioned regression."""
    condition_number: float = Field(100.0, ge=1)
    """Ratio of the largest to the smallest singular value of M; log-spaced in between."""
    components: int = Field(5, ge=1)
    """Singular directions that are reported, at evenly spaced quantiles of the singular value."""
    regression_batch: int | None = Field(64, ge=1)
    """Fresh pairs per step; null: the expected gradient, without sampling noise."""
    regression_lr: float = Field(0.25, gt=0)
    """Learning rate of the ill-conditioned regression."""
    regression_steps: Steps = Field(6000, ge=10)
    """Gradient steps of the ill-conditioned regression."""
    n_bases: int = Field(100, ge=2)
    """Bases of the planted linear selector."""
    n_candidates: int = Field(10, ge=2)
    """Targets of a base (K) of the planted linear selector."""
    n_targets: int = Field(36, ge=2)
    """Possible targets, of which the K of a base are distinct draws."""
    selector_batch: int | None = Field(64, ge=1)
    """Facts per step, drawn with replacement; null: the gradient over all facts."""
    selector_lr: float = Field(4.0, gt=0)
    """Learning rate of the planted linear selector. Its features are one-hot, so a fact moves by
    this divided by the number of facts per step."""
    selector_steps: Steps = Field(2000, ge=10)
    """Gradient steps of the planted linear selector."""
    evaluations: int = Field(60, ge=1)
    """Evaluations after step 0, log-spaced in steps."""
    seeds: Seeds = [0, 1, 2, 3, 4]
    """Random seeds of both."""

    @model_validator(mode="after")
    def _stable(self) -> Self:
        """Mean-square stability, from the recursions in the docstrings of linear_baselines.py."""
        if self.n_targets < self.n_candidates:
            text = f"{self.n_candidates} distinct targets of a base, but n_targets {self.n_targets}"
            raise WrongKeyError("n_candidates", text, "n_targets")
        lr, noise = self.regression_lr, 1 / (self.regression_batch or math.inf)
        rates = [lr * self.condition_number ** (-2 * i / (self.dim - 1)) for i in range(self.dim)]
        decays = [1 - (1 - rate) ** 2 - rate**2 * noise for rate in rates]
        added = sum(r**2 * noise / d for r, d in zip(rates, decays, strict=True) if d > 0)
        if min(decays) <= 0 or added >= 1:
            text = f"{lr:g} diverges at regression_batch {self.regression_batch}"
            raise WrongKeyError("regression_lr", text, "regression_batch")
        n_facts = self.n_bases * self.n_candidates
        limit = 2 * n_facts / (1 + (n_facts - 1) / (self.selector_batch or math.inf))
        if self.selector_lr >= limit:
            text = f"{self.selector_lr:g} diverges: it must be below {limit:g}"
            raise WrongKeyError("selector_lr", text, "selector_batch", "n_bases", "n_candidates")
        return self


class LagConfig(Section):
    """The late disambiguation lag (protocol 000)."""

    run: RunConfig = RunConfig()
    """Values of every run whose sweep does not set them."""
    sweeps: Annotated[dict[str, Sweep | None], Field(min_length=1)]
    """The named sweeps; null removes one that another file defines."""
    onset: OnsetConfig = OnsetConfig()
    """The definitions of onset."""
    probes: ProbeSettings = ProbeSettings()
    """Which probes measure every checkpoint, and on which examples."""
    linear: LinearConfig = LinearConfig()
    """The linear baselines."""
    runtime_minutes: Annotated[int, Unit("min")] = Field(30, ge=1)
    """Longest time of a training or probe job on a cluster; doubled on a retry."""
    figures: dict[FigureName, str | None] = {}
    """The sweep that a figure shows, if not the sweep of its own name (transition_alignment,
    linear_contrast: z_order_sweep; candidate_eval: k_sweep); null: not drawn."""

    @field_validator("sweeps", mode="before")
    @classmethod
    def _names(cls, sweeps: Any) -> Any:
        for name in sweeps if isinstance(sweeps, dict) else ():
            if not NAME.fullmatch(str(name)):
                raise WrongKeyError(
                    str(name),
                    "a sweep's name is lower-case letters, digits and _, a letter first, "
                    "64 at most",
                )
        return sweeps


def override(
    base: RunConfig,
    sections: Mapping[str, Any],
    locate: Callable[[Path], Path] = tuple,
    note: str = "",
    sources: Sources = (),
) -> RunConfig:
    """`base` with the values of `sections` (data, model, training, or top-level keys) over it.

    locate: turns the path of a key of the run into the path of the key that the user wrote. note:
    follows the message. Raises ConfigError.
    """
    plain = base.model_dump(exclude_unset=True)
    for section, values in sections.items():
        if isinstance(values, Mapping):
            plain[section] = {**plain.get(section, {}), **values}
        else:
            plain[section] = values
    try:
        return RunConfig.model_validate(plain)
    except ValidationError as error:
        raise ConfigError(explain(error, RunConfig, sources, locate, note)) from None
