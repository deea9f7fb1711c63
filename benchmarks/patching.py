"""Patched generation of many draws, in batches and from a shared prefix, against slower ways.

    python benchmarks/patching.py [--problems 100] [--draws 10] [--rows 500] [--rounds 3]

The draws of a condition, as many together as `--rows` allows, against one draw at a time from the
same prefix; a patch of the last position, which runs one token, against running the prompt; and one
prompt at a time, patched by the same hook while transformers generates, unpadded. All must write
the same texts. Paired rounds, CPU seconds, one thread, an untrained model of the embedded one's
shape whose outputs rarely end early.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from zscope.models.language_model import LanguageModel, generate
from zscope.studies.crosslingual.patching.patched_generation import (
    Component,
    Patch,
    Prefix,
    generate_from,
    last_position,
    patched,
    run_prefix,
)
from zscope.studies.crosslingual.problems.parallel import generate as make_problems
from zscope.studies.crosslingual.space.subspaces import random_space
from zscope.studies.crosslingual.tiny_qwen import TinyShape, build_tiny_qwen

REQUIRED = 8.0
LAYER, K, LENGTH = 2, 16, 12


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of this process and the result."""
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


class Bench:
    """The problems' prompts up to the layer, and draws of a space to patch into them."""

    def __init__(self, n_problems: int, n_draws: int) -> None:
        model, tokenizer = build_tiny_qwen(TinyShape(init_std=0.2), 0)
        self.lm = LanguageModel(model.eval(), tokenizer, "tiny")
        self.texts = [p.prompt("en") for p in make_problems(n_problems, 0, held_out=True)]
        generator = torch.Generator().manual_seed(0)
        self.source = torch.randn(n_problems, 1, self.lm.d_model, generator=generator)
        d = self.lm.d_model
        self.draws = [Component(random_space(d, K, generator).float()) for _ in range(n_draws)]
        self.prompts = run_prefix(self.lm, *self.lm.encode(self.texts), LAYER)
        self.last = last_position(self.lm, self.prompts)

    def together(self, prefix: Prefix, site: bool, draws: int) -> list[str]:
        """The texts of all draws, `draws` of them in a batch."""
        out = []
        n = len(self.texts)
        for start in range(0, len(self.draws), draws):
            own = self.draws[start : start + draws]
            many = prefix.repeated(len(own))
            where = torch.zeros_like(many.mask[:, -many.states.shape[1] :], dtype=torch.bool)
            where[:, -1] = True
            positions = where if site else many.used(position_0=False)
            source = self.source.repeat(len(own), 1, 1)
            patch = Patch(Component.stacked(own, n), source, positions)
            out += [o.text for o in generate_from(self.lm, many, patch, LENGTH)]
        return out

    def alone(self, i: int) -> str:
        """The first draw's text of one problem."""
        ids, mask = self.lm.encode([self.texts[i]])
        used = mask.bool() & (mask.cumsum(1) > 1)
        with patched(self.lm, LAYER, Patch(self.draws[0], self.source[i : i + 1], used)):
            return generate(self.lm, ids, mask, LENGTH)[0].text


def matmul_share(bench: Bench, seconds: float) -> float:
    """Share of a large product's rate at which the weights are applied to the prompts' states."""
    a, b = torch.randn(2, 512, 512)
    rate = 2 * 512**3 / min(timed(lambda: a @ b)[0] for _ in range(20))
    layers = bench.lm.model.model.layers
    weights = sum(p.numel() for layer in layers[LAYER:] for p in layer.parameters() if p.ndim == 2)
    every = sum(p.numel() for layer in layers for p in layer.parameters() if p.ndim == 2)
    head = bench.lm.model.lm_head.weight.numel()
    tokens = bench.prompts.mask.numel()
    work = 2 * (weights * tokens + (every + head) * len(bench.texts) * LENGTH)
    return work / seconds / rate


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    n, many = args.problems, max(1, args.rows // args.problems)
    bench = Bench(n, args.draws)

    ways: dict[str, Callable[[], list[str]]] = {
        f"prompts, {many} draws together": lambda: bench.together(bench.prompts, False, many),
        "prompts, one draw at a time": lambda: bench.together(bench.prompts, False, 1),
        f"last position, {many} draws together": lambda: bench.together(bench.last, True, many),
        "last position, one draw at a time": lambda: bench.together(bench.last, True, 1),
        "last position, by running the prompt": lambda: bench.together(bench.prompts, True, 1),
    }
    one_by_one = "prompts, one draw and prompt at a time"
    seconds: dict[str, list[float]] = {name: [] for name in (*ways, one_by_one)}
    peaks = {}
    for _ in range(args.rounds):
        texts = {}
        # The smallest batches come first, so that a peak is that of the larger ones.
        for name in reversed(ways):
            spent, texts[name] = timed(ways[name])
            seconds[name].append(spent / args.draws)
            peaks.setdefault(name, peak_mib())
        spent, alone = timed(lambda: [bench.alone(i) for i in range(n)])
        seconds[one_by_one].append(spent)
        fast, slow, site, site_alone, whole = (texts[name] for name in ways)
        assert fast == slow, "draws together and one at a time must write the same"
        assert site == site_alone == whole, "one token and the whole prompt must write the same"
        assert fast[:n] == alone, "batched and one prompt at a time must write the same"
    print(f"{n} problems, {args.draws} draws, layer {LAYER} of 4, {LENGTH} new tokens, one thread")
    print(f"{'':44}{'CPU s a draw':>14}{'peak MiB':>10}")
    for name, values in seconds.items():
        peak = f"{peaks[name]:10.0f}" if name in peaks else ""
        print(f"{name:44}{statistics.median(values):14.3f}{peak}")
    fast, slow, site, _, whole, alone = seconds.values()
    share = matmul_share(bench, statistics.median(fast))
    print(f"draws together: {share:.0%} of the matmul rate")
    for name, above, below, required in (
        ("one draw at a time / together, prompts", slow, fast, 1.0),
        ("whole prompt, one at a time / last position, together", whole, site, 1.3),
        ("one prompt at a time / draws together", alone, fast, REQUIRED),
    ):
        ratios = sorted(x / y for x, y in zip(above, below, strict=True))
        ratio = statistics.median(ratios)
        print(f"{name}: {ratio:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}; required: {required})")
        if ratio < required:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
