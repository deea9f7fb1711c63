"""Intervals cover, tests agree with their references, onsets and medians survive censoring."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.duration.survfunc import SurvfuncRight
from statsmodels.stats.proportion import proportion_confint

from zscope.config.base import Bootstrap
from zscope.stats import (
    bootstrap_interval,
    bootstrap_weights,
    holm,
    mcnemar_exact,
    median_interval,
    median_time,
    onset,
    random_sign_flips,
    sign_flip_test,
    wilson_interval,
)

USUAL = Bootstrap()


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# Bootstrap


def test_weights_are_those_of_drawing_with_replacement(rng):
    n = 7
    weights = bootstrap_weights(n, 20_000, rng)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    counts = weights[:, 2] * n
    binomial = scipy.stats.binom.pmf(np.arange(n + 1), n, 1 / n)
    found = np.bincount(np.rint(counts).astype(int), minlength=n + 1) / len(counts)
    np.testing.assert_allclose(found, binomial, atol=0.015)
    # Draws compete: cov(counts_i, counts_j) = -1/n.
    assert np.cov(weights[:, 0] * n, counts)[0, 1] == pytest.approx(-1 / n, abs=0.03)


def test_interval_of_the_mean_is_that_of_scipy(rng):
    values = rng.exponential(size=60)
    low, high = bootstrap_interval(
        values, rng=rng, bootstrap=Bootstrap(level=0.9, resamples=20_000)
    )
    reference = scipy.stats.bootstrap(
        (values,), np.mean, confidence_level=0.9, n_resamples=20_000, method="percentile", rng=1
    ).confidence_interval
    np.testing.assert_allclose([low, high], reference, atol=0.01)


def test_interval_of_a_ratio_is_that_of_scipy(rng):
    weight = rng.uniform(0.5, 2, size=50)
    values = weight * rng.normal(3, 1, size=50)
    low, high = bootstrap_interval(values, weight, rng=rng, bootstrap=Bootstrap(resamples=20_000))
    reference = scipy.stats.bootstrap(
        (values, weight),
        lambda a, b, axis=-1: a.mean(axis) / b.mean(axis),
        paired=True,
        n_resamples=20_000,
        method="percentile",
        rng=1,
    ).confidence_interval
    np.testing.assert_allclose([low, high], reference, atol=0.01)


def test_interval_covers_the_true_mean_as_often_as_it_says():
    rng, experiments = np.random.default_rng(1), 2000
    samples = rng.normal(size=(50, experiments))
    low, high = bootstrap_interval(samples, rng=rng, bootstrap=Bootstrap(level=0.9))
    covered = np.mean((low <= 0) & (high >= 0))
    assert 0.85 < covered < 0.92  # the percentile interval is a little short at n = 50


def test_columns_are_independent_of_each_other(rng):
    values, weight = rng.normal(size=(30, 4)), rng.uniform(1, 2, size=(30, 4))
    values[3, 1] = np.nan
    draws = bootstrap_weights(30, 200, rng)
    for denominator in (None, weight, weight[:, 0]):
        low, high = bootstrap_interval(values, denominator, weights=draws, bootstrap=USUAL)
        assert np.isnan([low[1], high[1]]).all()
        for j in (0, 2, 3):
            one = denominator if denominator is None or denominator.ndim == 1 else denominator[:, j]
            alone = bootstrap_interval(values[:, j], one, weights=draws, bootstrap=USUAL)
            np.testing.assert_allclose([low[j], high[j]], alone)


def test_resamples_without_a_denominator_are_left_out(rng):
    applies = np.array([1.0, 1.0, 0.0, 0.0, 0.0])
    values = np.array([[4.0, 2.0], [4.0, 6.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    low, high = bootstrap_interval(values, applies, rng=rng, bootstrap=USUAL)
    np.testing.assert_allclose(low, [4, 2])
    np.testing.assert_allclose(high, [4, 6])
    assert np.isnan(bootstrap_interval(values, 0 * applies, rng=rng, bootstrap=USUAL)).all()


def test_one_example_has_no_interval(rng):
    assert np.isnan(bootstrap_interval(np.array([3.0]), rng=rng, bootstrap=USUAL)).all()
    assert np.shape(bootstrap_interval(np.ones((1, 4)), rng=rng, bootstrap=USUAL)) == (2, 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: bootstrap_interval(np.array([]), bootstrap=USUAL), "n >= 1"),
        (lambda r: bootstrap_interval(np.ones(3), np.ones(4), bootstrap=USUAL), "does not fit"),
        (
            lambda r: bootstrap_interval(np.ones(3), weights=np.ones((2, 4)), bootstrap=USUAL),
            "do not fit",
        ),
        (lambda r: bootstrap_weights(0, 10, r), "n >= 1"),
    ],
)
def test_bootstraps_refuse_what_does_not_fit(call, message, rng):
    with pytest.raises(ValueError, match=message):
        call(rng)


def test_draws_come_from_the_seed_of_the_bootstrap(rng):
    values = rng.normal(size=20)
    first, again = (bootstrap_interval(values, bootstrap=Bootstrap(seed=3)) for _ in range(2))
    assert first == again
    assert first == bootstrap_interval(values, bootstrap=USUAL, rng=np.random.default_rng(3))
    assert first != bootstrap_interval(values, bootstrap=USUAL)


# Rates


def test_no_success_in_twelve_still_leaves_room_and_does_not_go_below_zero():
    low, high = wilson_interval(0, 12, 0.95)
    z2 = scipy.stats.norm.ppf(0.975) ** 2
    assert low == 0  # not 2.8e-17
    assert high == pytest.approx(z2 / (12 + z2))
    assert wilson_interval(12, 12, 0.95)[1] == 1


@given(n=st.integers(1, 200), share=st.floats(0, 1), level=st.floats(0.5, 0.99))
@settings(deadline=None)  # the first call imports statsmodels
def test_wilson_is_that_of_statsmodels(n, share, level):
    k = round(share * n)
    reference = proportion_confint(k, n, alpha=1 - level, method="wilson")
    np.testing.assert_allclose(wilson_interval(k, n, level), reference, atol=1e-9)


@pytest.mark.filterwarnings("error")
def test_rate_intervals_take_arrays_and_no_trials():
    hits, trials = np.array([[0, 3, 1], [4, 0, 2]]), np.array([4, 9])[:, None]
    low, high = wilson_interval(hits, trials, 0.9)
    assert low.shape == high.shape == (2, 3)
    for i, j in np.ndindex(2, 3):
        alone = wilson_interval(hits[i, j], trials[i, 0], 0.9)
        np.testing.assert_array_equal([low[i, j], high[i, j]], alone)
    assert np.isnan(wilson_interval(0, 0, 0.95)).all()
    with pytest.raises(ValueError, match="between 0 and n"):
        wilson_interval(5, 4, 0.95)


# Medians


@given(
    st.lists(st.floats(-5, 5) | st.just(math.nan), min_size=1, max_size=25), st.floats(0.5, 0.99)
)
@settings(deadline=None)
def test_the_median_lies_between_the_order_statistics_with_the_coverage(values, level):
    median, low, high, coverage = median_interval(np.array(values), level)
    ordered = sorted(math.inf if math.isnan(v) else v for v in values)
    n = len(ordered)
    covers = [1 - 2 * scipy.stats.binom.cdf(r - 1, n, 0.5) for r in range(1, (n + 1) // 2 + 1)]
    wide_enough = [r for r, c in enumerate(covers, 1) if c >= level] or [1]
    assert (low, high) == (ordered[wide_enough[-1] - 1], ordered[n - wide_enough[-1]])
    assert coverage == pytest.approx(covers[wide_enough[-1] - 1])
    assert low <= median <= high
    # As of a survival curve: half of the values at or below it is enough.
    middle = np.median(ordered)
    assert median == (middle if np.isfinite(middle) else ordered[(n - 1) // 2])


def test_the_interval_of_the_median_covers_it_as_often_as_it_says():
    rng = np.random.default_rng(5)
    found = [median_interval(rng.exponential(size=15), 0.9) for _ in range(2000)]
    covered = np.mean([low <= math.log(2) <= high for _, low, high, _ in found])
    assert covered == pytest.approx(found[0][3], abs=0.02)
    assert found[0][3] >= 0.9


# Tests


@given(st.integers(0, 2**32 - 1), st.integers(2, 9), st.sampled_from([1, 2, 40]))
@settings(max_examples=25, deadline=None)
def test_exact_sign_flips_are_those_of_scipy(seed, n, steps):
    differences = np.random.default_rng(seed).integers(-4, 5, size=n) / steps  # ties on purpose
    reference = scipy.stats.permutation_test(
        (differences, np.zeros(n)),
        # Whole numbers, so that equal sums are ties.
        lambda x, y: abs(np.rint(steps * np.sum(x - y))),
        permutation_type="samples",
        alternative="greater",
    ).pvalue
    assert sign_flip_test(differences, steps=steps) == pytest.approx(reference)


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (5, 0), (7, 2), (40, 31), (90, 0)])
def test_sign_flips_of_one_output_each_are_the_mcnemar_test(only_first, only_second):
    differences = np.array([1.0] * only_first + [-1.0] * only_second + [0.0] * 9)
    p = sign_flip_test(differences, steps=1)
    n = only_first + only_second
    expected = scipy.stats.binomtest(only_first, n).pvalue if n else 1.0
    assert p == pytest.approx(expected, rel=1e-9, abs=1e-14)
    assert p > 0


def test_differences_of_one_unit_are_flipped_together():
    differences = np.array([1.0, 1.0, 1.0, -1.0, 0.5])
    clusters = ["a", "a", "b", "b", "c"]
    # a has 2, b 0 and c 0.5: of the four patterns that differ two are as far out.
    assert sign_flip_test(differences, steps=2, clusters=clusters) == pytest.approx(0.5)


def test_equal_sums_count_as_ties(rng):
    """0.1 + 0.2 - 0.3 is not 0 in floating point, but the pattern ties with its mirror."""
    difference = np.array([0.1, 0.2, -0.3, 0.0])
    assert sign_flip_test(difference, steps=10) == 1
    assert random_sign_flips(difference[:, None], rng=rng, flips=100) == 1


def test_random_flips_approach_the_exact_test_and_are_never_zero(rng):
    differences = np.rint(10 * rng.normal(0.6, 1, size=12)) / 10
    exact = sign_flip_test(differences, steps=10)
    columns = np.stack([differences, np.ones(12), np.zeros(12)], 1)
    sampled, one, none = random_sign_flips(columns, rng=rng, flips=10_000)
    assert sampled == pytest.approx(exact, rel=0.5)  # 50 hits settle it
    assert one == pytest.approx(sign_flip_test(np.ones(12), steps=1), abs=1e-3)
    assert none == 1
    assert random_sign_flips(np.ones((500, 1)), rng=rng, flips=10_000) == 1 / 10_001
    assert sign_flip_test(np.zeros(4), steps=1) == 1


def test_sign_flip_p_values_are_uniform_under_the_null(rng):
    p = random_sign_flips(rng.normal(size=(12, 600)), rng=rng, flips=999)
    assert np.mean(p <= 0.1) == pytest.approx(0.1, abs=0.04)


def test_flips_of_many_columns_are_those_of_all_patterns(rng):
    d = rng.standard_normal((8, 5)) + np.array([0, 0.3, 0.6, 1, 3])
    signs = np.array(list(itertools.product((-1, 1), repeat=8)))
    exact = np.mean(np.abs(signs @ d) >= np.abs(d.sum(0)) - 1e-9, axis=0)
    found = random_sign_flips(d, rng=rng, flips=40_000)
    assert found == pytest.approx(exact, rel=0.45, abs=2e-3)  # 50 hits: one in seven
    with pytest.raises(ValueError, match="NaN"):
        random_sign_flips(np.array([[np.nan]]), rng=rng, flips=100)


@pytest.mark.parametrize(
    ("differences", "steps", "why"),
    [
        ([], 1, "vector"),
        ([[1.0]], 1, "vector"),
        ([np.nan], 1, "NaN"),
        ([0.3], 2, "multiples of 1/2"),
    ],
)
def test_sign_flips_refuse_what_they_cannot_test(differences, steps, why):
    with pytest.raises(ValueError, match=why):
        sign_flip_test(np.array(differences), steps=steps)


P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=30)


@given(P_VALUES)
@settings(deadline=None)
def test_holm_steps_down(p_values):
    """Textbook loop: the i-th smallest of m times m - i + 1, made monotone, at most 1."""
    adjusted, running = np.empty(len(p_values)), 0.0
    for rank, i in enumerate(np.argsort(p_values, kind="stable")):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = running
    np.testing.assert_allclose(holm(np.array(p_values)), adjusted)


def test_holm_keeps_the_grid_and_skips_missing_cells():
    grid = np.array([[0.01, np.nan, 0.04], [0.03, 0.005, np.nan]])
    adjusted = holm(grid)
    assert np.array_equal(np.isnan(adjusted), np.isnan(grid))
    known = ~np.isnan(grid)
    np.testing.assert_allclose(adjusted[known], holm(grid[known]))
    assert np.isnan(holm(np.full(3, np.nan))).all()
    assert grid[0, 0] == 0.01
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        holm(np.array([1.2]))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
@settings(deadline=None)
def test_mcnemar_is_the_binomial_of_discordant_pairs(pairs):
    a, b = np.array(pairs).T
    only_a, only_b = int(np.sum(a & ~b)), int(np.sum(~a & b))
    discordant = only_a + only_b
    expected = scipy.stats.binomtest(only_a, discordant).pvalue if discordant else 1.0
    assert mcnemar_exact(a, b) == pytest.approx(expected)
    with pytest.raises(ValueError, match="paired"):
        mcnemar_exact(a, np.append(b, True))


# Onsets

CURVES = st.lists(st.floats(-3, 3) | st.just(math.nan), min_size=1, max_size=25)


def slow_onset(steps, values, threshold, consecutive):
    streak = 0
    for i, value in enumerate(values):
        streak = streak + 1 if value > threshold else 0
        if streak == consecutive:
            return steps[i - consecutive + 1]
    return None


@given(CURVES, st.floats(-3, 3), st.integers(1, 4), st.integers(1, 50))
def test_onset_is_the_first_long_enough_streak(values, threshold, consecutive, spacing):
    steps = [spacing * i * (i + 1) for i in range(len(values))]
    found = onset(steps, values, threshold, consecutive=consecutive)
    assert found == slow_onset(steps, values, threshold, consecutive)
    below = onset(steps, [-v for v in values], -threshold, "below", consecutive)
    assert below == found
    later = onset([s + 7 for s in steps], values, threshold, consecutive=consecutive)
    assert later == (None if found is None else found + 7)


@given(CURVES, st.floats(-3, 3), st.floats(0, 3), st.integers(1, 4))
def test_onset_comes_no_earlier_for_a_harder_rule(values, threshold, harder, consecutive):
    steps = range(len(values))

    def when(level, streak):
        found = onset(steps, values, level, consecutive=streak)
        return math.inf if found is None else found

    easy = when(threshold, consecutive)
    assert when(threshold + harder, consecutive) >= easy
    assert when(threshold, consecutive + 1) >= easy


def test_onset_needs_a_streak_that_nan_and_equality_break():
    steps = [0, 50, 100, 150, 200]
    assert onset(steps, [0, 1, 0, 1, 1], 0.5) == 150
    assert onset(steps, [0, 1, math.nan, 1, 0], 0.5) is None
    assert onset(steps, [0, 0.5, 0.5, 0.5, 1], 0.5) is None
    assert onset(steps, [0, 0, 0, 0, 1], 0.5) is None
    assert onset(steps, [0, 0, 0, 0, 1], 0.5, consecutive=1) == 200
    assert onset([], [], 0.5) is None
    assert type(onset(np.array(steps), np.ones(5), 0.5)) is int


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 2, 1], [1, 1, 1], 0.5), "increase"),
        (([0, 1, 1], [1, 1, 1], 0.5), "increase"),
        (([0, 1], [1, 1, 1], 0.5), "one value per step"),
        (([0, 1], [1, 1], 0.5, "up"), "direction"),
        (([0, 1], [1, 1], 0.5, "above", 0), "consecutive"),
    ],
)
def test_onset_refuses_disorder(arguments, message):
    with pytest.raises(ValueError, match=message):
        onset(*arguments)


# Censored times

RUNS = st.lists(st.tuples(st.integers(1, 12), st.booleans()), min_size=1, max_size=12)


def reference_median(times, observed):
    """From the survival curve of statsmodels: the first event at which S is at most 1/2."""
    if not np.any(observed):
        return math.inf
    curve = SurvfuncRight(np.array(times, float), np.array(observed, int))
    reached = curve.surv_times[curve.surv_prob <= 0.5 + 1e-9]
    return reached[0] if len(reached) else math.inf


@given(RUNS)
@settings(deadline=None)
def test_median_time_is_that_of_the_survival_curve(runs):
    times, observed = np.array(runs).T
    found = median_time(times, observed, bootstrap=Bootstrap(resamples=50))
    assert found.median == reference_median(times, observed)
    assert (found.n, found.n_censored) == (len(runs), np.sum(observed == 0))
    if len(runs) == 1:
        assert np.isnan([found.ci_low, found.ci_high]).all()
    else:
        assert found.ci_low <= found.ci_high


@given(st.lists(st.integers(0, 1000), min_size=3, max_size=15).filter(lambda x: len(x) % 2))
def test_without_censoring_it_is_the_ordinary_median(times):
    observed = np.ones(len(times), dtype=bool)
    found = median_time(np.array(times), observed, bootstrap=Bootstrap(resamples=20))
    assert found.median == np.median(times)


@pytest.mark.parametrize("seed", range(8))
def test_interval_takes_the_outer_order_statistics_of_a_slow_bootstrap(seed):
    times = np.array([500.0, 1400, 2000, 2000, 900, 1500])
    observed = np.array([True, True, False, False, True, True])
    resamples = 12
    medians = []
    for draw in bootstrap_weights(6, resamples, np.random.default_rng(seed)):
        rows = np.repeat(np.arange(6), np.rint(6 * draw).astype(int))
        medians.append(reference_median(times[rows], observed[rows]))
    medians.sort()
    found = median_time(
        times, observed, bootstrap=Bootstrap(level=0.7, resamples=resamples, seed=seed)
    )
    # 11 * (.15, .85) = (1.65, 9.35), rounded outwards.
    assert (found.ci_low, found.ci_high) == (medians[1], medians[10])


def test_runs_that_never_make_it_push_the_median_out_instead_of_vanishing():
    """The four seeds of a third-order parity: two onsets, two runs stopped at 2000."""
    times, observed = np.array([500, 1400, 2000, 2000]), np.array([True, True, False, False])
    found = median_time(times, observed, bootstrap=USUAL)
    assert found.median == 1400
    assert (found.ci_low, found.ci_high) == (500, math.inf)
    dropped = median_time(times[observed], observed[observed], bootstrap=USUAL)
    assert dropped.ci_high < found.ci_high
    never = median_time(times, np.zeros(4, dtype=bool), bootstrap=USUAL)
    assert never[:3] == (math.inf, math.inf, math.inf)


def test_interval_of_five_seeds_covers_the_true_median():
    rng, truth, hits = np.random.default_rng(6), math.log(2), 0
    bootstrap = Bootstrap(resamples=300)
    for _ in range(400):
        onsets = rng.exponential(size=5)
        seen = onsets < 1.5
        found = median_time(np.minimum(onsets, 1.5), seen, rng=rng, bootstrap=bootstrap)
        hits += found.ci_low <= truth <= found.ci_high
    assert hits / 400 > 0.88  # order statistics 1 and 5 of 5 would give .94


def test_median_time_refuses_what_is_not_a_time():
    for times, observed, message in [
        ([math.inf, 3], [False, True], "finite"),
        ([], [], "paired"),
        ([1, 2], [True], "paired"),
    ]:
        with pytest.raises(ValueError, match=message):
            median_time(np.array(times), np.array(observed, dtype=bool), bootstrap=USUAL)


def test_importing_stats_is_cheap():
    """Jobs that only need a bootstrap must not wait for scipy.stats or torch."""
    code = "import sys, zscope.stats; print({'torch', 'scipy.stats', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
