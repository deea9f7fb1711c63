"""Experiment C on the states of one layer: every fit, as rows of the tables of fits.

`crosslingual_lengthscales` holds what was fitted, and `crosslingual_ard_history` the course of each
fit. The fits are scored from these tables (`fit_measures`), so that an interval can change without
another fit.
"""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N806

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from zscope.studies.crosslingual.ard.layer_data import LayerData
from zscope.studies.crosslingual.ard.objectives import (
    EVERY,
    LOSSES,
    fit_contrast,
    fit_original,
    svd_init,
)
from zscope.studies.crosslingual.config import ArdConfig
from zscope.tables.schema import Row


@dataclass
class FitRows:
    """Rows of the two tables, without the columns of model and layer."""

    history: list[Row] = field(default_factory=list)
    lengthscales: list[Row] = field(default_factory=list)


def fit_layer(data: LayerData, ard: ArdConfig) -> FitRows:
    """Fit both objectives to the problems of `data.train`, without a Z those that need none."""
    rows, train = FitRows(), data.train
    middle = sorted(ard.lambdas)[len(ard.lambdas) // 2]
    for init, V in data.starts.items():
        start = torch.zeros(train.d) if V is None else svd_init(V)
        # The protocol is the whole grid from its own init; the others show what the init decides.
        grid = init == ("svd_z" if data.spaces else "zeros")
        for penalty in ard.lambdas if grid else [middle]:
            fit = fit_original(train, start, penalty, steps=ard.steps, lr=ard.lr)
            what = about("original", "coordinates", init, penalty)
            for record in fit.records:
                values = record._asdict()
                step = values.pop("step")
                rows.history += _history(what, step, values)
            rows.lengthscales += _lengthscales(what, fit.log_l.double())
    for basis in ard.bases:
        axes = data.axes(basis)
        if axes is None:
            continue
        for loss in LOSSES:
            contrast = fit_contrast(
                train.project(axes, torch.zeros(train.d)),
                data.categories[data.split.train],
                loss=loss,
                steps=ard.contrast_steps,
                lr=ard.contrast_lr,
                tau=ard.tau,
            )
            what, n = about(loss, basis), len(contrast.losses)
            for step in dict.fromkeys((*range(0, n, EVERY), n - 1)):
                rows.history += _history(what, step, {"loss": contrast.losses[step]})
            rows.lengthscales += _lengthscales(what, -contrast.precision.double().log() / 2)
    return rows


def about(objective: str, basis: str, init: str | None = None, penalty: float | None = None) -> Row:
    """The columns that name a fit."""
    return {"objective": objective, "basis": basis, "init": init, "penalty": penalty}


def _history(what: Row, step: int, values: Mapping[str, float]) -> Iterable[Row]:
    for metric, value in values.items():
        yield {**what, "step": step, "metric": metric, "value": float(value)}


def _lengthscales(what: Row, log_l: Float[Tensor, " r"]) -> Iterable[Row]:
    for j, value in enumerate((log_l / np.log(10)).tolist()):
        yield {**what, "dimension": j, "log10_lengthscale": value}
