"""Decomposing a planted target, and scoring the components against the true ones."""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N806

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zscope.config.base import Bootstrap
from zscope.core.provenance import derive_seed
from zscope.studies.components.decomposition.losses import LossSettings
from zscope.studies.components.decomposition.planted.models import PLANTED
from zscope.studies.components.decomposition.planted.truth import (
    Match,
    Planted,
    Term,
    match,
    root_of_moments,
    singular,
)
from zscope.studies.components.decomposition.rank_one import Decomposition
from zscope.studies.components.decomposition.targets import Clean, clean_run
from zscope.studies.components.decomposition.training import (
    ALIVE,
    Batch,
    importances,
    monitored,
    train_decomposition,
)
from zscope.tables.schema import Row
from zscope.training import ResumeFolder
from zscope.verdicts import LEAST_DRAWS

SCORES = ("read", "write", "both", "distinct")


@dataclass(frozen=True)
class Recovery:
    """How a planted target is decomposed.

    Attributes:
        n: components of a matrix. hidden: units of the importance network. batch: inputs a step.
        inputs: on which components are scored.
    """

    n: int
    batch: int
    lr: float
    loss: LossSettings
    hidden: int = 64
    inputs: int = 512
    eval_every: int = 200


class DrawnInputs:
    """Fresh inputs of a planted target with the number of their step (training.Batches)."""

    def __init__(self, planted: Planted, n: int, seed: int) -> None:
        self._planted, self._n, self._seed, self._step = planted, n, seed, 0

    def next(self) -> Batch:
        step = self._step
        self._step += 1
        draw = torch.Generator().manual_seed(derive_seed(self._seed, f"inputs {step}"))
        return step, self._planted.inputs(self._n, draw)

    def state(self) -> dict[str, Any]:
        return {"step": self._step}

    def restore(self, state: dict[str, Any]) -> None:
        self._step = state["step"]


def recover(
    kind: str, settings: Recovery, seed: int, folder: ResumeFolder, bootstrap: Bootstrap
) -> list[Row]:
    """Scores of each matrix over the steps: matrix, step, metric, value, null_low, null_high, svd.

    seed: of the planted truth, of the inputs, of the first components and of masks, each by name.
    """
    planted = PLANTED[kind](derive_seed(seed, "truth"))
    first = derive_seed(seed, "components")
    decomposition = Decomposition(planted.target, settings.n, settings.hidden, first)
    draw = torch.Generator().manual_seed(derive_seed(seed, "scored inputs"))
    inputs = planted.inputs(settings.inputs, draw)
    clean = clean_run(planted.target, inputs)
    rng = np.random.default_rng(derive_seed(seed, "random components"))
    roots = {
        name: root_of_moments(x)
        for group, x in zip(planted.target.groups, clean.reads, strict=True)
        for name in group.matrices
    }
    svd = {
        name: match(t, *singular(t.matrix.double().numpy()), roots[name])
        for name, t in planted.truth.items()
    }

    def evaluate(module: nn.Module, step: int) -> list[Row]:
        watched = monitored(decomposition, inputs, clean, seed)
        rows = [_row("all", step, metric, value) for metric, value in watched.items()]
        matches, nulls = [], []
        for name, reads, writes, g in alive_components(decomposition, clean):
            term = planted.truth[name]
            matches.append(match(term, reads, writes, roots[name]))
            nulls.append(_random(term, len(reads), roots[name], rng))
            rows += _scored(name, step, [matches[-1]], nulls[-1], [svd[name]], bootstrap)
            rows.append(_row(name, step, "alive", float(len(reads))))
            rows.append(_row(name, step, "active", g))
            rows.append(_row(name, step, "true_terms", float(len(term.reads))))
        together = np.mean(nulls, axis=0)
        rows += _scored("all", step, matches, together, list(svd.values()), bootstrap)
        return rows

    trained = train_decomposition(
        kind,
        decomposition,
        DrawnInputs(planted, settings.batch, derive_seed(seed, "inputs")),
        settings.loss,
        lr=settings.lr,
        seed=derive_seed(seed, "masks"),
        evaluate=evaluate,
        eval_every=settings.eval_every,
        folder=folder,
    )
    return [row for row in trained.rows if row["metric"] != "train_loss"]


def alive_components(
    decomposition: Decomposition, clean: Clean
) -> Iterator[tuple[str, np.ndarray, np.ndarray, float]]:
    """Of every matrix: its name, reads and writes of its alive components, and how many have any
    importance at an input, on average."""
    g = importances(decomposition, clean)
    at = tuple(range(g.ndim - 2))
    mean, active = g.mean(at), (g > 0).double().sum(-1).mean(at)
    row = 0
    for group, V, U in zip(
        decomposition.target.groups, decomposition.V, decomposition.U, strict=True
    ):
        for i, name in enumerate(group.matrices):
            kept = (mean[row] > ALIVE).numpy()
            yield name, _plain(V[i].mT)[kept], _plain(U[i])[kept], float(active[row])
            row += 1


def _plain(x: Tensor) -> np.ndarray:
    return x.detach().double().numpy()


def _random(term: Term, n: int, root: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Scores [draw, score] of as many random components as are alive."""
    draws: list[Match] = []
    for _ in range(LEAST_DRAWS):
        reads = rng.standard_normal((n, term.reads.shape[1]))
        writes = rng.standard_normal((n, term.writes.shape[1]))
        draws.append(match(term, reads, writes, root))
    return np.array([[getattr(m, score) for score in SCORES] for m in draws])


def _scored(
    matrix: str,
    step: int,
    found: Sequence[Match],
    null: np.ndarray,
    svd: Sequence[Match],
    bootstrap: Bootstrap,
) -> list[Row]:
    """The scores, averaged over matrices. null: [draw, score]."""
    low, high = np.quantile(null, bootstrap.tails, axis=0)
    rows = []
    for i, score in enumerate(SCORES):
        value, other = (float(np.mean([getattr(m, score) for m in ms])) for ms in (found, svd))
        band = {"null_low": float(low[i]), "null_high": float(high[i]), "svd": other}
        rows.append({**_row(matrix, step, score, value), **band})
    return rows


def _row(matrix: str, step: int, metric: str, value: float) -> Row:
    nothing = {"null_low": None, "null_high": None, "svd": None}
    return {"matrix": matrix, "step": step, "metric": metric, "value": value, **nothing}
