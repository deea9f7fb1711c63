"""Training sparse dictionaries in a stack, and what stands in for training one after the other.

    python benchmarks/dictionaries.py [--variant topk] [--steps 150]

The reference is a straightforward trainer: a module per dictionary, torch's Adam, `topk` and
`scatter`, one after the other. Both train the same dictionaries on the same batches, and must end
with the same ones. The fraction of the matmul rate counts the products of a step alone (encoder and
decoder, forwards and backwards) against products of these sizes; peak memory is what training adds.

CPU seconds, one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from zscope.core.jobs import peak_rss_mib
from zscope.studies.components.dictionaries.config import VariantName
from zscope.studies.components.dictionaries.learning import Pool, Recipe, train
from zscope.studies.components.dictionaries.stack import Stack, initial_stack
from zscope.studies.components.dictionaries.variants.registry import KINDS

T = TypeVar("T")
D, LATENTS, BATCH, INPUTS, COUNT = 64, 256, 256, 32768, 6
STRENGTH: dict[VariantName, float] = {"l1": 2.0, "topk": 8.0}
ROUNDS = 3


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """CPU seconds, and what came of it."""
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


class PlainDictionary(nn.Module):
    """One dictionary as it is commonly written."""

    def __init__(self, stack: Stack, i: int) -> None:
        super().__init__()
        self.W_enc, self.b_enc = (nn.Parameter(t[i].clone()) for t in (stack.W_enc, stack.b_enc))
        self.W_dec, self.b_dec = (nn.Parameter(t[i].clone()) for t in (stack.W_dec, stack.b_dec))

    def forward(self, x: Tensor, k: int | None) -> tuple[Tensor, Tensor]:
        codes = torch.relu((x - self.b_dec) @ self.W_enc + self.b_enc)
        if k is not None:
            values, at = codes.topk(k, dim=-1)
            codes = torch.zeros_like(codes).scatter(-1, at, values)
        return codes, codes @ self.W_dec + self.b_dec


def train_plainly(
    variant: VariantName, stack: Stack, pool: Pool, recipe: Recipe, i: int
) -> PlainDictionary:
    model = PlainDictionary(stack, i)
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.lr)
    order = pool.order(recipe.steps * recipe.batch)[i].view(recipe.steps, recipe.batch)
    k = int(stack.strength[i]) if variant == "topk" else None
    for step in range(recipe.steps):
        optimizer.param_groups[0]["lr"] = recipe.lr * recipe.lr_factor(step)
        x = pool.x[0][order[step]]
        codes, back = model(x, k)
        loss = (x - back).square().sum(-1).mean()
        if k is None:
            loss = loss + recipe.warm(step) * stack.strength[i] * codes.sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        with torch.no_grad():
            grad, rows = model.W_dec.grad, model.W_dec
            assert grad is not None
            grad -= (grad * rows).sum(-1, keepdim=True) * rows
        optimizer.step()
        with torch.no_grad():
            model.W_dec /= model.W_dec.norm(dim=-1, keepdim=True)
    return model


def matmul_seconds(steps: int) -> float:
    """CPU seconds of the six products of a step of one dictionary."""
    x, W = torch.randn(BATCH, D), torch.randn(D, LATENTS)
    codes = torch.randn(BATCH, LATENTS)

    def products() -> None:
        for _ in range(steps):
            for _ in range(2):
                x @ W
                x.mT @ codes
                codes @ W.mT

    return timed(products)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--variant", choices=tuple(STRENGTH), default=None)
    parser.add_argument("--steps", type=int, default=150)
    args = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, INPUTS, 16, generator=generator).relu() @ torch.randn(
        1, 16, D, generator=generator
    )
    x = (x - x.mean(1)) * (D / (x - x.mean(1)).square().sum(-1).mean()) ** 0.5
    recipe = Recipe(args.steps, BATCH, dead_after=args.steps + 1)
    train_plainly("l1", *_problem("l1", x), recipe=Recipe(2, BATCH), i=0)  # imports
    variants: list[VariantName] = [args.variant] if args.variant else list(STRENGTH)
    good = True
    print(f"{COUNT} dictionaries {D} -> {LATENTS}, {args.steps} steps of {BATCH}, {ROUNDS} rounds")
    for variant in variants:
        stack, pool = _problem(variant, x)
        ratios = []
        for _ in range(ROUNDS):
            before = peak_rss_mib()
            ours, learned = timed(lambda v=variant, s=stack, p=pool: train(KINDS[v], s, p, recipe))  # type: ignore[misc]
            added = peak_rss_mib() - before
            plain, others = timed(
                lambda v=variant, s=stack, p=pool: [  # type: ignore[misc]
                    train_plainly(v, s, p, recipe, i) for i in range(COUNT)
                ]
            )
            ratios.append(plain / ours)
        rows = torch.stack([m.W_dec.detach() for m in others])
        worst = float((learned.W_dec - rows).norm(dim=-1).median())
        share = COUNT * matmul_seconds(args.steps) / ours
        steps = COUNT * args.steps
        middle = sorted(ratios)[ROUNDS // 2]
        print(
            f"{variant:6} stack {steps / ours:6.0f} steps/s, one by one {steps / plain:6.0f}: "
            f"{middle:.2f}x ({min(ratios):.2f} to {max(ratios):.2f}); {share:.0%} of the matmul "
            f"rate, +{added:.0f} MiB; median distance of a row {worst:.1e}"
        )
        good &= middle > 1
    if not good:
        raise SystemExit(1)


def _problem(variant: VariantName, x: Tensor) -> tuple[Stack, Pool]:
    seeds = tuple(range(COUNT))
    strengths = [STRENGTH[variant]] * COUNT
    stack = initial_stack(D, LATENTS, strengths, seeds, KINDS[variant].own)
    return stack, Pool(x, torch.zeros(COUNT, dtype=torch.long), seeds)


if __name__ == "__main__":
    main()
