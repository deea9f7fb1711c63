"""The nulls of a layer's weights at SmolLM2's dimensions, against plain linear algebra.

    python benchmarks/weights.py [--draws 40]

Ranks: ours draws in float32 and takes eigenvalues of small Gram matrices. The reference draws in
float64, takes the triangles of both factors and their singular values, and those of the stacked
kernels. Shares of the FFN: ours takes the random spaces in the basis of the eigenvectors of what is
measured; the reference multiplies each space with the second moments. CPU seconds of one layer with
all draws, one thread; the spectra of the same weights must agree.
"""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N806

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

from zscope.config.base import Bootstrap
from zscope.models.attention_kernels import AttentionWeights, kernel_spectra
from zscope.studies.crosslingual.measures.nulls import random_spaces
from zscope.studies.crosslingual.measures.weights import FfnMoments, ffn_rows, rank_rows
from zscope.studies.crosslingual.space.ranks import effective_ranks

D, HEADS, KV, D_HEAD, D_MLP = 576, 9, 3, 64, 1536  # SmolLM2-135M
KS = (96, 37)  # of the default config
REQUIRED = 1.5  # times faster than the reference
BOOTSTRAP = Bootstrap(level=0.95, resamples=1000, seed=0)


def cpu_seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """The least of a few calls."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def draw(n: int, generator: torch.Generator) -> Tensor:
    return torch.randn(n, D_HEAD, D, generator=generator, dtype=torch.float64)


def plain_spectra(q: Tensor, k: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    """Singular values of every head's kernel, scaled, and of all kernels in one stack."""
    R_q, R_k = (torch.linalg.qr((W * gain).mT, mode="r").R for W in (q, k))
    cores = R_q @ R_k.repeat_interleave(HEADS // KV, 0).mT
    cores = cores / torch.linalg.matrix_norm(cores).view(-1, 1, 1)
    Q_k = torch.linalg.qr((k * gain).mT).Q.mT.repeat_interleave(HEADS // KV, 0)
    stack = (cores @ Q_k).flatten(0, 1)
    return torch.linalg.svdvals(cores), torch.linalg.svdvals(stack)


def plain_ranks(gain: Tensor, draws: int, generator: torch.Generator) -> list[dict[str, Tensor]]:
    found = []
    for _ in range(draws):
        spectra = plain_spectra(draw(HEADS, generator), draw(KV, generator), gain)
        found += [effective_ranks(s) for s in spectra]
    return found


def plain_shares(moments: list[Tensor], random: dict[int, Tensor]) -> list[Tensor]:
    return [((V @ M) * V).sum((1, 2)) / M.trace() for V in random.values() for M in moments]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", type=int, default=40)
    args = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    gain = 1 + torch.rand(D, dtype=torch.float64, generator=generator)
    sizes = (HEADS, KV, KV, HEADS)
    weights = AttentionWeights(*(draw(n, generator) for n in sizes), gain)
    W = torch.randn(2, D_MLP, D, dtype=torch.float64, generator=generator)
    ffn = FfnMoments(W[0].mT @ W[0], W[1].mT @ W[1])
    random = {k: random_spaces(D, k, args.draws, 0) for k in KS}
    spaces = {("qk", k): random[k][0] for k in KS}
    span = torch.linalg.eigh(ffn.write).eigenvectors[:, -KS[0] :]
    moments = [ffn.write, ffn.read, span @ span.mT]

    times = {
        "ranks": (
            cpu_seconds(
                lambda: list(rank_rows(weights, 0, ["qk"], args.draws, generator, BOOTSTRAP))
            ),
            cpu_seconds(lambda: plain_ranks(gain, args.draws, generator)),
        ),
        "shares of the FFN": (
            cpu_seconds(lambda: list(ffn_rows(ffn, spaces, random, 0, BOOTSTRAP))),
            cpu_seconds(lambda: plain_shares(moments, random)),
        ),
    }
    print(f"d {D}, {HEADS} heads, {KV} kv heads, d_head {D_HEAD}, {args.draws} draws, one thread")
    print(f"{'':20}{'ours CPU s':>12}{'reference':>12}{'ratio':>8}")
    for name, (ours, reference) in times.items():
        print(f"{name:20}{ours:12.3f}{reference:12.3f}{reference / ours:8.1f}")
    pairs = zip(kernel_spectra(weights), plain_spectra(weights.W_q, weights.W_k, gain), strict=True)
    worst = max(float((a - b[..., : a.shape[-1]]).abs().max() / b.max()) for a, b in pairs)
    print(
        f"largest difference of the spectra of the same weights: {worst:.1e} of the largest value"
    )
    ratios = [reference / ours for ours, reference in times.values()]
    if min(ratios) < REQUIRED or worst > 1e-7:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
