"""Benchmark of the decomposition's training step, and its peak memory.

    python benchmarks/decomposition.py
    python benchmarks/decomposition.py --steps 20

ours: matrices that read the same input side by side, components masked in activations, Delta as one
product, one importance network for all.

straightforward: every matrix after the other, W rebuilt from the masked components for every
position, an importance network for each component (1 -> 8 -> 1 of its own activation).

Both do the loss of a stochastic step (faithfulness, random masks, penalty) and its gradient on a
two-layer bilinear model of the default size. CPU seconds, one thread; memory: what each adds to a
process of its own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from zscope.core.jobs import peak_rss_mib
from zscope.models.tensor_transformer import TensorConfig, TensorTransformer
from zscope.studies.components.decomposition.losses import LossSettings, decomposition_loss
from zscope.studies.components.decomposition.rank_one import (
    Decomposition,
    importance_in_masks,
    importance_in_penalty,
)
from zscope.studies.components.decomposition.targets import (
    TransformerTarget,
    clean_run,
    log_divergence,
)

# Matrices keep the capitals of the formulas.

COMPONENTS, BATCH, LENGTH = 64, 6, 63
REQUIRED = 3  # times faster than the reference
SETTINGS = LossSettings(penalty=5e-4, faithful_steps=0, steps=100)


def model() -> TensorTransformer:
    made = TensorTransformer(TensorConfig())
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in made.parameters():
            p.copy_(torch.empty(p.shape).normal_(generator=draw) * p.shape[-1] ** -0.5)
    return made.eval().requires_grad_(False)


def inputs() -> Tensor:
    return torch.randint(65, (BATCH, LENGTH), generator=torch.Generator().manual_seed(1))


def ours() -> Callable[[], None]:
    made = Decomposition(TransformerTarget(model()), COMPONENTS, 128, 0)
    ids = inputs()

    def step() -> None:
        decomposition_loss(made, ids, 50, SETTINGS, 0).backward()
        made.zero_grad()

    return step


class PlainMatrix(nn.Module):
    """One matrix, its components, and a network for each of them."""

    def __init__(self, W: Tensor) -> None:
        super().__init__()
        self.W = W
        out, inside = W.shape
        self.V = nn.Parameter(torch.randn(inside, COMPONENTS) * inside**-0.5)
        self.U = nn.Parameter(torch.randn(COMPONENTS, out) * COMPONENTS**-0.5)
        self.first = nn.Parameter(torch.randn(COMPONENTS, 8))
        self.bias = nn.Parameter(torch.zeros(COMPONENTS, 8))
        self.second = nn.Parameter(torch.randn(COMPONENTS, 8) * 0.1)

    def importance(self, x: Tensor) -> Tensor:
        hidden = nn.functional.gelu((x @ self.V)[..., None] * self.first + self.bias)
        return (hidden * self.second).sum(-1) + 0.5

    def forward(self, x: Tensor, m: Tensor, u: Tensor) -> Tensor:
        delta = self.W - (self.V @ self.U).mT
        dense = torch.einsum("...c,co,ic->...oi", m, self.U, self.V)
        return ((dense + u[..., None, None] * delta) @ x[..., None]).squeeze(-1)


def straightforward() -> Callable[[], None]:
    target = TransformerTarget(model())
    torch.manual_seed(0)
    parts = nn.ModuleList(
        nn.ModuleList(PlainMatrix(W) for W in group.weights) for group in target.groups
    )
    ids = inputs()

    def step() -> None:
        clean = clean_run(target, ids)
        penalty = torch.zeros(())
        masks: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        for i, group in enumerate(parts):
            for j, part in enumerate(group):
                h = part.importance(clean.reads[i])
                g = importance_in_masks(h)
                u = torch.rand(g.shape[:-1])
                on = (torch.rand(u.shape) < 0.5).float()
                m = on[..., None] * (g + (1 - g) * torch.rand(g.shape)) + 1 - on[..., None]
                masks[i, j] = m, on * u + 1 - on
                power = (importance_in_penalty(h) + 1e-6) ** SETTINGS.p(50)
                penalty = penalty + power.sum(-1).mean()

        def apply(i: int, x: Tensor) -> Tensor:
            return torch.stack([p(x, *masks[i, j]) for j, p in enumerate(parts[i])], -2)

        faithful = torch.stack(
            [(p.W - (p.V @ p.U).mT).square().mean() for group in parts for p in group]
        ).mean()
        kl = log_divergence(clean.output, target.run(ids, apply)).mean()
        (1000 * faithful + kl + SETTINGS.penalty * penalty).backward()
        parts.zero_grad()

    return step


MADE = {"ours": ours, "straightforward": straightforward}


def measured(name: str, steps: int) -> tuple[float, float]:
    """CPU seconds a step, and MiB that training adds to a process that has made the model."""
    model()
    before = peak_rss_mib()
    step = MADE[name]()
    step()
    start = time.process_time()
    for _ in range(steps):
        step()
    return (time.process_time() - start) / steps, peak_rss_mib() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--alone", choices=MADE, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.alone:
        print(*measured(args.alone, args.steps))
        return
    found = {}
    for name in MADE:
        command = [sys.executable, __file__, "--alone", name, "--steps", str(args.steps)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[name] = [float(x) for x in done.stdout.split()]
        seconds, memory = found[name]
        print(f"{name:18}{1 / seconds:8.1f} steps/s{memory:8.0f} MiB")
    ratio = found["straightforward"][0] / found["ours"][0]
    print(
        f"{ratio:.1f}x the speed, {found['straightforward'][1] / found['ours'][1]:.1f}x less memory"
    )
    if ratio < REQUIRED:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
