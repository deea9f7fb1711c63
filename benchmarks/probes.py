"""All probes of one checkpoint, against loops over single examples: time, memory, matmul bound.

    python benchmarks/probes.py [--examples 10000] [--loop-examples 150] [--batch-size 250]

The loops measure the same things with one forward pass an example and a patch (one clean cache
serves all of them, and the K candidates are one batch); they are run on a sample and scaled by
count. Everything runs on one thread.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import torch

from zscope.config.base import Bootstrap
from zscope.models.transformer import Transformer, TransformerConfig
from zscope.models.wrapped_transformer import wrap
from zscope.stats import bootstrap_weights
from zscope.studies.lag import quantities as q
from zscope.studies.lag.facts import Disambiguation, encode, make_facts, sample_rows
from zscope.studies.lag.probes.measuring import ProbeBatch, batches, run_probes
from zscope.studies.lag.probes.registry import PROBES
from zscope.studies.lag.run_config import DataConfig

REQUIRED = 8.0  # times faster than the loops


def seconds(work: Callable[[], Any]) -> float:
    """CPU time of `work` on the one thread: what others do on the machine counts little."""
    start = time.process_time()
    work()
    return time.process_time() - start


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def matmul_rate() -> float:
    """Floating-point operations a second of a float32 product of 1024 x 1024 matrices."""
    a, b = torch.randn(2, 1024, 1024)
    seconds(lambda: a @ b)
    return 2 * 1024**3 / min(seconds(lambda: a @ b) for _ in range(20))


def forward_flops(config: TransformerConfig, n: int, seq: int) -> float:
    """Of the matrix products of one forward pass over `n` sequences."""
    d, mlp = config.d_model, config.d_mlp
    block = 4 * d * d + 2 * d * mlp + 2 * seq * d
    return 2.0 * n * seq * (config.n_layers * block + d * config.d_vocab)


def loop(batch: ProbeBatch) -> None:
    """Every probe's numbers, one example and one patch at a time."""
    wrapped, z, predict = batch.wrapped, batch.z, batch.layout.predict
    n_layers, n_heads = batch.n_layers, batch.n_heads

    def patched(tokens: Any, name: str, change: Callable[[Any], Any]) -> Any:
        return wrapped.run_with_hooks(tokens, fwd_hooks=[(name, lambda x, hook: change(x))])

    for i in range(len(batch)):
        tokens, other = batch.tokens[i : i + 1], batch.other_tokens[i : i + 1]  # type: ignore[index]
        logits, clean = wrapped.run_with_cache(tokens)
        other_logits, cache = wrapped.run_with_cache(other)
        first, candidates = batch.first[i : i + 1], batch.candidate_first[i : i + 1]
        q.z_gap(logits[:, predict], other_logits[:, predict], first)
        for layer in range(n_layers):
            pattern = clean[f"blocks.{layer}.attn.hook_pattern"][0, :, predict, : predict + 1]
            torch.special.entr(pattern).sum(-1), pattern[:, z].sum(-1)
            for stage in ("resid_mid", "resid_post"):
                resid = clean[f"blocks.{layer}.hook_{stage}"][:, predict]
                lens = wrapped.unembed(wrapped.ln_final(resid))
                q.first_loss(lens, first), q.rank(lens, first), q.entropy(lens)
                q.set_mass(lens, candidates), q.first_accuracy(lens, first)
        for layer in range(n_layers + 1):
            name = f"blocks.{layer}.hook_resid_pre"
            if layer == n_layers:
                name = f"blocks.{n_layers - 1}.hook_resid_post"

            def stream(x: Any, name: str = name, cache: Any = cache) -> Any:
                x = x.clone()
                x[:, z] = cache[name][:, z]
                return x

            patched(tokens, name, stream)
        for layer in range(n_layers):
            at = f"blocks.{layer}.attn.hook_"
            for head in range(n_heads):
                removed, added = (
                    run[f"{at}pattern"][:, head, predict, z] @ run[f"{at}v"][0, z, head]
                    for run in (clean, cache)
                )

                def path(x: Any, head: int = head, by: Any = added - removed) -> Any:
                    x = x.clone()
                    x[:, predict, head] += by
                    return x

                patched(tokens, f"{at}z", path)
        q.candidate_log_probs(
            lambda t: wrapped(t)[:, predict:], batch.prompt[i : i + 1], batch.candidates[i : i + 1]
        )


def make(n_bases: int = 1000, k: int = 10) -> tuple[Any, TransformerConfig, Disambiguation]:
    config = DataConfig(n_unique_b=n_bases, k=k)
    data = encode(make_facts(config, 0), config)
    shape = TransformerConfig(4, 128, 4, 512, data.layout.length, len(data.vocabulary))
    return wrap(Transformer(shape).init_weights(0)), shape, data


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--loop-examples", type=int, default=150)
    parser.add_argument("--batch-size", type=int, default=250)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)

    wrapped, shape, data = make()
    rows = sample_rows(data, args.examples, np.random.default_rng(0))
    bootstrap = Bootstrap()
    modules = {name: import_module(f"zscope.studies.lag.probes.{name}") for name in PROBES}

    def run(names: list[str]) -> None:
        chosen = {name: modules[name] for name in names}
        run_probes(wrapped, data, rows, chosen, bootstrap=bootstrap, batch_size=args.batch_size)

    # The draws are made once for all checkpoints of a job.
    rng = np.random.default_rng(0)
    draws = seconds(lambda: bootstrap_weights(len(rows), bootstrap.resamples, rng))
    run_probes(wrapped, data, rows[:10], modules, bootstrap=bootstrap)  # warm up
    before = peak_mib()
    together = seconds(lambda: run(list(PROBES)))
    memory = peak_mib() - before
    alone = {name: seconds(partial(run, [name])) for name in PROBES}

    sample = rows[: args.loop_examples]
    batch = next(batches(wrapped, data, sample, modules, batch_size=len(sample), seed=0))
    loops = seconds(lambda: loop(batch)) * len(rows) / len(sample)

    rate = matmul_rate()
    flops = 2 * forward_flops(shape, len(rows), data.layout.predict + 1)
    print(f"{len(rows)} examples, 4 layers, d 128, K 10, one thread")
    print(f"{'':34}{'CPU s':>10}")
    for name, t in alone.items():
        print(f"{name + ' alone':34}{t:10.2f}")
    print(f"{'all probes together':34}{together:10.2f}")
    print(f"{'bootstrap draws, once a job':34}{draws:10.2f}")
    print(f"{'loops over examples (scaled from ' + str(len(sample)) + ')':34}{loops:10.1f}")
    print(f"{'matmul bound of 2 forward passes':34}{flops / rate:10.2f}")
    print(f"float32 matmul rate {rate / 1e9:.0f} GFLOP/s")
    print(f"peak memory {memory:+.0f} MiB over {before:.0f} MiB")
    ratio = loops / together
    print(f"loops / probes = {ratio:.0f} (required: {REQUIRED:.0f})")
    if ratio < REQUIRED:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
