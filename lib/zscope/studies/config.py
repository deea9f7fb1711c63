"""The whole config.yaml.

`load(raw)` validates the mapping that Snakemake read from config/*.yaml; a mistake becomes one
`ConfigError` that names the key, the value, what is allowed and the file. The reference page
docs/config.md and workflow/schemas/config.schema.json are generated from these models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import ValidationError, field_validator, model_validator

from zscope.config.base import Bootstrap, Section, WrongKeyError
from zscope.config.messages import explain
from zscope.core.errors import ConfigError
from zscope.models.registry import TINY, ModelSource, check_name
from zscope.studies.components.config import ComponentsConfig
from zscope.studies.crosslingual.config import CrosslingualConfig
from zscope.studies.heads.config import HeadsConfig
from zscope.studies.lag.config import LagConfig
from zscope.studies.registry import TITLES
from zscope.studies.toylang.config import ToylangConfig


class Config(Section):
    """config.yaml."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """The device of all models; auto: cuda if there is one, else mps, else cpu."""
    bootstrap: Bootstrap = Bootstrap()
    """Bootstrap intervals."""
    models: dict[str, ModelSource] = {}
    """Models by the names that studies call them by. One that no study names is not fetched."""
    lag: LagConfig | None = None
    """The late disambiguation lag; null: not run."""
    toylang: ToylangConfig | None = None
    """The toy language and tensor transformers; null: not run."""
    crosslingual: CrosslingualConfig | None = None
    """The cross-lingual Z study; null: not run."""
    heads: HeadsConfig | None = None
    """Attention heads, of named models and of those that the other studies train; null: not run."""
    components: ComponentsConfig | None = None
    """Attribution, dictionaries and decomposition, scored against known truth; null: not run."""

    @field_validator("models", mode="before")
    @classmethod
    def _names(cls, models: Any) -> Any:
        for name in models if isinstance(models, dict) else ():
            check_name(name)
        return models

    @model_validator(mode="after")
    def _models_are_named(self) -> Self:
        if study := self.crosslingual:
            for name in study.named:
                if name not in self.models:
                    key = "models" if name in study.models else "weights_only"
                    raise _no_model(f"crosslingual.{key}", name, [TINY, *self.models])
        for name in self.heads.named if self.heads else ():
            if name not in self.models:
                more = ", or take it from the subjects"
                raise _no_model("heads.subjects", name, [*self.models], more)
        for name in self.components.pretrained if self.components else ():
            if name not in self.models:
                raise _no_model("components.pretrained", name, list(self.models))
        return self

    @model_validator(mode="after")
    def _runs_are_trained(self) -> Self:
        study = self.crosslingual
        trained = study.seeds_of(TINY) if study and study.has_tiny else {}
        for name, source in self.models.items():
            if source.study and source.study not in [f"crosslingual/{run}" for run in trained]:
                raise WrongKeyError(
                    "models",
                    f"{name}.study: {source.study} is no model that this config trains; there are "
                    f"{', '.join(f'crosslingual/{run}' for run in trained) or 'none'}. "
                    f"{_why_no_model(source.study)}",
                    "crosslingual",
                )
        return self

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not any(getattr(self, study) for study in TITLES):
            raise ValueError(
                f"no study is configured: give {', '.join(TITLES)}, or several of them"
            )
        return self


def _no_model(key: str, name: str, known: Sequence[str], more: str = "") -> WrongKeyError:
    """What a study calls by a name that the section models does not have."""
    return WrongKeyError(
        key,
        f"no model {name}; there are {', '.join(known) or 'none'}. Name yours: "
        f"models: {{{name}: {{path: folder}}}}{more}",
        key.partition(".")[0],
    )


def _why_no_model(study: str) -> str:
    """Why a run is no source of a model, and the way out."""
    name = study.partition("/")[0]
    if name in TITLES and name != "crosslingual":
        return (
            f"Runs of {name} are no Hugging Face models, which studies of named models read; "
            "in a notebook, zscope.results.model(...) reads them"
        )
    return "Give one of them, or train it: crosslingual: {models: [tiny], seeds: [...]}"


def load(raw: Mapping[str, Any], sources: Iterable[tuple[str, Mapping[str, Any]]] = ()) -> Config:
    """Validate the mapping that was read from the configuration files.

    `sources` are (file name, its mapping), later ones winning: the message names the file that set
    the offending key. Raises ConfigError with one line per mistake.
    """
    files = list(sources)
    if files:  # a key that no file holds was given as --config
        files.insert(0, ("--config", plain(raw)))
    try:
        return Config.model_validate(plain(raw))
    except ValidationError as error:
        raise ConfigError(explain(error, Config, files)) from None


def plain(raw: Any) -> Any:
    """Ordinary dicts and lists instead of Snakemake's."""
    if isinstance(raw, Mapping):
        return {k: plain(v) for k, v in raw.items()}
    if isinstance(raw, list | tuple):
        return [plain(v) for v in raw]
    return raw
