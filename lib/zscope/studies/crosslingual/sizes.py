"""Layers and dimensions of one model as whole numbers: table crosslingual_sizes, both ways.

The config gives a layer by its index or as a share of the depth, and a k as a number or as a share
of n_kv_heads * d_head. They are resolved here, once per model; every later job reads the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zscope.config.sizes import check_k, check_layer
from zscope.studies.crosslingual.config import ZConfig
from zscope.studies.crosslingual.tables import SIZES
from zscope.tables.read import read_table


@dataclass(frozen=True)
class Sizes:
    """A model's own sizes, and what the config's z asks for in it: index and k by their text."""

    n_layers: int
    d_model: int
    n_heads: int
    layer_of: Mapping[str, int]
    k_of: Mapping[str, int]

    @property
    def layers(self) -> tuple[int, ...]:
        """Without repeats, in the config's order."""
        return tuple(dict.fromkeys(self.layer_of.values()))

    @property
    def ks(self) -> tuple[int, ...]:
        """Without repeats, in the config's order."""
        return tuple(dict.fromkeys(self.k_of.values()))


def size_rows(shape: Mapping[str, Any], z: ZConfig) -> Iterator[dict[str, Any]]:
    """Rows of the table, without the model. shape: a row of crosslingual_models.

    Raises ConfigError if the model has no such layer, or no Z of so many dimensions.
    """
    for size in ("n_layers", "d_model", "n_heads"):
        yield {"size": size, "given": None, "value": shape[size]}
    layers = {str(x): check_layer(x, shape["n_layers"]) for x in z.layers}
    ks = {str(x): check_k(x, shape["n_kv_heads"] * shape["d_head"]) for x in z.k}
    for size, values in (("layer", layers), ("k", ks)):
        for given, value in values.items():
            yield {"size": size, "given": given, "value": value}


def fitted_layers(given: Sequence[int | float] | None, sizes: Sizes) -> tuple[int, ...]:
    """The layers of ard.layers, or of z where it is null. Raises ConfigError if there is none such.

    n_layers is the state after the last layer: it can be fitted, but no attention reads it, so it
    has no Z.
    """
    if given is None:
        return sizes.layers
    n = sizes.n_layers
    return tuple(dict.fromkeys(n if x == n else check_layer(x, n) for x in given))


def read_sizes(path: str | Path) -> Sizes:
    """The sizes of the one model of a file. Raises TableError as `read_table`."""
    found: dict[str, dict[str, int]] = {}
    for row in read_table(path, SIZES).to_dict("records"):
        found.setdefault(row["size"], {})[row["given"]] = int(row["value"])
    own = {size: next(iter(found[size].values())) for size in ("n_layers", "d_model", "n_heads")}
    return Sizes(**own, layer_of=found["layer"], k_of=found["k"])
