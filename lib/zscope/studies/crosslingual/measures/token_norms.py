"""How long the states of tokens are, and how many are massive: rows of crosslingual_token_norms."""

from __future__ import annotations

from collections.abc import Iterator

from zscope.studies.crosslingual.space.activations import Layer
from zscope.tables.schema import Row


def layer_rows(states: Layer, layer: int) -> Iterator[Row]:
    """A row per language, over its real tokens; those of examples are none of them."""
    for language, own in states.items():
        norms = own.norms[own.mask.bool()]
        yield {
            "layer": layer,
            "language": language,
            "n": len(norms),
            "massive": int(own.massive.sum()),
            "median_norm": float(norms.median()),
            "largest_norm": float(norms.max()),
        }
