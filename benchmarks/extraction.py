"""Extraction of activations: speed and peak memory at n and 10n problems, on the embedded model.

    python benchmarks/extraction.py [--problems 200] [--batch-size 50] [--rounds 3]

The reference keeps every state of every layer in memory and then writes them, without the columns
that say what they are of. Both take batches of the same prompts in float32, on one thread. Each
case runs in a process of its own, after a batch to warm up; peak memory is what it adds.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from zscope.core.jobs import peak_rss_mib
from zscope.models.language_model import LanguageModel, residual_states
from zscope.studies.crosslingual.config import TinyShape
from zscope.studies.crosslingual.problems.parallel import LANGUAGES, Problem, generate
from zscope.studies.crosslingual.space.activations import extract
from zscope.studies.crosslingual.tiny_qwen import build_tiny_qwen

FLAT = 0.2  # MiB of memory for every further MiB written: above, memory grows with the problems


def in_memory(lm: LanguageModel, problems: list[Problem], folder: Path, batch_size: int) -> None:
    """Every layer's states are gathered before the first is written."""
    rows: dict[int, list[torch.Tensor]] = {layer: [] for layer in range(lm.n_layers + 1)}
    for language in LANGUAGES:
        for start in range(0, len(problems), batch_size):
            batch = problems[start : start + batch_size]
            ids, mask = lm.encode([p.prompt(language) for p in batch])
            for layer, states in residual_states(lm, ids, mask, list(rows)).items():
                rows[layer].append(states[mask.bool()])
    folder.mkdir()
    for layer, parts in rows.items():
        flat = pa.array(torch.cat(parts).numpy().ravel())
        column = pa.FixedSizeListArray.from_arrays(flat, lm.d_model)
        pq.write_table(pa.table({"state": column}), folder / f"{layer}.parquet")


def case(name: str, n: int, batch_size: int) -> None:
    """Print CPU seconds, MiB over the start, MiB written and prompt tokens."""
    torch.set_num_threads(1)
    model, tokenizer = build_tiny_qwen(TinyShape(), 0)
    lm = LanguageModel(model.eval(), tokenizer, "tiny")
    problems = generate(n, 0, held_out=True)
    work = {"streamed": stream, "in memory": in_memory}[name]
    with tempfile.TemporaryDirectory() as folder:
        work(lm, problems[:batch_size], Path(folder, "warm"), batch_size)
        before, started = peak_rss_mib(), time.process_time()
        work(lm, problems, Path(folder, "states"), batch_size)
        seconds = time.process_time() - started
        written = sum(f.stat().st_size for f in Path(folder, "states").rglob("*.parquet"))
    tokens = sum(len(tokenizer(p.prompt(x))["input_ids"]) for p in problems for x in LANGUAGES)
    print(seconds, peak_rss_mib() - before, written / 2**20, tokens)


def stream(lm: LanguageModel, problems: list[Problem], folder: Path, batch_size: int) -> None:
    extract(lm, problems, LANGUAGES, folder, "float32", batch_size)


def measured(name: str, n: int, batch_size: int, rounds: int) -> tuple[float, float, float, float]:
    """The round with the fewest CPU seconds; memory is the largest of the rounds."""
    command = [sys.executable, __file__, "--case", name, "--problems", str(n)]
    command += ["--batch-size", str(batch_size)]
    runs = []
    for _ in range(rounds):
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        seconds, mib, written, tokens = map(float, out.split())
        runs.append((seconds, mib, written, tokens))
    seconds, _, written, tokens = min(runs)
    return seconds, max(mib for _, mib, _, _ in runs), written, tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        return case(args.case, args.problems, args.batch_size)
    print(f"{'':22}{'problems':>9}{'CPU s':>8}{'tokens/s':>10}{'peak MiB':>10}{'written':>9}")
    sizes = []
    for name in ("streamed", "in memory"):
        for n in (args.problems, 10 * args.problems):
            seconds, mib, written, tokens = measured(name, n, args.batch_size, args.rounds)
            rate = tokens / seconds
            print(f"{name:22}{n:9}{seconds:8.2f}{rate:10.0f}{mib:+10.0f}{written:9.0f}")
            if name == "streamed":
                sizes.append((mib, written))
    (mib, written), (mib_10, written_10) = sizes
    growth = (mib_10 - mib) / (written_10 - written)
    print(f"streamed: {growth:.2f} MiB of memory for a further MiB written (required: {FLAT})")
    if growth > FLAT:
        raise SystemExit(1)
    return None


if __name__ == "__main__":
    main()
