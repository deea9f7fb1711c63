"""The toy language's generator: microseconds a token, and its share of a training step.

    python benchmarks/toy_data.py [--rounds 5] [--step-ms 72]

The same program samples many sequences at once, a batch at a time, and one at a time. CPU seconds,
one thread, interleaved rounds. A step of training is 72 ms of CPU (2400 steps of batch 64 x 64 of
the study's 2-layer model in 173 s).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from zscope.toy_language.batches import ToyBatches
from zscope.toy_language.config import LanguageConfig
from zscope.toy_language.distributions import LABELS
from zscope.toy_language.language import ToyLanguage
from zscope.toy_language.rule_finding import find_rules

BATCH = 64
REQUIRED = 0.03  # of a training step


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--step-ms", type=float, default=72)
    args = parser.parse_args()
    default = LanguageConfig()
    every = [x for x in LABELS if x not in ("start", "category")]
    language = ToyLanguage(default)
    full = ToyLanguage(LanguageConfig.model_validate({"primitives": every}))
    rng = np.random.default_rng(0)
    tokens = language.sample(256, rng).tokens
    stream = ToyBatches(language, BATCH, seed=0)

    def a_chunk() -> None:
        for _ in range(64):
            stream.next()

    # Work, and the sequences that it makes.
    cases: dict[str, tuple[Callable[[], object], int]] = {
        "batches of 64, sampled 4096 at once": (a_chunk, 4096),
        "sample(4096)": (lambda: language.sample(4096, rng), 4096),
        "sample(4096), all nine primitives": (lambda: full.sample(4096, rng), 4096),
        "sample(64)": (lambda: language.sample(64, rng), 64),
        "sample(1)": (lambda: language.sample(1, rng), 1),
        "conditionals of 256 sequences": (lambda: language.conditionals(tokens), 256),
    }
    times: dict[str, list[float]] = {name: [] for name in cases}
    for work, _ in cases.values():
        work()
    for _ in range(args.rounds):
        for name, (work, n) in cases.items():
            times[name].append(seconds(work) / n)
    print(f"{'':38}{'us a token':>11}{'ms a batch':>12}{'of a step':>11}")
    for name, values in times.items():
        each = statistics.median(values)
        batch = 1000 * each * BATCH
        print(
            f"{name:38}{1e6 * each / default.length:11.3f}{batch:12.2f}{batch / args.step_ms:11.2%}"
        )
    share = 1000 * BATCH * statistics.median(times["batches of 64, sampled 4096 at once"])
    verdict = "met" if share / args.step_ms <= REQUIRED else "MISSED"
    print(f"at most {REQUIRED:.0%} of a step: {verdict}")
    build = min(seconds(lambda: ToyLanguage(default).sample(1, rng)) for _ in range(3))
    print(f"building the language: {1000 * build:.0f} ms")
    print(f"true rules by intervention: {seconds(lambda: find_rules(language, rng)):.1f} s")


if __name__ == "__main__":
    main()
