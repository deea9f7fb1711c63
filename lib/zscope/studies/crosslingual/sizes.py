"""Layers and dimensions of one model as whole numbers: table crosslingual_sizes, there and back.

The config gives a layer by its index or as a share of the depth, and a k as a number or as a share
of n_kv_heads * d_head. They are resolved here, once per model; every later job reads the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from zscope.config.sizes import check_k, check_layer
from zscope.studies.crosslingual.config import ArdConfig, VerdictConfig, ZConfig
from zscope.studies.crosslingual.tables import SIZES
from zscope.tables.read import read_table


class Shape(Protocol):
    """What of a model's shape the sizes depend on."""

    @property
    def n_layers(self) -> int: ...
    @property
    def d_model(self) -> int: ...
    @property
    def n_heads(self) -> int: ...
    @property
    def n_kv_heads(self) -> int: ...
    @property
    def d_head(self) -> int: ...


@dataclass(frozen=True)
class Sizes:
    """What the config asks for in one model, without repeats and in the config's order.

    layers, ks: of Z, by their text in the config. ard_layers: n_layers is the state after the last
    layer. layer, k: those that the verdict is read from.
    """

    n_layers: int
    d_model: int
    n_heads: int
    by_text: Mapping[str, int]
    ks: tuple[int, ...]
    ard_layers: tuple[int, ...]
    layer: int
    k: int

    @property
    def layers(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(self.by_text.values()))


def size_rows(
    shape: Shape, z: ZConfig, verdict: VerdictConfig, ard: ArdConfig
) -> Iterator[dict[str, Any]]:
    """Rows of the table, without the model.

    Raises ConfigError if the model has no such layer, or no Z of so many dimensions.
    """
    n_layers, bound = shape.n_layers, shape.n_kv_heads * shape.d_head

    def rows(role: str, size: str, values: Iterable[tuple[Any, int]]) -> Iterator[dict[str, Any]]:
        for given, value in dict(values).items():
            text = None if given is None else str(given)
            yield {"role": role, "size": size, "given": text, "value": value}

    for size in ("n_layers", "d_model", "n_heads"):
        yield from rows("model", size, [(None, getattr(shape, size))])
    for role, layers, ks in (("z", z.layers, z.k), ("verdict", [verdict.layer], [verdict.k])):
        yield from rows(role, "layer", ((x, check_layer(x, n_layers)) for x in layers))
        yield from rows(role, "k", ((x, check_k(x, bound)) for x in ks))
    # The state after the last layer can be fitted too; it has no attention, hence no Z.
    fitted = ((x, x if x == n_layers else check_layer(x, n_layers)) for x in ard.layers or z.layers)
    yield from rows("ard", "layer", ((x, int(index)) for x, index in fitted))


def read_sizes(path: str | Path) -> Sizes:
    """The sizes of the one model of a file. Raises TableError as `read_table`."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for row in read_table(path, SIZES).to_dict("records"):
        found.setdefault((row["role"], row["size"]), {})[row["given"]] = int(row["value"])

    def distinct(role: str, size: str) -> tuple[int, ...]:
        return tuple(dict.fromkeys(found[role, size].values()))

    return Sizes(
        n_layers=distinct("model", "n_layers")[0],
        d_model=distinct("model", "d_model")[0],
        n_heads=distinct("model", "n_heads")[0],
        by_text=found["z", "layer"],
        ks=distinct("z", "k"),
        ard_layers=distinct("ard", "layer"),
        layer=distinct("verdict", "layer")[0],
        k=distinct("verdict", "k")[0],
    )
