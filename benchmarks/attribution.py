"""Attribution patching against exhaustive patching: time, agreement and memory.

every node: each is patched in a run of its own, many runs in a batch, each from the node's layer on
(a sample of the nodes, scaled by count). exhaustive: the same without nodes whose effect is 0 by
construction, as the study does it. The estimates are of all nodes at once. The two runs of every
pair, which all of them need, are added to each.

CPU seconds, one thread. Without --checkpoints a random bilinear model: times are the same, and the
agreement says nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from zscope.core.jobs import peak_rss_mib
from zscope.models.tensor_checkpoints import load_last_tensor_model
from zscope.models.tensor_transformer import TensorConfig, TensorTransformer
from zscope.studies.components.attribution import estimates
from zscope.studies.components.attribution.exhaustive import Nodes, exact_effects
from zscope.studies.components.attribution.measuring import MeasuredPairs
from zscope.studies.components.attribution.prompt_pairs import PairRule, all_pairs
from zscope.toy_language.config import LanguageConfig
from zscope.toy_language.language import ToyLanguage

T = TypeVar("T")
RULE = PairRule(6, 40, 0.25, 0.3)
SAMPLE = 512  # nodes of each kind and layer, of all, that are patched
REQUIRED = 20  # times faster than exhaustive patching


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """CPU seconds, and what came of it."""
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


def random_model(d_vocab: int) -> TensorTransformer:
    model = TensorTransformer(TensorConfig(d_vocab=d_vocab))
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=draws) * 0.1)
    return model.eval().requires_grad_(False)


def measured(checkpoints: str | None, n: int) -> MeasuredPairs:
    language = ToyLanguage(LanguageConfig())
    pairs = [pair for of in all_pairs(language, n, RULE, 0) for pair in of.pairs]
    size = len(language.vocabulary)
    model = load_last_tensor_model(checkpoints) if checkpoints else random_model(size)
    return MeasuredPairs(model, pairs)


def compare_times(checkpoints: str | None, n: int) -> bool:
    m = measured(checkpoints, n)
    count = sum(map(len, m.nodes))
    seconds, effects = timed(lambda: [exact_effects(m.runs, nodes) for nodes in m.nodes])
    part, sizes = timed(lambda: [every_node(m, nodes) for nodes in m.nodes])
    every = len(m.nodes) * sizes[0]
    naive = part * sizes[0] / SAMPLE
    clean, corrupted = m.runs.clean.streams[0], m.runs.corrupted.streams[0]
    runs, _ = timed(lambda: [m.runs.model.run(x) for x in (clean, corrupted)])
    naive, seconds = naive + runs, seconds + runs
    print(f"{len(m.pairs)} pairs, {count} nodes that can have an effect, of {every}")
    print(f"{'':20}{'CPU s':>8}{'every node':>12}{'exhaustive':>12}{'r':>8}   least r of a cell")
    print(f"{'every node, scaled':20}{naive:8.2f}{1:12.2f}{seconds / naive:12.2f}")
    print(f"{'exhaustive':20}{seconds:8.2f}{naive / seconds:12.1f}{1:12.2f}")
    ratios = {}
    methods = ("atp", "atp_qk", "graddrop_all", "integrated")
    for name in methods:
        method = getattr(estimates, name)
        method(m.runs)  # once before, for what is only set up once
        took, found = timed(lambda method=method: method(m.runs))
        unsigned = name == "graddrop_all"
        pairs = [
            (nodes.values(found).numpy(), (e.abs() if unsigned else e).numpy())
            for nodes, e in zip(m.nodes, effects, strict=True)
        ]
        whole = np.corrcoef(*(np.concatenate(x) for x in zip(*pairs, strict=True)))[0, 1]
        least = min(float(np.corrcoef(a, b)[0, 1]) for a, b in pairs)
        took += runs
        ratios[name] = naive / took
        of_ours = seconds / took
        print(f"{name:20}{took:8.3f}{ratios[name]:12.1f}{of_ours:12.1f}{whole:8.3f}   {least:.3f}")
    return min(ratios["atp"], ratios["atp_qk"]) >= REQUIRED


def every_node(m: MeasuredPairs, nodes: Nodes) -> int:
    """Patch SAMPLE of all nodes of a kind and layer; how many there are."""
    lengths = m.runs.answers.read.add(1).tolist()
    heads = m.runs.model.heads(nodes.kind)
    grid = [(i, h, p) for i, size in enumerate(lengths) for h in range(heads) for p in range(size)]
    chosen = np.random.default_rng(0).permutation(len(grid))[:SAMPLE]
    columns = torch.tensor([grid[i] for i in sorted(chosen)]).unbind(1)
    exact_effects(m.runs, Nodes(nodes.layer, nodes.kind, *columns))
    return len(grid)


def compare_memory(checkpoints: str | None, n: int) -> None:
    for what in ("estimates", "exhaustive"):
        command = [sys.executable, __file__, "--alone", what, "--pairs", str(n)]
        command += ["--checkpoints", checkpoints] if checkpoints else []
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        print(f"{what}: +{float(done.stdout):.0f} MiB")


def added_memory(checkpoints: str | None, n: int, what: str) -> float:
    """MiB that the work adds to a process that has the runs of all pairs."""
    m = measured(checkpoints, n)
    before = peak_rss_mib()
    if what == "estimates":
        estimates.all_estimates(m.runs)
    else:
        for nodes in m.nodes:
            exact_effects(m.runs, nodes)
    return peak_rss_mib() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoints", help="a run's checkpoints.safetensors")
    parser.add_argument("--pairs", type=int, default=16, help="pairs of each primitive")
    parser.add_argument("--alone", choices=("estimates", "exhaustive"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.checkpoints and not Path(args.checkpoints).is_file():
        parser.error(f"{args.checkpoints} is not there: snakemake toylang")
    if args.alone:
        print(added_memory(args.checkpoints, args.pairs, args.alone))
        return
    good = compare_times(args.checkpoints, args.pairs)
    compare_memory(args.checkpoints, args.pairs)
    if not good:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
