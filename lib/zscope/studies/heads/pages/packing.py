"""Attention patterns, small enough for a page: whole bytes of the lower triangle, in base64.

A pattern is causal, so seq (seq + 1) / 2 of its entries are kept, row by row. An entry is a signed
byte, in units of the largest entry of its head over 127: the error is at most 1/254 of that entry.
Base64 makes four characters of three bytes. 270 heads on 4 prompts of 48 tokens are 1.7 MB.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from zscope.core.errors import DataError

STEPS = 127


@dataclass(frozen=True)
class PackedPatterns:
    """The patterns of all heads on one prompt; the weight of byte b of head h is b scale[h] / 127.

    scale: [n_heads], the largest absolute weight of each. packed: base64 of signed bytes
    [n_heads, seq (seq + 1) / 2], row by row. signed: whether a weight is below 0.
    """

    scale: tuple[float, ...]
    packed: str
    signed: bool


def triangles(
    patterns: pd.DataFrame, n_layers: int, n_heads: int, seq: int
) -> Float[np.ndarray, "heads triangle"]:
    """The lower triangles of the patterns on one prompt, layer after layer: from heads_patterns.

    Raises DataError, in one line, if an entry is above the diagonal, out of range or missing.
    """
    layer, head, query, key = (
        patterns[name].to_numpy(np.int64) for name in ("layer", "head", "query", "key")
    )
    size = seq * (seq + 1) // 2
    fits = (layer < n_layers) & (head < n_heads) & (key >= 0) & (key <= query) & (query < seq)
    expected = n_layers * n_heads * size
    if not fits.all() or len(patterns) != expected:
        prompt = patterns["prompt"].iloc[0] if len(patterns) else "?"
        raise DataError(
            f"page: the patterns on prompt {prompt} are no lower triangles of {n_layers} x "
            f"{n_heads} heads on {seq} tokens: {len(patterns)} entries, of which {int(fits.sum())} "
            f"fit, instead of {expected}"
        )
    out = np.full((n_layers * n_heads, size), np.nan)
    out[layer * n_heads + head, query * (query + 1) // 2 + key] = patterns["weight"].to_numpy(float)
    if not np.isfinite(out).all():
        raise DataError(
            f"page: a weight on prompt {patterns['prompt'].iloc[0]} is there twice, or no number"
        )
    return out


def pack(weights: Float[np.ndarray, "heads triangle"]) -> PackedPatterns:
    """Round to bytes. weights: finite."""
    scale = np.abs(weights).max(axis=1, initial=0)
    # Rounded before it is used, because the page reads the rounded one.
    scale = np.array([float(f"{s:.5g}") for s in scale])
    whole = np.divide(weights, scale[:, None], out=np.zeros_like(weights), where=scale[:, None] > 0)
    steps = np.clip(np.rint(whole * STEPS), -STEPS, STEPS).astype(np.int8)
    return PackedPatterns(
        tuple(scale.tolist()), b64encode(steps.tobytes()).decode(), bool((weights < 0).any())
    )
