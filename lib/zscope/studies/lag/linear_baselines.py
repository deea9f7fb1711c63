"""Linear models, whose loss falls smoothly from step 0: slow learning without a plateau.

The control to the lag (is a plateau just bad conditioning?):

- `ill_conditioned_regression` learns the inverse of an ill-conditioned matrix M from pairs of M u
  and u. Its loss is a sum over the right singular vectors of M, each falling exponentially at its
  own rate, none of them flat.
- `planted_selector` learns the disambiguation itself (K targets a base, chosen by z) with features
  in which it is linear, the outer product of the one-hot base and the one-hot z. What depends on
  the base alone and what needs z are learned together, from the first step.

Plain gradient descent with the exact gradient formulas, float64.
"""

import math
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float, Int

from zscope.core.provenance import derive_seed

Row = dict[str, str | int | float]


@dataclass(frozen=True)
class LinearSettings:
    """Sizes and schedules of both baselines. ValueError if they cannot run or must diverge."""

    dim: int = 100
    """Width of u and of M (ill-conditioned regression)."""
    condition_number: float = 100.0
    """Largest singular value of M (which is 1) over the smallest; log-spaced in between."""
    components: int = 5
    """Singular directions reported, at evenly spaced quantiles of the singular value."""
    regression_batch: int | None = 64
    """Fresh pairs a step; None = the expected gradient, without sampling noise."""
    regression_lr: float = 0.25
    regression_steps: int = 6000
    n_bases: int = 100
    """Distinct B (planted selector)."""
    n_candidates: int = 10
    """Targets of each B, the K of the disambiguation tasks."""
    n_targets: int = 36
    """Possible targets, of which the K of a base are distinct draws."""
    selector_batch: int | None = 64
    """Facts (b, z) drawn a step, with replacement; None = the gradient over all facts."""
    selector_lr: float = 4.0
    """Large because the features are one-hot: each fact moves by lr / number of facts a step."""
    selector_steps: int = 2000
    evaluations: int = 60
    """Evaluations after step 0, log-spaced in steps (coinciding ones merged)."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int) and value < 1:
                raise ValueError(f"{field.name} must be at least 1, got {value}")
        if self.condition_number < 1:
            raise ValueError(f"condition_number must be at least 1, got {self.condition_number}")
        if self.n_targets < self.n_candidates:
            raise ValueError("n_targets must be at least n_candidates: a base's targets differ")
        # Limits of mean-square stability, from the recursions in the functions' docstrings.
        lr, noise = self.regression_lr, 1 / (self.regression_batch or math.inf)
        curvature = singular_values(self) ** 2
        decay = 1 - (1 - lr * curvature) ** 2 - (lr * curvature) ** 2 * noise
        if min(decay) <= 0 or np.sum((lr * curvature) ** 2 * noise / decay) >= 1:
            raise ValueError(f"regression_lr {lr} diverges at batch {self.regression_batch}")
        n_facts = self.n_bases * self.n_candidates
        limit = 2 * n_facts / (1 + (n_facts - 1) / (self.selector_batch or math.inf))
        if not 0 < self.selector_lr < limit:
            raise ValueError(f"selector_lr must lie in (0, {limit:g}), got {self.selector_lr}")


def evaluation_steps(last: int, evaluations: int) -> Int[np.ndarray, " evaluations"]:
    """Step 0 and up to `evaluations` log-spaced steps from 1 to `last`."""
    later = np.rint(np.geomspace(1, last, evaluations)).astype(np.int64)
    return np.unique(np.concatenate([[0, last], later]))


def singular_values(settings: LinearSettings) -> Float[np.ndarray, " dim"]:
    """Singular values of M, from 1 down to 1 / condition_number."""
    return np.geomspace(1.0, 1.0 / settings.condition_number, settings.dim)


def ill_conditioned_regression(settings: LinearSettings, seed: int) -> list[Row]:
    """Learn W = M^-1 from pairs x = M u, u ~ N(0, I), by gradient descent from W = 0.

    The loss is 1/2 E|W x - u|^2 = 1/2 |W M - I|_F^2. With M = U diag(s) V^T it is the sum over i of
    L_i = 1/2 |(W M - I) v_i|^2, and the expected gradient (W M - I) M^T shrinks (W M - I) v_i by
    the factor 1 - lr s_i^2 a step. Batches of n add noise that lets every component feed the
    others: E L_i <- (1 - lr s_i^2)^2 L_i + lr^2 s_i^4 (sum_j L_j + L_i) / n.

    Returns rows of lag_linear: series "total" (component -1) and "component" (component = index
    into `singular_values`, 0 = the best conditioned), value = population loss.
    """
    dim, batch, lr = settings.dim, settings.regression_batch, settings.regression_lr
    matrices, samples = (np.random.default_rng(derive_seed(seed, n)) for n in ("data", "order"))
    left, right = (np.linalg.qr(matrices.standard_normal((dim, dim)))[0] for _ in range(2))
    forward = left * singular_values(settings) @ right.T
    reported = np.unique(np.rint(np.linspace(0, dim - 1, settings.components)).astype(np.int64))
    steps = evaluation_steps(settings.regression_steps, settings.evaluations)
    weight, identity = np.zeros((dim, dim)), np.eye(dim)
    losses = []
    done = 0
    for step in steps:
        for _ in range(done, step):
            if batch is None:
                gradient = (weight @ forward - identity) @ forward.T
            else:
                u = samples.standard_normal((batch, dim))
                x = u @ forward.T
                gradient = (x @ weight.T - u).T @ x / batch
            weight -= lr * gradient
        done = step
        error = (weight @ forward - identity) @ right
        losses.append(0.5 * np.sum(error**2, axis=0))
    return _rows("ill_conditioned_regression", seed, steps, np.array(losses), reported)


def planted_selector(settings: LinearSettings, seed: int) -> list[Row]:
    """Learn the one-hot target of (b, z) from the outer product of one-hot b and one-hot z.

    The loss is 1/2 |prediction - target|^2. The model is a weight matrix [facts, targets] whose row
    is the prediction of a fact, from 0. Concatenated one-hots would not do: they cannot say which
    target a z selects for which base. A base's targets are K distinct draws. The error of a base's
    facts splits, orthogonally, into its mean over z and the rest, so the loss is the sum of what
    knowing b alone can remove (component 0) and what needs z (component 1).

    With r = lr / n_facts, the full gradient shrinks every error by 1 - r a step; with batches its
    expected square shrinks by 1 - 2 r + r^2 (1 + (n_facts - 1) / batch).

    Returns rows of lag_linear: series "total" (component -1) and "component", value = mean loss
    over all facts.
    """
    n_bases, k, n_targets = settings.n_bases, settings.n_candidates, settings.n_targets
    n_facts, batch, lr = n_bases * k, settings.selector_batch, settings.selector_lr
    tasks, samples = (np.random.default_rng(derive_seed(seed, n)) for n in ("data", "order"))
    order = tasks.permuted(np.tile(np.arange(n_targets), (n_bases, 1)), axis=1)
    target = np.eye(n_targets)[order[:, :k].ravel()]
    steps = evaluation_steps(settings.selector_steps, settings.evaluations)
    weight = np.zeros((n_facts, n_targets))
    losses = []
    done = 0
    for step in steps:
        for _ in range(done, step):
            if batch is None:
                weight -= lr / n_facts * (weight - target)
            else:
                # One-hot features touch only the rows of the drawn facts.
                facts, counts = np.unique(samples.integers(n_facts, size=batch), return_counts=True)
                gradient = counts[:, None] / batch * (weight[facts] - target[facts])
                weight[facts] -= lr * gradient
        done = step
        error = (weight - target).reshape(n_bases, k, n_targets)
        by_base = error.mean(axis=1)
        by_z = error - by_base[:, None]
        losses.append([0.5 * np.sum(by_base**2) / n_bases, 0.5 * np.sum(by_z**2) / n_facts])
    return _rows("planted_selector", seed, steps, np.array(losses), np.arange(2))


def _rows(
    task: str,
    seed: int,
    steps: Int[np.ndarray, " evaluations"],
    losses: Float[np.ndarray, "evaluations components"],
    reported: Int[np.ndarray, " reported"],
) -> list[Row]:
    rows: list[Row] = []
    for step, loss in zip(steps.tolist(), losses, strict=True):
        series = [("total", -1, math.fsum(loss))]
        series += [("component", i, float(loss[i])) for i in reported.tolist()]
        rows += [
            {"task": task, "series": name, "seed": seed, "step": step, "component": i, "value": v}
            for name, i, v in series
        ]
    return rows
