"""What later layers attend to at the last position of a prompt: table heads_prompt_attention.

Prompts differ in length, so keys are counted from the query back, t-0 being the query itself. The
first key, on which attention parks, has a group of its own, and so do all keys that are farther
back. A layer's row is its mean over heads. Heads that move in opposite directions cancel in it, so
the row of all keys says how much of it moved, whatever the direction:

    moved = mean over heads of sum_j |A'_j - A_j| / 2

which for patterns that sum to 1 is the total variation distance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jaxtyping import Float
from torch import Tensor

from zscope.models.attention_view import LayerHeads
from zscope.studies.heads.tables import ALL_KEYS, FARTHER, FIRST_KEY
from zscope.tables.schema import Row

MAX_OFFSET = 7  # farther keys are one group


def last_row(heads: LayerHeads) -> Float[Tensor, "batch head key"]:
    """The pattern's last row, on the CPU."""
    return heads.pattern[:, :, -1].detach().float().cpu()


class AttentionAtEnd:
    """The last rows of the clean run by layer, against which those of ablated runs are held."""

    def __init__(self) -> None:
        self._clean: dict[int, Float[Tensor, "batch head key"]] = {}

    def keep(self, heads: LayerHeads) -> None:
        """See a layer of the clean run."""
        self._clean[heads.layer] = last_row(heads)

    def rows(self, heads: LayerHeads) -> list[list[Row]]:
        """For each prompt of the batch, the rows of one layer of an ablated run."""
        clean, ablated = self._clean[heads.layer], last_row(heads)
        moved = (ablated - clean).abs().sum(-1).mean(-1) / 2
        found: list[list[Row]] = [
            [_row(heads.layer, ALL_KEYS, None, m, 0.0)] for m in moved.tolist()
        ]
        for name, offset, keys in key_groups(clean.shape[-1]):
            weights, before = (x[:, :, keys].sum(-1).mean(-1).tolist() for x in (ablated, clean))
            for rows, weight, was in zip(found, weights, before, strict=True):
                rows.append(_row(heads.layer, name, offset, weight, was))
        return found


def key_groups(length: int) -> Iterator[tuple[str, int | None, Sequence[int]]]:
    """Name, offset and keys of every group at the last position of so many tokens."""
    t = length - 1
    yield FIRST_KEY, None, [0]
    for offset in range(min(t, MAX_OFFSET + 1)):
        yield f"t-{offset}", offset, [t - offset]
    if farther := range(1, t - MAX_OFFSET):
        yield FARTHER, None, list(farther)


def _row(layer: int, keys: str, offset: int | None, weight: float, clean: float) -> Row:
    return {"layer": layer, "keys": keys, "offset": offset, "weight": weight, "clean": clean}
