"""A gradient step of ARD-MMD at Qwen2.5-3B's width: one matmul against the (T, T, d) broadcast.

    python benchmarks/ard.py [--pairs 20] [--tokens 40] [--rounds 5]

The reference forms every difference of tokens; it comes in two forms, all pairs in one batch and
pair by pair with a backward pass each, which is slower or leaner. Both give the original objective
and its gradient in float32 on one thread. Times are paired rounds in a process of their own a form;
the peak is the child's high-water mark less that of a child that only draws the data.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from zscope.core.jobs import peak_rss_mib
from zscope.studies.crosslingual.ard.kernel import Clouds, make_pairs, paired_mmd

D = 2048  # Qwen2.5-3B
REQUIRED_TIME, REQUIRED_MEMORY = 8.0, 4.0
FORMS = ("matmul", "broadcast", "broadcast, pair by pair")
PENALTY = 0.01


def draw(pairs: int, tokens: int) -> tuple[Clouds, Tensor]:
    torch.manual_seed(0)
    mask = torch.ones(pairs, tokens, dtype=torch.bool)
    # Not by `make_clouds`: its temporary tensors would hide what a step adds to the peak.
    clouds = Clouds(torch.randn(pairs, tokens, D), mask, torch.randn(pairs, tokens, D), mask)
    return clouds, torch.full((D,), 3.0, requires_grad=True)


def broadcast(zh: Tensor, en: Tensor, log_l: Tensor) -> Tensor:
    """Sum of MMD^2 as it is written: zh [n, T, d] and en [n, S, d]."""

    def mean(x: Tensor, y: Tensor, own: bool) -> Tensor:
        scaled = (x.unsqueeze(2) - y.unsqueeze(1)) / log_l.exp()
        K = torch.exp(-0.5 * scaled.square().sum(-1))
        if not own:
            return K.mean((1, 2))
        n = x.shape[1]
        return (K.sum((1, 2)) - K.diagonal(dim1=1, dim2=2).sum(1)) / (n * (n - 1))

    return (mean(zh, zh, True) + mean(en, en, True) - 2 * mean(zh, en, False)).sum()


def step_of(form: str, clouds: Clouds, log_l: Tensor) -> Callable[[], Tensor]:
    """A function that returns the gradient of the original objective."""
    pairs = make_pairs(clouds) if form == "matmul" else None

    def step() -> Tensor:
        log_l.grad = None
        (PENALTY * (-log_l).exp().sum()).backward()
        if pairs is not None:
            paired_mmd(pairs, (-2 * log_l).exp()).sum().backward()
        elif form == "broadcast":
            broadcast(clouds.zh, clouds.en, log_l).backward()
        else:
            for zh, en in zip(clouds.zh.split(1), clouds.en.split(1), strict=True):
                broadcast(zh, en, log_l).backward()
        return log_l.grad  # type: ignore[return-value]

    return step


def matmul_rate() -> float:
    """Floating-point operations a second of a float32 product of 1024 x 1024 matrices."""
    a, b = torch.randn(2, 1024, 1024)
    times = []
    for _ in range(10):
        start = time.process_time()
        a @ b
        times.append(time.process_time() - start)
    return 2 * 1024**3 / min(times)


def child(form: str, pairs: int, tokens: int, steps: int) -> None:
    """Print the CPU seconds a step, the peak, and the gradient's norm and a few entries."""
    torch.set_num_threads(1)
    clouds, log_l = draw(pairs, tokens)
    report: dict[str, Any] = {}
    if form == "nothing":
        (PENALTY * (-log_l).exp().sum()).backward()  # autograd's own start-up
    else:
        step = step_of(form, clouds, log_l)
        step()
        start = time.process_time()
        for _ in range(steps):
            gradient = step()
        report["seconds"] = (time.process_time() - start) / steps
        report["gradient"] = gradient.tolist()
    report["peak"] = peak_rss_mib()
    print(json.dumps(report))


def run(form: str, pairs: int, tokens: int, steps: int) -> dict[str, Any]:
    arguments = ["--child", form, "--pairs", str(pairs), "--tokens", str(tokens)]
    command = [sys.executable, __file__, *arguments, "--steps", str(steps)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=40, help="of each language")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child, args.pairs, args.tokens, args.steps)
        return
    torch.set_num_threads(1)
    empty = run("nothing", args.pairs, args.tokens, 1)["peak"]
    found: dict[str, list[dict[str, Any]]] = {form: [] for form in FORMS}
    for _ in range(args.rounds):
        for form, reports in found.items():
            steps = 20 if form == "matmul" else 1
            reports.append(run(form, args.pairs, args.tokens, steps))
    seconds = {form: statistics.median(r["seconds"] for r in found[form]) for form in FORMS}
    peak = {form: max(r["peak"] for r in found[form]) - empty for form in FORMS}
    exact = torch.tensor(found[FORMS[1]][0]["gradient"]).double()
    ours = torch.tensor(found["matmul"][0]["gradient"]).double()
    # Of every pair: the products of all tokens with all, and of the kernel's gradient with them.
    flops = 2 * 2 * args.pairs * (2 * args.tokens) ** 2 * D
    rate = matmul_rate()
    print(
        f"{args.pairs} pairs of {args.tokens} + {args.tokens} tokens, d {D}, float32, one thread; "
        f"median of {args.rounds} rounds"
    )
    print(f"{'':26}{'CPU s a step':>14}{'peak MiB':>10}{'time ratio':>12}{'memory ratio':>14}")
    for form in FORMS:
        ratios = seconds[form] / seconds["matmul"], peak[form] / peak["matmul"]
        print(
            f"{form:26}{seconds[form]:14.4f}{peak[form]:+10.0f}{ratios[0]:12.1f}{ratios[1]:14.1f}"
        )
    share = flops / rate / seconds["matmul"]
    print(f"share of the matmul bound {share:.0%} ({rate / 1e9:.0f} GFLOP/s)")
    print(f"relative difference of the gradients {float((ours - exact).norm() / exact.norm()):.1e}")
    time_ratio = min(seconds[form] for form in FORMS[1:]) / seconds["matmul"]
    memory_ratio = min(peak[form] for form in FORMS[1:]) / peak["matmul"]
    print(
        f"against the better reference of each: {time_ratio:.1f} times the speed (required: "
        f"{REQUIRED_TIME:.0f}), 1/{memory_ratio:.1f} of the memory (1/{REQUIRED_MEMORY:.0f})"
    )
    if time_ratio < REQUIRED_TIME or memory_ratio < REQUIRED_MEMORY:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
