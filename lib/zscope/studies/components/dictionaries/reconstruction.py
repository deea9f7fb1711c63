"""What a dictionary leaves unexplained, how many codes it takes, and which latents are dead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from zscope.stats import wilson_interval
from zscope.studies.components.dictionaries.resampling import Resampling
from zscope.studies.components.dictionaries.stack import Codes, Inputs, Stack
from zscope.studies.components.dictionaries.variants.kind import Kind

ROWS_AT_ONCE = 2048
FVU, L0, DEAD = "fvu", "l0", "dead"


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Of one dictionary, on inputs that it was not trained on.

    Attributes:
        errors: |x - x^|^2 of every input. spread: |x - mean x|^2.
        counts: codes above 0 of every input.
        fires: in how many inputs each latent does.
    """

    errors: Float[np.ndarray, " n"]
    spread: Float[np.ndarray, " n"]
    counts: Float[np.ndarray, " n"]
    fires: Float[np.ndarray, " latent"]

    @property
    def fvu(self) -> float:
        return float(self.errors.sum() / self.spread.sum())

    @property
    def l0(self) -> float:
        return float(self.counts.mean())

    @property
    def dead(self) -> float:
        """Share of latents that never fire on these inputs."""
        return float((self.fires == 0).mean())

    def rows(
        self, resampling: Resampling, units: int
    ) -> dict[str, tuple[float, float, float, int]]:
        """Metric -> value, ends of its interval, n. The bootstrap resamples `units` equal blocks of
        inputs (sequences); the share of dead latents has Wilson's interval over latents."""

        def of(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " unit"]:
            return x.reshape(units, -1).sum(1)

        low, high = resampling.interval(of(self.errors), of(self.spread))
        one = np.ones_like(self.counts)
        l0_low, l0_high = resampling.interval(of(self.counts), of(one))
        silent, n = int((self.fires == 0).sum()), len(self.fires)
        dead_low, dead_high = wilson_interval(silent, n, resampling.bootstrap.level)
        return {
            FVU: (self.fvu, low, high, units),
            L0: (self.l0, l0_low, l0_high, units),
            DEAD: (self.dead, float(dead_low), float(dead_high), n),
        }


@torch.no_grad()
def code_all(kind: Kind, stack: Stack, x: Inputs) -> Codes:
    """Codes of inputs [n, inputs, d] (or [1, inputs, d] for all), a few at a time."""
    x = x.expand(len(stack), -1, -1)
    parts = [kind.encode(stack, part) for part in x.split(ROWS_AT_ONCE, 1)]
    return torch.cat(parts, 1)


@torch.no_grad()
def reconstructions(kind: Kind, stack: Stack, x: Inputs) -> tuple[list[Reconstruction], Codes]:
    """Of every dictionary of the stack, and its codes."""
    codes = code_all(kind, stack, x)
    x = x.expand(len(stack), -1, -1)
    errors = (x - stack.decode(codes)).square().sum(-1).double().numpy()
    spread = (x - x.mean(1, keepdim=True)).square().sum(-1).double().numpy()
    on = codes > 0
    counts, fires = on.sum(-1).double().numpy(), on.sum(1).double().numpy()
    found = [Reconstruction(*parts) for parts in zip(errors, spread, counts, fires, strict=True)]
    return found, codes


def alive_rows(rows: Float[Tensor, "latent d"], found: Reconstruction) -> Float[Tensor, "alive d"]:
    """Decoder rows of the latents that fire; all of them if none does."""
    alive = torch.from_numpy(found.fires > 0)
    return rows[alive] if bool(alive.any()) else rows
