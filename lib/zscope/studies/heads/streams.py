"""Sequences of tokens of one length, with what the detectors must know of them beside the ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from zscope.core.errors import DataError


@dataclass(frozen=True, eq=False)
class Stream:
    """Sequences that are run through a model as they are: ids, never text that is encoded again.

    Attributes:
        name: what they are ("text", "repeats", ...); detectors name the streams they are asked on.
        ids: the tokens, all rows equally long, nothing padded.
        marks: places by name, such as where the delimiters or the items of a list are.
        classes: the class of every token, an index into class_names; None if there are none.

    Raises DataError if shapes contradict each other.
    """

    name: str
    ids: Int[Tensor, "n seq"]
    marks: Mapping[str, Bool[Tensor, "n seq"]] = field(default_factory=dict)
    classes: Int[Tensor, "n seq"] | None = None
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        parts = {f"the mark {name!r}": mark for name, mark in self.marks.items()}
        if self.classes is not None:
            parts["the classes"] = self.classes
            if self.classes.numel() and int(self.classes.max()) >= len(self.class_names):
                raise DataError(f"stream {self.name}: a class without a name")
        for name, part in parts.items():
            if part.shape != self.ids.shape:
                raise DataError(
                    f"stream {self.name}: {name} has shape {tuple(part.shape)}, "
                    f"not {tuple(self.ids.shape)}"
                )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def length(self) -> int:
        """Tokens of each sequence."""
        return self.ids.shape[1]

    def mark(self, name: str) -> Bool[Tensor, "n seq"]:
        """A mark. Raises DataError, which says what there is, if it is missing."""
        if name not in self.marks:
            there = ", ".join(sorted(self.marks)) or "none"
            raise DataError(f"stream {self.name}: no mark {name!r}; it has {there}")
        return self.marks[name]

    def take(self, rows: Int[Tensor, " some"]) -> Stream:
        """The sequences with these indices."""
        return Stream(
            self.name,
            self.ids[rows],
            {name: mark[rows] for name, mark in self.marks.items()},
            None if self.classes is None else self.classes[rows],
            self.class_names,
        )

    def shifted(self, rows: Int[Tensor, " some"], shift: int) -> Stream:
        """The sequences that lie `shift` places on from these, cyclically."""
        return self.take(torch.remainder(rows + shift, len(self)))
