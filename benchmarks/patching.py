"""Patched generation, batched and from a shared prefix, against one prompt at a time.

    python benchmarks/patching.py [--problems 100] [--conditions 10] [--rounds 3]

The reference patches by the same hook and lets transformers generate from each prompt alone,
unpadded. Both must write the same texts. Paired rounds, CPU seconds, one thread, an untrained model
of the embedded one's shape whose outputs rarely end early.
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
    generate_from,
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


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--conditions", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)

    model, tokenizer = build_tiny_qwen(TinyShape(init_std=0.2), 0)
    lm = LanguageModel(model.eval(), tokenizer, "tiny")
    problems = make_problems(args.problems, 0, held_out=True)
    texts = [p.prompt("en") for p in problems]
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(len(texts), 1, lm.d_model, generator=generator)
    components = [Component(random_space(lm.d_model, K, generator)) for _ in range(args.conditions)]

    def batched() -> list[list[str]]:
        prefix = run_prefix(lm, *lm.encode(texts), LAYER)
        used = prefix.used(position_0=False)
        return [
            [o.text for o in generate_from(lm, prefix, Patch(c, source, used), LENGTH)]
            for c in components
        ]

    def alone(component: Component, i: int) -> str:
        ids, mask = lm.encode([texts[i]])
        used = mask.bool() & (mask.cumsum(1) > 1)
        with patched(lm, LAYER, Patch(component, source[i : i + 1], used)):
            return generate(lm, ids, mask, LENGTH)[0].text

    def transformers_batch() -> list[list[str]]:
        ids, mask = lm.encode(texts)
        used = mask.bool() & (mask.cumsum(1) > 1)
        out = []
        for component in components:
            with patched(lm, LAYER, Patch(component, source, used)):
                out.append([o.text for o in generate(lm, ids, mask, LENGTH)])
        return out

    batched()  # warm up
    before = peak_mib()
    timed(batched)
    memory = peak_mib() - before
    rows = []
    for _ in range(args.rounds):
        ours, texts_ours = timed(batched)
        theirs, texts_theirs = timed(transformers_batch)
        # One condition of the reference stands for all: it has nothing to share among them.
        slow, texts_alone = timed(lambda: [alone(components[0], i) for i in range(len(texts))])
        assert texts_ours[0] == texts_alone, "batched and one by one must write the same"
        assert texts_ours == texts_theirs
        rows.append((ours / args.conditions, theirs / args.conditions, slow))
    ours, theirs, slow = (statistics.median(column) for column in zip(*rows, strict=True))
    ratios = sorted(row[2] / row[0] for row in rows)
    print(f"{len(texts)} problems, layer {LAYER} of 4, {LENGTH} new tokens, one thread")
    print(f"{'':44}{'CPU s a condition':>20}")
    print(f"{'batched, from the shared prefix':44}{ours:20.3f}")
    print(f"{'batched, generate() of transformers':44}{theirs:20.3f}")
    print(f"{'one prompt at a time, generate()':44}{slow:20.3f}")
    print(f"peak memory {memory:+.0f} MiB over {before:.0f} MiB for {args.conditions} conditions")
    ratio = statistics.median(ratios)
    print(
        f"one at a time / batched = {ratio:.1f} in the median of {args.rounds} rounds "
        f"({ratios[0]:.1f} to {ratios[-1]:.1f}; required: {REQUIRED:.0f})"
    )
    if ratio < REQUIRED:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
