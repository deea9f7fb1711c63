"""Sets of heads, as the table of ablations names them, and how many there are. No torch."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable


def heads_per_layer(heads: str) -> Counter[str]:
    """How many heads of each layer: "L0H3+L1H1" has one in layer 0 and one in layer 1."""
    return Counter(re.findall(r"L(\d+)H", heads))


def count_sets(per_layer: Iterable[int], n_heads: int) -> int:
    """How many sets have so many heads in each of some layers of `n_heads` heads."""
    return math.prod(math.comb(n_heads, count) for count in per_layer)
