"""V_Z of one layer at Qwen2.5-3B's dimensions: factored against explicit kernels.

    python benchmarks/subspace.py [--k 50]

The reference forms every head's d x d kernel, keeps them, adds up K_h^T K_h and takes the
eigenvectors of the sum. Both in float64 on one thread; peak memory is the growth of the process's
high-water mark.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable

import torch
from torch import Tensor

from zscope.models.attention_kernels import AttentionWeights, stacked_right_space

D, HEADS, KV, D_HEAD = 2048, 16, 2, 128  # Qwen2.5-3B
REQUIRED = 20.0  # times faster than explicit kernels


def measured(work: Callable[[], Tensor], repeats: int = 1) -> tuple[Tensor, float, float]:
    """What `work` returns, its least CPU seconds, and MiB that it adds to the peak."""
    before, times = peak_mib(), []
    for _ in range(repeats):
        start = time.process_time()
        out = work()
        times.append(time.process_time() - start)
    return out, min(times), peak_mib() - before


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def explicit(w: AttentionWeights, k: int) -> Tensor:
    kernels = []
    for h in range(HEADS):
        kernel = (w.W_q[h] * w.gain).T @ (w.W_k[h // (HEADS // KV)] * w.gain) / D_HEAD**0.5
        kernels.append(kernel / kernel.norm())
    total = torch.zeros(D, D, dtype=torch.float64)
    for kernel in kernels:
        total += kernel.T @ kernel
    return torch.linalg.eigh(total).eigenvectors[:, -k:].T


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--k", type=int, default=50)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)

    def draw(n: int) -> Tensor:
        return torch.randn(n, D_HEAD, D, dtype=torch.float64)

    gain = 1 + torch.rand(D, dtype=torch.float64)
    weights = AttentionWeights(draw(HEADS), draw(KV), draw(KV), draw(HEADS), gain)
    fast, fast_s, fast_mib = measured(lambda: stacked_right_space(weights, args.k), 3)
    slow, slow_s, slow_mib = measured(lambda: explicit(weights, args.k))

    print(f"d {D}, {HEADS} heads, {KV} kv heads, d_head {D_HEAD}, k {args.k}, float64, one thread")
    print(f"{'':20}{'CPU s':>10}{'peak MiB':>10}")
    print(f"{'factored':20}{fast_s:10.3f}{fast_mib:+10.0f}")
    print(f"{'explicit kernels':20}{slow_s:10.3f}{slow_mib:+10.0f}")
    alike = float((fast @ slow.mT).square().sum()) / len(fast)
    print(f"tr(P1 P2)/k of the two: {alike:.12f}")
    print(f"explicit / factored = {slow_s / fast_s:.0f} (required: {REQUIRED:.0f})")
    if slow_s / fast_s < REQUIRED:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
