"""The linear baselines follow their exact solutions and show no plateau."""

import math

import numpy as np
import pytest
from pydantic import ValidationError

from zscope.studies.lag.config import LinearConfig
from zscope.studies.lag.linear_baselines import (
    evaluation_steps,
    ill_conditioned_regression,
    planted_selector,
    singular_values,
)

SMALL = LinearConfig(
    dim=12,
    condition_number=10.0,
    components=12,
    regression_batch=16,
    regression_lr=0.3,
    regression_steps=200,
    n_bases=8,
    n_candidates=4,
    n_targets=9,
    selector_batch=16,
    selector_lr=3.0,
    selector_steps=60,
    evaluations=15,
)


def replace(config, **changes):
    return LinearConfig.model_validate({**config.model_dump(), **changes})


TASKS = [ill_conditioned_regression, planted_selector]


def curve(rows, component):
    """Steps and values of one series, in the order of the rows."""
    chosen = [row for row in rows if row["component"] == component]
    return np.array([row["step"] for row in chosen]), np.array([row["value"] for row in chosen])


def test_full_gradient_regression_is_the_closed_form_of_every_component():
    rows = ill_conditioned_regression(replace(SMALL, regression_batch=None), seed=3)
    for i, s in enumerate(singular_values(SMALL)):
        steps, losses = curve(rows, i)
        exact = 0.5 * (1 - SMALL.regression_lr * s**2) ** (2 * steps)
        np.testing.assert_allclose(losses, exact, rtol=1e-8, atol=1e-14)


def test_stochastic_regression_has_the_expected_loss_of_every_component():
    seeds = 60
    runs = [ill_conditioned_regression(SMALL, seed) for seed in range(seeds)]
    curvature, lr = singular_values(SMALL) ** 2, SMALL.regression_lr
    expected = [np.full(SMALL.dim, 0.5)]
    for _ in range(SMALL.regression_steps):
        c = expected[-1]
        noise = (lr * curvature) ** 2 * (c.sum() + c) / SMALL.regression_batch
        expected.append((1 - lr * curvature) ** 2 * c + noise)
    for i in range(SMALL.dim):
        steps = curve(runs[0], i)[0]
        losses = np.array([curve(rows, i)[1] for rows in runs])
        error = losses.std(axis=0, ddof=1) / math.sqrt(seeds)
        difference = losses.mean(axis=0) - np.array(expected)[steps, i]
        assert np.all(np.abs(difference) <= 4.5 * error + 1e-12)


def test_full_gradient_selector_shrinks_both_parts_alike():
    rows = planted_selector(replace(SMALL, selector_batch=None), seed=3)
    k = SMALL.n_candidates
    rate = 1 - SMALL.selector_lr / (SMALL.n_bases * k)
    # K distinct one-hot targets: their mean has square 1/K, what is left of each 1 - 1/K.
    for component, start in [(-1, 0.5), (0, 0.5 / k), (1, 0.5 * (1 - 1 / k))]:
        steps, losses = curve(rows, component)
        np.testing.assert_allclose(losses, start * rate ** (2 * steps), rtol=1e-10)


def test_stochastic_selector_has_the_expected_loss():
    seeds = 200
    runs = [curve(planted_selector(SMALL, seed), -1) for seed in range(seeds)]
    n_facts = SMALL.n_bases * SMALL.n_candidates
    r = SMALL.selector_lr / n_facts
    factor = 1 - 2 * r + r**2 * (1 + (n_facts - 1) / SMALL.selector_batch)
    losses = np.array([losses for _, losses in runs])
    error = losses.std(axis=0, ddof=1) / math.sqrt(seeds)
    difference = losses.mean(axis=0) - 0.5 * factor ** runs[0][0]
    assert np.all(np.abs(difference) <= 4.5 * error + 1e-12)


