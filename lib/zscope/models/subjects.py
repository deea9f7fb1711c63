"""Models as a study asks them: one, or several that differ in their training seed.

Loaded on every parse of the Snakefile, so it imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import StringConstraints

Source = Literal["named", "tiny", "toylang", "lag"]
SubjectName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")
]
"""A name of `models`, or STUDY/NAME of what a study trains."""


@dataclass(frozen=True)
class Subject:
    """One model, or several that differ in their training seed.

    Attributes:
        name: as in the config.
        source: how it is loaded.
        models: the file or folder of weights of each model, by its name.
        rows: the file of rows of one format that each model was trained on, in the order of the
            models, if it has no other text.
        settings: plain values that its sequences depend on, such as the toy language's config.
        dtype: of the weights in memory.
    """

    name: str
    source: Source
    models: Mapping[str, str]
    rows: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = "float32"

    @property
    def path(self) -> str:
        """Its name in paths."""
        return self.name.replace("/", "-")
