"""The parts of a verdict: draws as units, what can be reached, power, trainings."""

import itertools

import numpy as np
import pytest
from scipy.stats import binom, norm

from zscope.stats import sign_flip_test
from zscope.verdicts import (
    LEAST_DRAWS,
    UNKNOWN,
    VARIES,
    DrawTest,
    all_of,
    any_of,
    at_least,
    detectable,
    detectable_beyond,
    draw_test,
    graded,
    graded_if_told,
    least_paired_p,
    over_trainings,
    special,
    tally,
)

NULL = np.arange(40) / 100


@pytest.mark.parametrize(
    ("value", "side", "hits"),
    [(1.0, "above", 0), (0.39, "above", 1), (0.0, "above", 40), (-1, "below", 0), (0, "below", 1)],
)
def test_a_draw_test_is_the_rank_and_ties_count_against(value, side, hits):
    test = draw_test(value, NULL, side)
    assert (test.p, test.hits, test.draws) == ((1 + hits) / 41, hits, 40)
    assert test.least == 1 / 41


def test_rounding_makes_no_difference_to_a_tie():
    assert draw_test(0.1 + 0.2, np.full(40, 0.3)).hits == 40
    with pytest.raises(ValueError, match="NaN"):
        draw_test(np.nan, NULL)


def test_forty_draws_keep_five_percent_and_two_do_not_say_anything():
    """A value that is itself a draw is special in at most 5 % of the cases."""
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(4000, LEAST_DRAWS + 1))
    answers = [special(1, 1e-9, 1e-9, draw_test(row[0], row[1:]), 0.05) for row in drawn]
    assert answers.count("yes") / len(answers) == pytest.approx(2 / 41, abs=0.012)
    assert special(1, 1e-9, 1e-9, draw_test(9.0, np.zeros(2)), 0.05) == UNKNOWN
    assert special(1, 1e-9, 1e-9, draw_test(9.0, np.zeros(39)), 0.2) == UNKNOWN


@pytest.mark.parametrize(
    ("effect", "p", "least_p", "hits", "answer"),
    [
        (0.2, 0.01, 1e-4, 0, "yes"),
        (0.2, 0.01, 1e-4, 1, "yes"),
        (0.2, 0.01, 1e-4, 2, "no"),  # 3/41 > 0.05
        (0.2, 0.06, 1e-4, 0, "no"),
        (-0.2, 0.01, 1e-4, 0, "no"),
        (0.0, 1.0, 0.5, 0, UNKNOWN),  # nothing could have been found
        (np.nan, np.nan, np.nan, 0, UNKNOWN),
    ],
)
def test_special_needs_both_tests_and_a_reachable_p(effect, p, least_p, hits, answer):
    assert special(effect, p, least_p, DrawTest(hits, 40), 0.05) == answer


def test_no_draws_are_needed_against_one_fixed_thing():
    assert special(0.2, 0.01, 1e-4, None, 0.05) == "yes"


def test_the_least_p_is_that_of_the_most_extreme_outcome():
    """Spaces that change 0 or 1 % of the languages leave nothing to be below."""
    n = 95
    none, one = np.zeros(n), np.eye(n)[0]
    assert least_paired_p(none, "below", steps=1) == 1
    assert least_paired_p(one, "below", steps=1) == 1
    assert least_paired_p(one, "above", steps=1) < 1e-14
    # The reference: every outcome of the first space.
    second = np.array([1, 0.5, 0, 0, 1])
    possible = [
        sign_flip_test(np.array(first) - second, steps=2)
        for first in itertools.product((0, 1), repeat=5)
        if sum(first) < second.sum()
    ]
    assert least_paired_p(second, "below", steps=2) == pytest.approx(min(possible))


@pytest.mark.parametrize(
    ("low", "high", "answer"),
    [
        (0.92, 0.99, "yes"),
        (0.9, 0.9, "yes"),
        (0.5, 0.8, "no"),
        (0.8, 0.95, UNKNOWN),
        (np.nan, 1, UNKNOWN),
    ],
)
def test_preserving_is_an_interval_above_the_bound(low, high, answer):
    assert at_least(low, high, 0.9) == answer


def test_parts_become_one_word():
    assert all_of(["yes", "yes"]) == "yes"
    assert all_of(["yes", UNKNOWN]) == UNKNOWN
    assert all_of([UNKNOWN, "no"]) == "no"
    assert all_of([]) == UNKNOWN
    assert graded("yes", "yes") == "yes"
    assert graded("no", "yes") == graded(UNKNOWN, "yes") == "partial"
    assert graded("no", "no") == "no"
    assert graded("no", UNKNOWN) == UNKNOWN
    assert any_of(["no", UNKNOWN, "yes"]) == "yes"
    assert any_of(["no", UNKNOWN]) == any_of([]) == UNKNOWN
    assert any_of(["no", "no"]) == "no"
    assert graded_if_told(UNKNOWN, "yes") == UNKNOWN
    assert graded_if_told("no", "yes") == "partial"
    assert graded_if_told("yes", "yes") == "yes"


def test_trainings_are_units():
    assert over_trainings(["yes", "yes", "yes"]) == "yes"
    assert over_trainings(["no", "yes", "no"]) == VARIES
    assert over_trainings(["no", UNKNOWN, "no"]) == UNKNOWN
    assert over_trainings([UNKNOWN]) == UNKNOWN
    assert tally(["no", "yes", "no"]) == "no 2, yes 1"
    with pytest.raises(ValueError, match="no trainings"):
        over_trainings([])


def test_the_detectable_effect_is_found_in_four_of_five_studies():
    rng = np.random.default_rng(1)
    n, sd, alpha = 60, 0.5, 0.05
    effect = detectable(sd, n, alpha)
    drawn = rng.normal(effect, sd, size=(1000, n))
    z = drawn.mean(1) / (sd / n**0.5)
    assert np.mean(2 * norm.sf(np.abs(z)) < alpha) == pytest.approx(0.8, abs=0.04)


def test_the_detectable_effect_counts_the_spread_of_the_draws():
    rng = np.random.default_rng(2)
    n, sd, alpha = 100, 0.4, 0.05
    null = rng.normal(0.3, 0.1, size=LEAST_DRAWS)
    effect = detectable(sd, n, alpha, null)
    assert effect > detectable(sd, n, alpha)
    values = rng.normal(null.mean() + effect, sd / n**0.5, size=2000)
    found = [draw_test(value, null).p < alpha for value in values]
    assert np.mean(found) == pytest.approx(0.8, abs=0.04)
    assert detectable(sd, n, alpha, null[:10]) == np.inf
    assert detectable(sd, n, alpha, comparisons=4) > detectable(sd, n, alpha)
    assert np.isnan(detectable(sd, 1, alpha))


def test_where_nothing_differs_enough_examples_must_begin_to():
    """Six of a kind are the first with a sign-flip p below 0.05: 2 / 2**6."""
    for n in (6, 40, 95):
        effect = detectable(0.0, n, 0.05)
        assert binom.sf(5, n, effect) == pytest.approx(0.8)
    assert detectable(0.0, 5, 0.05) == np.inf
    assert sign_flip_test(np.ones(6), steps=1) < 0.05 < sign_flip_test(np.ones(5), steps=1)


def test_beyond_a_band_counts_the_values_own_interval():
    """A value of standard error 1 lies beyond the band's end in four of five studies."""
    reach, half = 2.0, norm.isf(0.05)
    effect = detectable_beyond(reach, -half, half, level=0.9)
    assert norm.sf(reach, loc=effect) == pytest.approx(0.8)
    assert detectable_beyond(reach, np.nan, np.nan, level=0.9) == reach
