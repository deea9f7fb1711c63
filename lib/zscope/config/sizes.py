"""Layers and dimensions from the config, as numbers or shares, for one model."""

from __future__ import annotations

import math

from zscope.core.errors import ConfigError


def check_layer(layer: int | float, n_layers: int) -> int:
    """The layer's index: a whole number stays, a fraction of the depth is floor(x * n_layers).

    0.89 of 36 layers is layer 32. Raises ConfigError if the model has no such layer.
    """
    if isinstance(layer, bool) or not isinstance(layer, int | float):
        raise ConfigError(f"layer {layer!r} must be a whole number or a fraction of the depth")
    index = layer if isinstance(layer, int) else _floor(layer * n_layers)
    if index is None or not 0 <= index < n_layers:
        raise ConfigError(
            f"layer {layer!r}: the model has {n_layers} layers, so give a whole number from 0 to "
            f"{n_layers - 1}, or a fraction of the depth from 0.0 to below 1.0"
        )
    return index


def check_k(k: int | float, bound: int) -> int:
    """Dimensions of Z: a whole number stays, a fraction of `bound` = n_kv * d_head is rounded.

    0.195 of 256 is 50; the least is 1. Raises ConfigError if Z cannot have so many.
    """
    if isinstance(k, bool) or not isinstance(k, int | float):
        raise ConfigError(f"k {k!r} must be a whole number or a fraction of n_kv * d_head")
    fraction = isinstance(k, float)
    if not (0 < k <= 1 if fraction else 1 <= k <= bound):
        raise ConfigError(
            f"k {k!r}: the model's keys span n_kv * d_head = {bound} dimensions, so give a whole "
            f"number from 1 to {bound}, or a fraction of them above 0.0 and up to 1.0"
        )
    return max(1, round(k * bound)) if fraction else int(k)


def _floor(x: float) -> int | None:
    # A rounding error must not put a fraction such as 32/36 into the layer below.
    return math.floor(x + 1e-9) if math.isfinite(x) else None
