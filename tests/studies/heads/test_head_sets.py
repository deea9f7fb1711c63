"""Sets of heads against counting them."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, product

import numpy as np
import pytest

from zscope.studies.heads.head_sets import (
    count_anywhere,
    count_like,
    heads_of,
    heads_text,
    random_beside,
    sets_anywhere,
    sets_like,
)


def test_texts_are_read_back():
    heads = ((0, 3), (11, 10))
    assert heads_text(heads) == "L0H3+L11H10"
    assert heads_of(heads_text(heads)) == heads
    assert heads_of("") == ()


def test_all_other_sets_of_the_same_layers_are_given_if_they_are_few():
    heads = ((0, 1), (2, 0), (2, 3))
    found = list(sets_like(heads, 4, 100, np.random.default_rng(0)))
    every = {((0, a), (2, b), (2, c)) for a, (b, c) in product(range(4), combinations(range(4), 2))}
    assert set(found) == every - {heads}
    assert len(found) == count_like(heads, 4) == 23


@pytest.mark.parametrize("anywhere", [False, True])
def test_drawn_sets_differ_and_have_the_same_size(anywhere):
    heads = ((0, 1), (2, 0), (2, 3))
    rng = np.random.default_rng(0)
    how = (heads, 5, 9, 30, rng) if anywhere else (heads, 9, 30, rng)
    found = list((sets_anywhere if anywhere else sets_like)(*how))
    assert len(set(found)) == 30
    assert heads not in found
    assert all(list(s) == sorted(set(s)) and len(s) == 3 for s in found)
    layers = [Counter(layer for layer, _ in s) for s in found]
    assert all(x == Counter({0: 1, 2: 2}) for x in layers) is not anywhere


def test_sets_of_all_layers_are_all_given_if_they_are_few():
    found = set(sets_anywhere(((0, 0), (1, 1)), 2, 2, 10, np.random.default_rng(0)))
    every = set(combinations(product(range(2), range(2)), 2))
    assert found == every - {((0, 0), (1, 1))}
    assert len(found) == count_anywhere(2, 2, 2)


def test_random_heads_are_of_the_same_layers_and_not_chosen():
    chosen = [(0, 0), (0, 1), (3, 2)]
    found = random_beside(chosen, 4, np.random.default_rng(1))
    assert [layer for layer, _ in found] == [0, 0, 3]
    assert not {*found} & {*chosen}
    assert random_beside([(0, 0), (0, 1)], 2, np.random.default_rng(1)) == []


def test_the_number_of_sets_fits_a_column():
    """Those like 40 of 270 heads have a number of 30 digits."""
    heads = tuple((layer, head) for layer in range(30) for head in range(1 + layer % 2))
    assert count_like(heads, 9) == count_anywhere(40, 30, 9) == 10**9
