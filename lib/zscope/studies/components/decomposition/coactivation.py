"""Which components of keys and of values fire together?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from zscope.studies.components.decomposition.descriptions import FIRES
from zscope.studies.components.decomposition.measured import Run
from zscope.studies.components.decomposition.score_pairs import factors
from zscope.tables.schema import Row


def phi(
    together: Float[np.ndarray, "k v"],
    keys: Float[np.ndarray, " k"],
    values: Float[np.ndarray, " v"],
    n: int,
) -> Float[np.ndarray, "k v"]:
    """The correlation of firings, from counts of positions; 0 where one fires always or never."""
    spread = np.outer(keys * (n - keys), values * (n - values))
    top = n * together - np.outer(keys, values)
    return np.asarray(np.where(spread > 0, top / np.sqrt(np.maximum(spread, 1)), 0.0))


def coactivation_rows(
    run: Run, least: int, draws: int, tails: tuple[float, float], rng: np.random.Generator
) -> Iterator[Row]:
    """Every pair of a key's and a value's component of a layer that both fire often enough.

    null: the keys of one sequence against the values of another, by random derangements of the
    sequences: what the position in the sequence alone gives.
    """
    c = run.model.config
    names = run.decomposition.matrices
    fires = (run.g[:, :-1] > FIRES).numpy()  # n seq matrices component
    for layer in range(c.n_layers):
        v, of_v = _often(fires[:, :, names.index(f"{layer}.v")], least)
        for _, key in factors(c):
            k, of_k = _often(fires[:, :, names.index(f"{layer}.{key}")], least)
            if not len(of_k) or not len(of_v):
                continue
            n = k.shape[0] * k.shape[1]
            n_k, n_v = (x.sum((0, 1)) for x in (k, v))
            both = np.einsum("nsk,nsv->kv", k, v, optimize=True)
            null = np.stack(
                [
                    phi(
                        np.einsum("nsk,nsv->kv", k, v[_moved(len(v), rng)], optimize=True),
                        n_k,
                        n_v,
                        n,
                    )
                    for _ in range(draws)
                ]
            )
            low, high = np.quantile(null, tails, axis=0)
            observed = phi(both, n_k, n_v, n)
            for i, j in np.ndindex(both.shape):
                yield {
                    "layer": layer,
                    "key_matrix": key,
                    "key": int(of_k[i]),
                    "value_component": int(of_v[j]),
                    "key_firings": int(n_k[i]),
                    "value_firings": int(n_v[j]),
                    "together": int(both[i, j]),
                    "phi": float(observed[i, j]),
                    "null_low": float(low[i, j]),
                    "null_high": float(high[i, j]),
                    "jaccard": float(both[i, j] / (n_k[i] + n_v[j] - both[i, j])),
                    "value_given_key": float(both[i, j] / n_k[i]),
                    "key_given_value": float(both[i, j] / n_v[j]),
                }


def partner_rows(pairs: list[Row], partners: int) -> Iterator[Row]:
    """For every key's component the values' components that fire with it most, where phi is above
    its null. pairs: of `coactivation_rows`."""
    of: dict[tuple[int, str, int], list[Row]] = {}
    for row in pairs:
        if row["phi"] > row["null_high"]:
            of.setdefault((row["layer"], row["key_matrix"], row["key"]), []).append(row)
    for (layer, matrix, component), rows in of.items():
        first = sorted(rows, key=lambda row: -row["phi"])[:partners]
        for rank, row in enumerate(first):
            yield {
                "matrix": f"{layer}.{matrix}",
                "component": component,
                "partner_matrix": f"{layer}.v",
                "partner": row["value_component"],
                "rank": rank,
                "value": row["phi"],
                "offset": 0,
            }


def _often(fires: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray]:
    """Firings [n, seq, some] of the components that fire often enough, and which they are."""
    which = np.flatnonzero(fires.sum((0, 1)) >= least)
    return fires[:, :, which].astype(np.float32), which


def _moved(n: int, rng: np.random.Generator) -> np.ndarray:
    """A cyclic shift of shuffled sequences: no sequence meets itself."""
    order = rng.permutation(n)
    moved = np.empty(n, dtype=int)
    moved[order] = np.roll(order, 1)
    return moved
