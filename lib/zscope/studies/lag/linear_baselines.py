"""Linear models whose loss falls smoothly from step 0: they learn slowly, without a plateau.

A control for the lag: is a plateau just bad conditioning?

- `ill_conditioned_regression` learns the inverse of an ill-conditioned matrix M from pairs of M u
  and u. Its loss is a sum over the right singular vectors of M, each falling exponentially at its
  own rate, none of them flat.
- `planted_selector` learns the disambiguation itself (K targets per base, chosen by z) from
  features in which it is linear: the outer product of the one-hot base and the one-hot z. The part
  that needs the base alone and the part that needs z are learned together, from the first step.

Plain gradient descent with the exact gradient formulas, float64.
"""

import math
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from zscope.core.provenance import derive_seed
from zscope.studies.lag.config import LinearConfig


def evaluation_steps(last: int, evaluations: int) -> Int[np.ndarray, " evaluations"]:
    """Step 0 and up to `evaluations` log-spaced steps from 1 to `last`."""
    later = np.rint(np.geomspace(1, last, evaluations)).astype(np.int64)
    return np.unique(np.concatenate([[0, last], later]))


def singular_values(config: LinearConfig) -> Float[np.ndarray, " dim"]:
    """Singular values of M, from 1 down to 1 / condition_number."""
    return np.geomspace(1.0, 1.0 / config.condition_number, config.dim)


def ill_conditioned_regression(config: LinearConfig, seed: int) -> list[dict[str, Any]]:
    """Learn W = M^-1 from pairs x = M u, u ~ N(0, I), by gradient descent from W = 0.

    The loss is 1/2 E|W x - u|^2 = 1/2 |W M - I|_F^2. With M = U diag(s) V^T it is the sum over i of
    L_i = 1/2 |(W M - I) v_i|^2, and the expected gradient (W M - I) M^T shrinks (W M - I) v_i by
    the factor 1 - lr s_i^2 per step. Batches of n add noise that lets every component feed the
    others: E L_i <- (1 - lr s_i^2)^2 L_i + lr^2 s_i^4 (sum_j L_j + L_i) / n.

    Returns rows of lag_linear: series "total" (component -1) and "component" (component = index
    into `singular_values`, 0 = the best conditioned), value = population loss.
    """
    dim, batch, lr = config.dim, config.regression_batch, config.regression_lr
    matrices, samples = (np.random.default_rng(derive_seed(seed, n)) for n in ("data", "order"))
    left, right = (np.linalg.qr(matrices.standard_normal((dim, dim)))[0] for _ in range(2))
    forward = left * singular_values(config) @ right.T
    reported = np.unique(np.rint(np.linspace(0, dim - 1, config.components)).astype(np.int64))
    steps = evaluation_steps(config.regression_steps, config.evaluations)
    weight, identity = np.zeros((dim, dim)), np.eye(dim)
    losses = []
    for done, step in pairwise([0, *steps]):
        for _ in range(done, step):
            if batch is None:
                gradient = (weight @ forward - identity) @ forward.T
            else:
                u = samples.standard_normal((batch, dim))
                x = u @ forward.T
                gradient = (x @ weight.T - u).T @ x / batch
            weight -= lr * gradient
        error = (weight @ forward - identity) @ right
        losses.append(0.5 * np.sum(error**2, axis=0))
    return _rows("ill_conditioned_regression", seed, steps, np.array(losses), reported)


def planted_selector(config: LinearConfig, seed: int) -> list[dict[str, Any]]:
    """Learn the one-hot target of (b, z) from the outer product of one-hot b and one-hot z.

    The loss is 1/2 |prediction - target|^2. The model is a weight matrix [facts, targets] whose row
    is the prediction of a fact, from 0. Concatenated one-hots would not do: they cannot say which
    target a z selects for which base. A base's targets are K distinct draws. The error of a base's
    facts splits, orthogonally, into its mean over z and the rest, so the loss is the sum of what
    knowing b alone can remove (component 0) and what needs z (component 1).

    With r = lr / n_facts, the full gradient shrinks every error by 1 - r per step; with batches its
    expected square shrinks by 1 - 2 r + r^2 (1 + (n_facts - 1) / batch).

    Returns rows of lag_linear: series "total" (component -1) and "component", value = mean loss
    over all facts.
    """
    n_bases, k, n_targets = config.n_bases, config.n_candidates, config.n_targets
    n_facts, batch, lr = n_bases * k, config.selector_batch, config.selector_lr
    tasks, samples = (np.random.default_rng(derive_seed(seed, n)) for n in ("data", "order"))
    order = tasks.permuted(np.tile(np.arange(n_targets), (n_bases, 1)), axis=1)
    target = np.eye(n_targets)[order[:, :k].ravel()]
    steps = evaluation_steps(config.selector_steps, config.evaluations)
    weight = np.zeros((n_facts, n_targets))
    losses = []
    for done, step in pairwise([0, *steps]):
        for _ in range(done, step):
            if batch is None:
                weight -= lr / n_facts * (weight - target)
            else:
                # One-hot features touch only the rows of the drawn facts.
                facts, counts = np.unique(samples.integers(n_facts, size=batch), return_counts=True)
                gradient = counts[:, None] / batch * (weight[facts] - target[facts])
                weight[facts] -= lr * gradient
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
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for step, loss in zip(steps.tolist(), losses, strict=True):
        series = [("total", -1, math.fsum(loss))]
        series += [("component", i, float(loss[i])) for i in reported.tolist()]
        rows += [
            {"task": task, "series": name, "seed": seed, "step": step, "component": i, "value": v}
            for name, i, v in series
        ]
    return rows
