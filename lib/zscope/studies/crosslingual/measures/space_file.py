"""V_Z of a model's layers: taken from the weights, written to one safetensors file, read from it.

Tensors are float32 [k, d] with orthonormal rows, named

    L07/k16/qk          Z of layer 7 from all of its heads
    L07/k16/qk/head2    of head 2 alone

A name is missing where the kernel has no k dimensions.
"""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N806

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from zscope.core.errors import DataError
from zscope.models.attention_kernels import AttentionWeights, rank_bound, stacked_right_space
from zscope.models.checkpoints import load_tensors, save_tensors
from zscope.studies.crosslingual.config import ZConfig
from zscope.studies.crosslingual.sizes import Sizes, read_sizes


def key(layer: int, k: int, kind: str, head: int | None = None) -> str:
    """Name of a space in the file."""
    return f"L{layer:02d}/k{k}/{kind}" + ("" if head is None else f"/head{head}")


def layer_spaces(
    weights: AttentionWeights, layer: int, z: ZConfig, sizes: Sizes
) -> tuple[dict[str, Float[Tensor, "k d"]], list[str]]:
    """V_Z by name (`key`), and a note on every one that cannot be.

    Those of single heads are of the main kind, and at the layers of Z of the other kinds too.
    """
    found: dict[str, Tensor] = {}
    notes = []
    for kind in dict.fromkeys(z.kinds):
        alone = kind == z.kind or layer in sizes.layers
        for head in (None, *range(weights.n_heads)) if alone else (None,):
            # All of d is no subspace: nothing is left outside it.
            bound = min(rank_bound(weights, kind, head), weights.d - 1)
            fits = [k for k in sizes.ks if k <= bound]
            if fits:
                V = stacked_right_space(weights, max(fits), kind, head)
                found |= {key(layer, k, kind, head): V[:k] for k in fits}
            for k in set(sizes.ks) - set(fits):
                name = key(layer, k, kind, head)
                notes.append(f"no space {name}: its kernel has {bound} dimensions at most")
    return found, notes


def write_spaces(
    spaces: Mapping[str, Float[Tensor, "k d"]], path: str | Path, provenance: Mapping[str, Any]
) -> None:
    """Write the spaces by name, whole or not at all."""
    metadata = {"names": sorted(spaces), "provenance": dict(provenance)}
    save_tensors({name: V.to(torch.float32) for name, V in spaces.items()}, path, metadata)


@dataclass(frozen=True)
class SpaceFile:
    """A file of `write_spaces`, and what was asked for. CheckpointError: missing or damaged."""

    path: str | Path
    sizes: Sizes
    z: ZConfig

    @classmethod
    def open(cls, path: str | Path, sizes: str | Path, z: Mapping[str, Any]) -> SpaceFile:
        """sizes: path of the table; z: the config's section, or a part of it."""
        return cls(path, read_sizes(sizes), ZConfig.model_validate(z))

    @cached_property
    def names(self) -> frozenset[str]:
        """The spaces that are there."""
        return frozenset(load_tensors(self.path, ())[1]["names"])

    def has(self, layer: int, k: int, kind: str, head: int | None = None) -> bool:
        """Whether the kernel has a space of k dimensions."""
        return key(layer, k, kind, head) in self.names

    def load(self, layer: int, k: int, kind: str, head: int | None = None) -> Float[Tensor, "k d"]:
        """V_Z in float64. Raises DataError if the kernel has no k dimensions."""
        name = key(layer, k, kind, head)
        if name not in self.names:
            raise DataError(
                f"{self.path}: no space {name}: its kernel has fewer than {k} dimensions\n"
                "give a smaller k in z.k"
            )
        return load_tensors(self.path, [name])[0][name].double()

    def of_layer(self, layer: int) -> dict[int, Float[Tensor, "k d"]]:
        """By k, those of the main kernel that the layer has."""
        kind = self.z.kind
        return {k: self.load(layer, k, kind) for k in self.sizes.ks if self.has(layer, k, kind)}
