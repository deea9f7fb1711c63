"""Scores of attention heads, and what stands in for ablating each of them.

    python benchmarks/heads.py [--model results/models/smollm2/weights] [--part scores]

scores: every detector that needs no list of words, on text and on repeats, with its null, by three
kinds of weights. Two references on the same sequences: the original protocol's way, which runs the
model once for each detector and sequence and adds up positions in Python, with one number and no
null; and TransformerLens' `detect_head`, which knows three of the detectors. The loops must give
the same numbers.

screen: the first-order effect of mean ablation of every head on a loss, by one forward and one
backward pass, against ablating each head (from the layer's input on), and how they differ.

memory: peak of the scores, at n sequences and at 10 n, each in a process of its own.

CPU seconds, one thread. Without --model a random decoder of 8 layers of 8 heads; with it the scores
and the screen are of this model, and TransformerLens is left out.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from zscope.core.jobs import peak_rss_mib
from zscope.models.attention_view import AttentionView, LayerHeads
from zscope.models.attention_view_trained import TrainedView
from zscope.models.attention_view_transformers import TransformersView
from zscope.models.head_edits import set_z
from zscope.models.head_effects import exact_effects, first_order_effects, mean_z
from zscope.models.language_model import load_language_model
from zscope.models.transformer import Transformer, TransformerConfig
from zscope.studies.heads.asked.model import AskedModel
from zscope.studies.heads.behaviours import loss_piece, second_copy
from zscope.studies.heads.detector import Detector, Vocabulary
from zscope.studies.heads.measuring import stream_sums
from zscope.studies.heads.registry import load_detectors
from zscope.studies.heads.settings import DetectorSettings
from zscope.studies.heads.streams import Stream
from zscope.studies.heads.sums import Key, StreamSums
from zscope.studies.heads.tokens.random_tokens import random_sequences, repeats

T = TypeVar("T")
NAMES = ("previous", "positional", "duplicate", "induction", "delimiter")
IN_TRANSFORMERLENS = {
    "previous": "previous_token_head",
    "duplicate": "duplicate_token_head",
    "induction": "induction_head",
}
VOCABULARY, LENGTH, BATCH = 400, 48, 16
REQUIRED = 10  # times faster than each reference


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """CPU seconds, and what came of it."""
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


def small_model() -> Transformer:
    torch.manual_seed(0)
    shape = TransformerConfig(
        d_vocab=VOCABULARY, n_ctx=LENGTH + 2, n_layers=8, n_heads=8, d_model=256, d_mlp=1024
    )
    return Transformer(shape).eval().requires_grad_(False)


def loaded(folder: str | None) -> tuple[AttentionView, int]:
    """A saved language model, or a random decoder; and the size of its vocabulary."""
    if folder is None:
        return TrainedView(small_model()), VOCABULARY
    cpu = torch.device("cpu")
    lm = load_language_model({"path": folder}, cpu, torch.float32, known=False)
    return TransformersView(lm.model), lm.model.config.vocab_size


def streams(n: int, size: int) -> list[Stream]:
    pool = range(1, size)
    text = random_sequences(pool, n, LENGTH, front=[0], seed=0)
    marks = dict.fromkeys(("delimiter", "protocol_delimiter"), text.ids % 11 == 1)
    again = repeats(pool, n, LENGTH, periods=(14, 26), front=[0], seed=0)
    return [Stream("text", text.ids, marks), again]


# --- scores ------------------------------------------------------------------------------------


def scored(view: AttentionView, sequences: list[Stream]) -> dict[str, StreamSums]:
    settings = DetectorSettings()
    detectors = [d for name in NAMES for d in load_detectors(name, settings)]
    vocabulary = Vocabulary(running_text=True, random_tokens=VOCABULARY)
    asked = AskedModel("benchmark", view, False, vocabulary, {s.name: (s,) for s in sequences})
    return {s.name: stream_sums(asked, s, detectors, settings, BATCH) for s in sequences}


def patterns_of(view: AttentionView, ids: Tensor) -> list[Tensor]:
    """The pattern of every layer of one sequence, from a pass of its own."""
    found: list[Tensor] = []

    def keep(heads: LayerHeads) -> None:
        found.append(heads.pattern[0])

    view.run(ids, visit=keep, read=[-1])
    return found


@torch.no_grad()
def by_loops(view: AttentionView, stream: Stream, detector: Detector) -> np.ndarray:
    """Mean weight on the targets [layer, head]: a pass a sequence, then position by position."""
    hits, rows = torch.zeros(view.n_layers, view.n_heads, dtype=torch.float64), 0
    for n in range(len(stream)):
        targets = detector.targets(stream.take(torch.tensor([n])))
        patterns = patterns_of(view, stream.ids[n : n + 1])
        for i in range(stream.length):
            if not targets.rows[0, i]:
                continue
            rows += 1
            for j in range(i + 1):
                if targets.mask[0, i, j]:
                    for layer, pattern in enumerate(patterns):
                        hits[layer] += pattern[:, i, j]
    return (hits / max(rows, 1)).numpy()


def asked_by_loops(settings: DetectorSettings) -> list[tuple[str, Detector]]:
    """(stream, detector) as the protocol asks: one stream for each family's members."""
    return [(d.streams[0], d) for name in NAMES for d in load_detectors(name, settings)]