@pytest.mark.parametrize("task", TASKS)
def test_total_is_the_sum_of_all_components(task):
    rows = task(SMALL, seed=0)
    parts = {row["component"] for row in rows} - {-1}
    np.testing.assert_allclose(
        curve(rows, -1)[1], sum(curve(rows, i)[1] for i in parts), rtol=1e-12
    )


@pytest.mark.parametrize("task", TASKS)
def test_rows_are_those_of_the_table_and_repeat_bit_for_bit(task):
    rows = task(SMALL, seed=5)
    assert rows == task(SMALL, seed=5)
    assert rows != [{**row, "seed": 5} for row in task(SMALL, seed=6)]
    types = {"task": str, "series": str, "seed": int, "step": int, "component": int, "value": float}
    for row in rows:
        assert {name: type(value) for name, value in row.items()} == types
        assert row["task"] == task.__name__
        assert row["series"] == ("total" if row["component"] == -1 else "component")


@pytest.mark.parametrize("task", TASKS)
def test_default_loss_falls_from_the_start_without_a_plateau(task):
    """The first step already lowers it, no evaluation raises it, a tenth of the way has a fifth."""
    settings = replace(LinearConfig(), regression_steps=600)
    steps, losses = curve(task(settings, seed=0), -1)
    assert losses[1] < 0.999 * losses[0]
    assert np.all(np.diff(losses) < 0.01 * losses[0])
    assert losses[steps >= steps[-1] / 10][0] < 0.8 * losses[0]


def test_components_are_spread_over_the_spectrum():
    rows = ill_conditioned_regression(replace(SMALL, components=3, regression_steps=10), seed=0)
    assert {row["component"] for row in rows} == {-1, 0, 6, 11}
    values = singular_values(LinearConfig())
    assert values[0] == 1
    assert values[0] / values[-1] == pytest.approx(100)


def test_evaluation_steps_start_at_zero_and_end_at_the_last():
    assert evaluation_steps(1000, 4).tolist() == [0, 1, 10, 100, 1000]
    assert evaluation_steps(3, 50).tolist() == [0, 1, 2, 3]
    assert evaluation_steps(1, 1).tolist() == [0, 1]
    assert evaluation_steps(7, 1).tolist() == [0, 1, 7]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dim": 0}, r"dim\n.*greater than or equal to 2"),
        ({"selector_batch": 0}, r"selector_batch\n.*greater than or equal to 1"),
        ({"condition_number": 0.5}, r"condition_number\n.*greater than or equal to 1"),
        ({"n_targets": 9}, r"10 distinct targets of a base, but n_targets 9"),
        ({"regression_lr": 0.0}, r"regression_lr\n.*greater than 0"),
        ({"regression_lr": 2.0, "regression_batch": None}, "2 diverges at regression_batch None"),
        ({"regression_lr": 1.0, "regression_batch": 1}, "1 diverges at regression_batch 1"),
        ({"selector_lr": 2000.0, "selector_batch": None}, "2000 diverges: it must be below 2000"),
        ({"selector_lr": 2.01, "selector_batch": 1}, "2.01 diverges: it must be below 2"),
    ],
)
def test_settings_that_cannot_work_are_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        LinearConfig(**change)


def test_the_refused_learning_rates_are_those_that_diverge():
    """Just inside the limit the expected loss of the regression falls, just outside it grows."""
    inside = None
    for lr in np.arange(0.05, 2, 0.05):
        try:
            inside = replace(SMALL, regression_lr=float(lr), regression_batch=4)
        except ValidationError:
            break
    curvature, losses = singular_values(SMALL) ** 2, {}
    for rate in (inside.regression_lr, inside.regression_lr + 0.05):
        c = np.full(SMALL.dim, 0.5)
        for _ in range(3000):
            noise = (rate * curvature) ** 2 * (c.sum() + c) / 4
            c = (1 - rate * curvature) ** 2 * c + noise
        losses[rate] = c.sum()
    assert losses[inside.regression_lr] < 6 < losses[inside.regression_lr + 0.05]
