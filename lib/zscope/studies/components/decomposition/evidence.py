"""Is a decomposition faithful, minimal, and mechanistically faithful? In this order.

Faithful: Delta is small, and the components alone give the target's logits. Minimal: few
components are in use at a position. Mechanistically faithful: what is called unimportant may be
ablated in any amount and combination, also by an adversary.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from zscope.core.provenance import derive_seed
from zscope.stats import bootstrap_interval
from zscope.studies.components.decomposition.attack import Shares, attack, random_shares
from zscope.studies.components.decomposition.masks import (
    KINDS,
    Masked,
    everything,
    fixed_masks,
    random_masks,
)
from zscope.studies.components.decomposition.measured import Run
from zscope.studies.components.decomposition.targets import log_divergence
from zscope.studies.components.decomposition.training import ALIVE
from zscope.tables.schema import Row

TARGET, ADVERSARY = "target", "adversary"
"""Kinds of masks beside those of `masks.KINDS`: everything with Delta, and the adversary's."""


def reconstruction_rows(run: Run, seed: int) -> list[Row]:
    """Divergence and excess by kind of mask and primitive."""
    draw = torch.Generator().manual_seed(derive_seed(seed, "evidence"))

    def masks_of(kind: str, g: Tensor) -> Masked:
        if kind == TARGET:
            return everything(g)
        return random_masks(g, draw, subset=False) if kind == "random" else fixed_masks(kind, g)

    rows = []
    for kind in (TARGET, *KINDS):
        kl, excess = run.masked(lambda g, kind=kind: masks_of(kind, g))  # type: ignore[misc]
        for metric, values in (("kl", kl), ("excess", excess)):
            of = run.evaluation.by_primitive(values, metric)
            rows += [{"masks": kind, "attack_steps": -1, **row} for row in of]
    return rows


def adversary_rows(run: Run, steps: Sequence[int], size: float, seed: int) -> list[Row]:
    """The adversary's divergence after so many sign steps, by primitive; the interval is over the
    sequences that it attacks."""
    decomposition, tokens = run.decomposition, run.evaluation.tokens
    draw = torch.Generator().manual_seed(derive_seed(seed, "adversary"))
    start = random_shares(len(decomposition.matrices), decomposition.n, draw)
    rows: list[Row] = []

    def divergence(shares: Shares) -> Tensor:
        masks = shares.masks(run.g)
        logits = decomposition.target.run(tokens, masks.apply(decomposition))
        return log_divergence(run.logits, logits)[:, :-1]

    def visit(step: int, shares: Shares) -> None:
        if step in steps:
            with torch.no_grad():
                kl = divergence(shares).double().numpy()
            of = run.evaluation.by_primitive(kl, "kl")
            rows.extend({"masks": ADVERSARY, "attack_steps": step, **row} for row in of)

    attack(start, lambda s: divergence(s).mean(), steps=max(steps), size=size, visit=visit)
    return rows


def matrix_rows(run: Run) -> list[Row]:
    """Of every matrix: |Delta| / |W|, how many components are alive, and how many are in use at a
    position, with its interval over sequences. Matrix `all`: of all together."""
    decomposition = run.decomposition
    g = run.g[:, :-1]
    used = (g > 0).sum(-1).double().mean(1).numpy()  # n matrices
    alive = (g.mean((0, 1)) > ALIVE).sum(-1).tolist()
    names = decomposition.matrices
    used = np.column_stack([used, used.sum(1)])
    low, high = bootstrap_interval(
        used, bootstrap=run.evaluation.bootstrap, weights=run.evaluation.weights
    )
    deltas = torch.cat([d.flatten(1).norm(dim=1) for d in decomposition.deltas()])
    norms = torch.cat([grp.weights.flatten(1).norm(dim=1) for grp in decomposition.target.groups])
    sizes = [*(deltas / norms).tolist(), float(deltas.norm() / norms.norm())]
    return [
        {
            "matrix": name,
            "delta": sizes[i],
            "alive": int(alive[i]) if i < len(names) else int(sum(alive)),
            "components": decomposition.n * (1 if i < len(names) else len(names)),
            "used": float(used[:, i].mean()),
            "ci_low": float(low[i]),
            "ci_high": float(high[i]),
            "n": len(used),
        }
        for i, name in enumerate([*names, "all"])
    ]