def by_transformerlens(sequences: list[Stream]) -> None:
    from transformer_lens.head_detector import detect_head

    from zscope.models.wrapped_transformer import wrap

    wrapped: Any = wrap(small_model())
    wrapped.to_tokens = lambda ids: ids  # they are ids already
    for stream in sequences:
        for name in IN_TRANSFORMERLENS.values():
            for ids in stream.ids:
                with torch.no_grad():
                    detect_head(wrapped, ids[None], name)  # type: ignore[arg-type]


def compare_scores(folder: str | None, n: int) -> bool:
    view, size = loaded(folder)
    sequences = streams(n, size)
    ours, sums = timed(lambda: scored(view, sequences))
    asked = asked_by_loops(DetectorSettings())
    of = {s.name: s for s in sequences}
    loops, found = timed(
        lambda: [(name, d, by_loops(view, of[name], d)) for name, d in asked if name in of]
    )
    worst = 0.0
    for name, d, plain in found:
        s = sums[name].sums[Key(d.name, "score", "attention")]
        raw = s.hits.sum(0) / max(float(s.rows.sum()), 1.0)
        worst = max(worst, float(np.abs(raw.reshape(plain.shape) - plain).max()))
    print(f"scores of {view.n_layers} x {view.n_heads} heads, 2 x {n} sequences of {LENGTH}")
    print(f"{'':34}{'CPU s':>8}{'ratio':>8}")
    print(f"{'all detectors, nulls, 3 weights':34}{ours:8.2f}")
    print(f"{'a pass per detector, loops':34}{loops:8.2f}{loops / ours:8.1f}")
    ratios = [loops / ours]
    if folder is None:
        lens, _ = timed(lambda: by_transformerlens(sequences))
        print(f"{'TransformerLens, 3 detectors':34}{lens:8.2f}{lens / ours:8.1f}")
        ratios.append(lens / ours)
    print(f"largest difference of a raw score from the loops: {worst:.1e}")
    return min(ratios) >= REQUIRED and worst < 1e-5


# --- the screen --------------------------------------------------------------------------------


def compare_screen(folder: str | None, n: int) -> bool:
    view, size = loaded(folder)
    stream = repeats(range(1, size), n, 24, periods=(8, 12), front=[0], seed=0)
    piece = loss_piece(stream, second_copy(stream.ids))
    z_bar = mean_z(view, stream.ids)
    heads = [(layer, head) for layer in range(view.n_layers) for head in range(view.n_heads)]
    cases = [[set_z(layer, z_bar[layer], [head], None)] for layer, head in heads]
    first, estimate = timed(
        lambda: first_order_effects(view, stream.ids, piece.y, z_bar, piece.read)
    )
    exact, effects = timed(lambda: exact_effects(view, stream.ids, piece.y, cases, piece.read))
    counts = piece.counts.sum()
    a = estimate.double().sum(1).numpy() / counts
    b = effects.double().sum(1).numpy().reshape(a.shape) / counts
    print(f"mean ablation of {len(heads)} heads, loss on the second copy of {n} repeats, nats")
    print(f"first order {first:.2f} CPU-s, exact {exact:.2f}: {exact / first:.0f} times")
    print(f"{'layers':>8}{'rank correlation':>18}   largest errors: first order / exact")
    for lo, hi in ((0, 1), (1, 2), (2, view.n_layers)):
        x, y = a[lo:hi].ravel(), b[lo:hi].ravel()
        ranks = np.corrcoef(x.argsort().argsort(), y.argsort().argsort())[0, 1]
        name = f"{lo}" if hi == lo + 1 else f"{lo}-{hi - 1}"
        worst = [
            f"L{lo + i // view.n_heads}H{i % view.n_heads} {x[i]:+.3f} / {y[i]:+.3f}"
            for i in np.abs(x - y).argsort()[::-1][:3]
        ]
        print(f"{name:>8}{ranks:18.2f}   {', '.join(worst)}")
    return exact > REQUIRED * first


# --- memory ------------------------------------------------------------------------------------


def added_memory(n: int) -> float:
    """MiB that scoring n sequences adds to a process that has scored a batch."""
    view, size = loaded(None)
    scored(view, streams(BATCH, size))
    before = peak_rss_mib()
    scored(view, streams(n, size))
    return peak_rss_mib() - before


def compare_memory(n: int) -> bool:
    view, _ = loaded(None)
    found = []
    for many in (n, 10 * n):
        command = [sys.executable, __file__, "--part", "memory", "--alone", str(many)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found.append(float(done.stdout))
        patterns = 2 * many * view.n_layers * view.n_heads * LENGTH**2 * 4 / 2**20
        print(f"{many} sequences of each kind: +{found[-1]:.0f} MiB; patterns: {patterns:.0f} MiB")
    return found[-1] < patterns / REQUIRED


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="folder of a saved language model")
    parser.add_argument("--part", choices=("scores", "screen", "memory"), nargs="*")
    parser.add_argument("--sequences", type=int, default=32)
    parser.add_argument("--alone", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.alone:
        print(added_memory(args.alone))
        return
    if args.model and not Path(args.model).is_dir():
        parser.error(f"{args.model} is not there: snakemake results/models/smollm2/model.parquet")
    parts = args.part or ("scores", "screen", "memory")
    good = True
    if "scores" in parts:
        good &= compare_scores(args.model, args.sequences)
    if "screen" in parts:
        good &= compare_screen(args.model, 8)
    if "memory" in parts:
        good &= compare_memory(args.sequences)
    if not good:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
