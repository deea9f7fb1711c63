"""The configuration of the components study."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from zscope.config.base import Section, WrongKeyError
from zscope.models.subjects import SubjectName
from zscope.studies.components.attribution.config import AttributionConfig
from zscope.studies.components.decomposition.config import DecompositionConfig
from zscope.studies.components.dictionaries.config import DictionariesConfig
from zscope.studies.components.letters.config import LettersConfig


class ComponentsConfig(Section):
    """Attribution, dictionaries and decomposition: which of them find what is really there?"""

    toy: list[SubjectName] = ["toylang/reference", "toylang/softmax"]
    """Conditions of the toy language, each with all of its seeds, on which methods are scored
    against the exact language. The first that is bilinear is decomposed. Those that the config does
    not train are left out."""
    pretrained: list[SubjectName] = []
    """Names of `models` on which the methods are run where no truth is known."""
    attribution: AttributionConfig = AttributionConfig()
    """Attribution patching against exhaustive patching."""
    dictionaries: DictionariesConfig = DictionariesConfig()
    """Sparse dictionaries against planted features and the toy language."""
    decomposition: DecompositionConfig = DecompositionConfig()
    """Parameter decomposition against planted components and the toy language."""
    letters: LettersConfig = LettersConfig()
    """A small experiment: answers by the label or by the place of an option."""
    seed: int = Field(0, ge=0, le=2**32 - 1)
    """Random seed of sequences, of planted data, of dictionaries and of decompositions."""
    mem_mb: int = Field(3000, ge=500)
    """Memory of a job, for the cluster."""
    runtime_minutes: int = Field(60, ge=1)
    """Run time of a job, for the cluster."""

    @model_validator(mode="after")
    def _once(self) -> Self:
        for key in ("toy", "pretrained"):
            names = getattr(self, key)
            if len(set(names)) != len(names):
                raise WrongKeyError(key, f"names a model twice: {names}")
        return self
