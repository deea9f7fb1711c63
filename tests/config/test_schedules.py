"""Steps of a training at which something is done."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zscope.config.schedules import log_spaced, spaced_evaluations


def test_steps_of_one_per_doubling_are_the_powers_of_two():
    assert list(itertools.islice(log_spaced(1), 6)) == [1, 2, 4, 8, 16, 32]


@pytest.mark.parametrize("per_doubling", [3, 8])
def test_so_many_steps_lie_between_a_step_and_its_double(per_doubling):
    steps = list(itertools.takewhile(lambda s: s <= 4096, log_spaced(per_doubling)))
    for step in (64, 256, 2048):
        assert len([s for s in steps if step <= s < 2 * step]) == per_doubling


@given(st.integers(1, 3000), st.integers(1, 200), st.integers(0, 12))
def test_evaluations_are_never_farther_apart_than_both_spacings_allow(steps, every, per_doubling):
    found = spaced_evaluations(steps, every, per_doubling)
    assert found[0] == 0
    assert found[-1] == steps
    assert list(found) == sorted(set(found))
    for a, b in itertools.pairwise(found):
        assert b - a <= every
        if per_doubling and a >= 1:
            assert b - a <= max(1, a * (2 ** (1 / per_doubling) - 1) + 1)


def test_without_early_ones_they_are_the_multiples():
    assert spaced_evaluations(120, 50, 0) == (0, 50, 100, 120)


def test_the_default_tells_an_early_onset_to_a_tenth():
    found = spaced_evaluations(1400, 50, 8)
    near = [s for s in found if 80 <= s <= 125]
    assert all(b / a < 1.1 for a, b in itertools.pairwise(near))
    assert len(found) < 75
