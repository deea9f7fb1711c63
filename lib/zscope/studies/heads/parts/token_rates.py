"""How often a head maps a token to the next, to itself, or away from itself: table heads_ov.

The rates are those of `ov.py`: of each ordinal class, of all classes together, and of the names.
A class with fewer single-token words than the detectors ask for is left out. q: Benjamini and
Hochberg over all heads, of chances that every argmax is uniform over its class.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from zscope.config.base import Bootstrap
from zscope.stats import bootstrap_interval, finite
from zscope.studies.heads.ov import Rates, copying, predecessor, succession, suppression
from zscope.studies.heads.token_maps import TokenMaps
from zscope.tables.schema import Row

NAMES, ALL = "names", "all"
"""The class of first names, and that of all ordinal classes together."""


@dataclass(frozen=True, eq=False)
class TokenRates:
    """Rates of all heads, in the order of layers, by what is counted and the class.

    raw: the original protocol's copy score of every token of a class.
    """

    rates: Mapping[tuple[str, str], Rates]
    raw: Mapping[str, Float[np.ndarray, "layer head token"]]

    @property
    def raw_copy(self) -> Float[np.ndarray, "layer head"]:
        """Over the names, as the protocol's."""
        return self.raw[NAMES].mean(-1)


def measure_rates(
    maps: TokenMaps,
    ordinals: Mapping[str, Sequence[int]],
    names: Sequence[int],
    *,
    least: tuple[int, int],
    level: float,
) -> TokenRates:
    """ordinals: ids of each class in order. least: fewest of a class, and of names."""
    classes = {name: ids for name, ids in ordinals.items() if len(ids) >= least[0]}
    asked = {**classes, NAMES: names} if len(names) >= least[1] else dict(classes)
    layers = list(maps.scores(list(asked.values()))) if asked else []
    scores: dict[str, Float[Tensor, "head token token"]] = {
        name: torch.cat([of[i] for of in layers]) for i, name in enumerate(asked)
    }
    rates: dict[tuple[str, str], Rates] = {}
    groups = {name: [scores[name]] for name in classes}
    if classes:
        groups[ALL] = [scores[name] for name in classes]
    for name, of in groups.items():
        for what, rate in (("succession", succession), ("predecessor", predecessor)):
            rates[what, name] = rate(of, level)
        rates["copy", name] = copying(of, level)
    if NAMES in scores:
        rates["copy", NAMES] = copying([scores[NAMES]], level)
        rates["suppression", NAMES] = suppression([scores[NAMES]], level)
    return TokenRates(rates, {name: maps.raw_copies(ids).numpy() for name, ids in asked.items()})


def rate_rows(found: TokenRates, n_heads: int, bootstrap: Bootstrap) -> Iterator[Row]:
    """Rows of table heads_ov without subject and model."""
    from scipy.stats import false_discovery_control

    for (what, of_class), rates in found.rates.items():
        q = false_discovery_control(rates.p)
        raw = _raw(found.raw.get(of_class), bootstrap) if what == "copy" else None
        for i in range(len(rates.hits)):
            yield {
                **{"layer": i // n_heads, "head": i % n_heads},
                **{"measure": what, "token_class": of_class},
                **{"value": float(rates.rate[i]), "ci_low": float(rates.low[i])},
                **{"ci_high": float(rates.high[i]), "chance": rates.chance},
                **{"p": float(rates.p[i]), "q": float(q[i]), "n": rates.n},
                **(dict.fromkeys(_RAW) if raw is None else raw[i]),
            }


_RAW = ("raw_copy", "raw_copy_low", "raw_copy_high")


def _raw(
    scores: Float[np.ndarray, "layer head token"] | None, bootstrap: Bootstrap
) -> list[dict[str, float | None]] | None:
    """Means over a class's tokens, with intervals, of all heads; None for several classes."""
    if scores is None:
        return None
    flat = scores.reshape(-1, scores.shape[-1]).T
    low, high = bootstrap_interval(flat, bootstrap=bootstrap)
    columns = zip(flat.mean(0), low, high, strict=True)
    return [dict(zip(_RAW, map(finite, of), strict=True)) for of in columns]
