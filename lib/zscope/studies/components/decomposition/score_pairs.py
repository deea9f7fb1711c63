"""Attention scores as sums over pairs of a query's and a key's component, by offset.

A score factor of a head is (R(t) q) . (R(s) k) / divisor with q = sum_a (V_a . x_t) U_a + Delta_q
x_t, and k alike; R is RoPE, so it depends on the offset t - s alone. Per pair and offset

    w_ab(d) = (R(d) U_a) . U_b / divisor,    score = sum_ab (V_a . x_t)(V_b . x_s) w_ab(t - s) + ...

and the rest is Delta's row and column: without them the pairs do not add up. The divisor is the
model's: d_head for each of the two factors of a bilinear head, sqrt d_head for softmax.

Flipping (U, V) of a component changes the sign of its pairs' w and of its activation, so w is given
for oriented components (`descriptions.oriented`), times both mean activations where they fire. The
signs of the two factors of a bilinear head can be flipped together; only their product is told.
"""

# Matrices keep the capitals of the formulas.

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from zscope.models.tensor_transformer import TensorConfig, rotate
from zscope.studies.components.decomposition.descriptions import Oriented
from zscope.studies.components.decomposition.measured import Run
from zscope.studies.components.decomposition.training import ALIVE
from zscope.tables.schema import Row

ALL_HEADS = -1


def factors(config: TensorConfig) -> tuple[tuple[str, str], ...]:
    """Names of the query and key matrices of each score factor."""
    names = config.rotated
    return tuple(zip(names[::2], names[1::2], strict=True))


def divisor(config: TensorConfig) -> float:
    """What one score factor is divided by."""
    return config.d_head if config.attention == "bilinear" else config.d_head**0.5


def pair_weights(
    queries: Float[Tensor, "a width"],
    keys: Float[Tensor, "b width"],
    offsets: Sequence[int],
    config: TensorConfig,
) -> Float[Tensor, "offset head a b"]:
    """w of every pair of vectors that are written into queries and keys (heads side by side)."""
    q, k = (
        x.unflatten(1, (config.n_heads, config.d_head)).transpose(0, 1) for x in (queries, keys)
    )
    found = []
    for offset in offsets:
        turned = rotate(q, torch.tensor([offset]), config.rope_base)
        found.append(turned @ k.mT / divisor(config))
    return torch.stack(found)


@torch.no_grad()
def partner_rows(run: Run, found: Oriented, max_offset: int, partners: int) -> Iterator[Row]:
    """For every query's component that is alive the keys' components with the largest |w| over the
    offsets, summed over heads, and the offset where it is largest."""
    c = run.model.config
    mean = run.mean_by_primitive["all"]
    for layer in range(c.n_layers):
        for query, key in factors(c):
            rows = [found.index(f"{layer}.{name}") for name in (query, key)]
            alive = [(mean[row] > ALIVE).nonzero().flatten() for row in rows]
            if not all(map(len, alive)):
                continue
            q, k = (
                found.writes[row][kept] * found.activation[row][kept, None]
                for row, kept in zip(rows, alive, strict=True)
            )
            summed = pair_weights(q, k, range(max_offset + 1), c).sum(1)
            size, at = summed.abs().max(0)
            for i, component in enumerate(alive[0].tolist()):
                for rank, j in enumerate(size[i].argsort(descending=True)[:partners].tolist()):
                    offset = int(at[i, j])
                    yield {
                        "matrix": f"{layer}.{query}",
                        "component": component,
                        "partner_matrix": f"{layer}.{key}",
                        "partner": int(alive[1][j]),
                        "rank": rank,
                        "value": float(summed[offset, i, j]),
                        "offset": offset,
                    }


@torch.no_grad()
def pair_rows(
    run: Run, found: Oriented, max_offset: int, pairs: int, primitives: Sequence[str]
) -> Iterator[Row]:
    """The largest pairs of every layer and factor over offsets 0 to max_offset: of each head and of
    all heads together by |w|, and of all together by |w| times the mean importance of the query's
    component on a primitive's positions."""
    c = run.model.config
    offsets = range(max_offset + 1)
    mean = run.mean_by_primitive["all"]
    for layer in range(c.n_layers):
        for factor, (query, key) in enumerate(factors(c), 1):
            rows = [found.index(f"{layer}.{name}") for name in (query, key)]
            alive = [(mean[row] > ALIVE).nonzero().flatten() for row in rows]
            if not all(map(len, alive)):
                continue
            vectors = [
                found.writes[row][kept] * found.activation[row][kept, None]
                for row, kept in zip(rows, alive, strict=True)
            ]
            by_head = pair_weights(vectors[0], vectors[1], offsets, c)
            by_head = torch.cat([by_head, by_head.sum(1, keepdim=True)], 1)
            heads = [*range(c.n_heads), ALL_HEADS]
            chosen: list[tuple[str, int, Tensor]] = [
                ("all", head, by_head[:, i].abs().amax(0)) for i, head in enumerate(heads)
            ]
            for primitive in primitives:
                there = run.mean_by_primitive[primitive][rows[0]][alive[0]]
                chosen.append((primitive, ALL_HEADS, by_head[:, -1].abs().amax(0) * there[:, None]))
            for chosen_on, head, size in chosen:
                lines = by_head[:, heads.index(head)]
                for rank, at in enumerate(size.flatten().argsort(descending=True)[:pairs].tolist()):
                    a, b = divmod(at, size.shape[1])
                    for offset in offsets:
                        yield {
                            "layer": layer,
                            "factor": factor,
                            "head": head,
                            "chosen_on": chosen_on,
                            "rank": rank,
                            "query": int(alive[0][a]),
                            "key": int(alive[1][b]),
                            "offset": offset,
                            "value": float(lines[offset, a, b]),
                        }
