"""Random tokens, and repeats of them with a period that varies between sequences."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from zscope.core.errors import DataError
from zscope.studies.heads.streams import Stream


def random_sequences(
    pool: Sequence[int], n: int, length: int, *, front: Sequence[int], seed: int
) -> Stream:
    """`front`, then tokens of the pool, drawn with replacement."""
    draws = torch.Generator().manual_seed(seed)
    body = torch.randint(len(pool), (n, length - len(front)), generator=draws)
    return Stream("random", _behind(front, torch.tensor(pool)[body]))


def repeats(
    pool: Sequence[int],
    n: int,
    length: int,
    *,
    periods: tuple[int, int],
    front: Sequence[int],
    seed: int,
) -> Stream:
    """`front`, then distinct tokens of the pool again and again, until the length is reached.

    periods: smallest and largest number of distinct tokens. Each is used as often as any other, in
    random order, so that masks differ between sequences. Raises DataError if the pool is too small,
    if there is one period alone, or if the largest leaves no second copy.
    """
    low, high = periods
    room = length - len(front)
    if not 1 <= low < high:
        raise DataError(
            f"periods {low} to {high}: with one period alone, a positional head would be an "
            "induction head"
        )
    if high > len(pool):
        raise DataError(f"periods up to {high}, but there are {len(pool)} tokens to repeat")
    if high >= room:
        raise DataError(f"periods up to {high} are never repeated within {room} tokens")
    draws = torch.Generator().manual_seed(seed)
    tokens = torch.tensor(pool)
    sizes = _in_turn(torch.arange(low, high + 1), n, draws)
    rows = [
        tokens[torch.randperm(len(pool), generator=draws)[:size]].repeat(-(-room // size))[:room]
        for size in sizes.tolist()
    ]
    return Stream("repeats", _behind(front, torch.stack(rows)))


def fixed_repeats(pool: Sequence[int], n: int, half: int, *, seed: int) -> Stream:
    """The original protocol's: `half` tokens, drawn with replacement, twice; nothing in front."""
    draws = torch.Generator().manual_seed(seed)
    body = torch.tensor(pool)[torch.randint(len(pool), (n, half), generator=draws)]
    return Stream("fixed_repeats", torch.cat([body, body], 1))


def _in_turn(values: Int[Tensor, " k"], n: int, draws: torch.Generator) -> Int[Tensor, " n"]:
    """n values: random orders of all of them, one after another."""
    k = len(values)
    orders = [values[torch.randperm(k, generator=draws)] for _ in range(-(-n // k))]
    return torch.cat(orders)[:n]


def _behind(front: Sequence[int], body: Int[Tensor, "n body"]) -> Int[Tensor, "n seq"]:
    ahead = torch.tensor(front, dtype=body.dtype).expand(len(body), len(front))
    return torch.cat([ahead, body], 1)
