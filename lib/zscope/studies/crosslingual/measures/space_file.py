"""V_Z of a model's layers in one safetensors file: written with the weights, read without them.

Tensors are float32 [k, d] with orthonormal rows, named

    L07/k16/qk          Z of layer 7 from all of its heads
    L07/k16/qk/head2    of head 2 alone

A name is missing where the kernel has no k dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from zscope.config.sizes import check_k, check_layer
from zscope.core.errors import DataError
from zscope.models.checkpoints import load_tensors, save_tensors
from zscope.models.language_model import LanguageModel
from zscope.studies.crosslingual.config import Kind, ZConfig


@dataclass(frozen=True)
class ZSettings:
    """The config's `z` for one model: layers and dimensions as whole numbers, without repeats.

    layers, ks, kinds are in the order of the config; the first kind is the main one. k_bound: what
    a k given as a share is a share of.
    """

    n_layers: int
    d: int
    n_heads: int
    k_bound: int
    layers: tuple[int, ...]
    ks: tuple[int, ...]
    kinds: tuple[Kind, ...]

    @classmethod
    def of(cls, z: ZConfig, lm: LanguageModel) -> ZSettings:
        """Raises ConfigError if the model has no such layer, or no Z of so many dimensions."""
        layers = [check_layer(x, lm.n_layers) for x in z.layers]
        ks = [check_k(x, lm.n_kv * lm.d_head) for x in z.k]
        return cls(
            n_layers=lm.n_layers,
            d=lm.d_model,
            n_heads=lm.n_heads,
            k_bound=lm.n_kv * lm.d_head,
            layers=tuple(dict.fromkeys(layers)),
            ks=tuple(dict.fromkeys(ks)),
            kinds=tuple(dict.fromkeys(z.kinds)),
        )


def key(layer: int, k: int, kind: str, head: int | None = None) -> str:
    """Name of a space in the file."""
    return f"L{layer:02d}/k{k}/{kind}" + ("" if head is None else f"/head{head}")


def write_spaces(
    spaces: Mapping[str, Float[Tensor, "k d"]],
    path: str | Path,
    settings: ZSettings,
    provenance: Mapping[str, Any],
) -> None:
    """Write the spaces by name, whole or not at all."""
    metadata = {
        "settings": asdict(settings),
        "names": sorted(spaces),
        "provenance": dict(provenance),
    }
    save_tensors({name: V.to(torch.float32) for name, V in spaces.items()}, path, metadata)


@dataclass(frozen=True)
class SpaceFile:
    """A file of `write_spaces`. Raises CheckpointError if it is missing or damaged."""

    path: str | Path

    @cached_property
    def _metadata(self) -> dict[str, Any]:
        return load_tensors(self.path, ())[1]

    @cached_property
    def settings(self) -> ZSettings:
        """What the spaces are of."""
        plain = self._metadata["settings"]
        lists: dict[str, Any] = {name: tuple(plain[name]) for name in ("layers", "ks", "kinds")}
        return ZSettings(**plain | lists)

    @cached_property
    def names(self) -> frozenset[str]:
        """The spaces that are there."""
        return frozenset(self._metadata["names"])

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
