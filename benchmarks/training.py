"""Training speed of the lag study, side by side with a straightforward trainer.

    python benchmarks/training.py [--device cpu] [--rounds 5] [--profile]

Both train the same model on the same facts, one thread, in interleaved rounds in one process; CPU
seconds are counted (wall seconds on a GPU). The reference is how one would write it first: a
DataLoader over a Dataset of rows, the model wrapped by TransformerLens with the logits of every
position, `.item()` at every step, AdamW as it comes.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from zscope.config.base import Bootstrap
from zscope.models.wrapped_transformer import wrap
from zscope.studies.lag.evaluation import evaluation_sets
from zscope.studies.lag.facts import Disambiguation, encode, make_facts
from zscope.studies.lag.run_config import RunConfig
from zscope.studies.lag.training import build_model, train_run
from zscope.training import ResumeFolder

BOOTSTRAP = Bootstrap()
NEVER = 10**9


@dataclass(frozen=True)
class Case:
    """A shape that is trained, and the steps of one round."""

    name: str
    config: RunConfig
    steps: int


CASES = (
    Case(
        "seed: L4 d128, batch 128, K=10, n=1000",
        RunConfig.model_validate({"data": {"k": 10, "n_unique_b": 1000}}),
        12,
    ),
    Case(
        "laptop: L2 d64, batch 64, parity of z, n=100",
        RunConfig.model_validate(
            {
                "data": {
                    "k": 2,
                    "n_unique_b": 100,
                    "b_unit": "token",
                    "b_length": 1,
                    "a_length": 2,
                    "z_length": 4,
                    "z_code": "parity",
                    "z_order": 3,
                },
                "model": {"n_layers": 2, "d_model": 64, "n_heads": 4, "d_mlp": 256},
                "training": {
                    "batch_size": 64,
                    "lr": 2e-3,
                    "schedule": "constant",
                    "warmup_steps": 50,
                    "eval_every": 50,
                    "eval_examples": 400,
                },
            }
        ),
        100,
    ),
)


class Rows(Dataset):
    """The sequences, one at a time."""

    def __init__(self, data: Disambiguation) -> None:
        self.tokens = torch.from_numpy(data.tokens)

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.tokens[index]


def reference(config: RunConfig, data: Disambiguation, device: torch.device) -> Callable:
    """A function that trains `steps` steps."""
    model = wrap(build_model(config, data).to(device)).train()
    for p in model.parameters():
        p.requires_grad_(True)
    c, start = config.training, data.layout.target.start
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=c.lr, weight_decay=c.weight_decay, fused=False
    )

    def endless():
        while True:
            yield from DataLoader(Rows(data), batch_size=c.batch_size, shuffle=True, drop_last=True)

    batches, losses = endless(), []

    def train(steps: int) -> None:
        for _ in range(steps):
            tokens = next(batches).to(device)
            logits = model(tokens)[:, start - 1 : -1]
            loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, start:].flatten())
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), c.grad_clip)
            optimizer.step()
            losses.append(loss.item())

    return train


def ours(
    config: RunConfig, data: Disambiguation, device: torch.device, evaluating: bool = False
) -> Callable:
    """A function that trains `steps` steps as the workflow does, or with no evaluation inside."""

    def train(steps: int) -> None:
        never = (
            {}
            if evaluating
            else {
                "eval_every": NEVER,
                "checkpoint_every": NEVER,
                "early_checkpoints": False,
                "eval_examples": 2,
            }
        )
        c = config.training.model_copy(update={"steps": steps, "warmup_steps": 1, **never})
        with tempfile.TemporaryDirectory() as folder:
            train_run(
                "run",
                config.model_copy(update={"training": c}),
                data,
                ResumeFolder(Path(folder), "key"),
                device,
                BOOTSTRAP,
            )

    return train


def flops_per_step(config: RunConfig, data: Disambiguation) -> float:
    """Multiplications and additions of a training step of ours, in matrix products alone.

    A product of [m, k] and [k, n] is 2mkn; the backward pass costs two such for each forward one.
    With T positions fed in, t of them predicting: every block has K and V (and, but for the last,
    Q, O and the MLP) at T positions; the last has those at t; the unembedding is at t. Attention
    scores and mixtures add 2 * 2 * d for each pair of a query and a key (no pair is skipped).
    """
    m, d = config.model, config.model.d_model
    seq = data.layout.length - 1
    last = seq - data.layout.predict
    per_position = 2 * d * d * 2 + 2 * d * m.d_mlp * 2  # Q, O, and the MLP
    forward = 0.0
    for layer in range(m.n_layers):
        queries = last if layer == m.n_layers - 1 else seq
        forward += seq * 2 * d * d * 2 + queries * per_position + queries * seq * 4 * d
    forward += last * 2 * d * len(data.vocabulary)
    return 3 * forward * config.training.batch_size


def matmul_rate(device: torch.device, size: int = 1024, repeats: int = 5) -> float:
    """Floating point operations a second of a float32 product of this size (best of repeats)."""
    a, b = torch.randn(size, size, device=device), torch.randn(size, size, device=device)
    a @ b
    return 2 * size**3 / min(seconds(lambda: a @ b, device) for _ in range(repeats))


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """CPU seconds of `work` on the CPU, wall seconds elsewhere."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - started


def measure(case: Case, device: torch.device, rounds: int) -> None:
    """Print one case. The start-up of a run (model, sets) is timed apart and taken off."""
    data = encode(make_facts(case.config.data, 0), case.config.data)
    one, two = ours(case.config, data, device), reference(case.config, data, device)
    one(2), two(2)
    times: dict[str, list[float]] = {"ours": [], "reference": []}
    for _ in range(rounds):
        start_up = seconds(lambda: one(2), device)
        times["ours"].append((seconds(lambda: one(case.steps + 2), device) - start_up) / case.steps)
        times["reference"].append(seconds(lambda: two(case.steps), device) / case.steps)
    pairs = zip(times["reference"], times["ours"], strict=True)
    ratios = sorted(reference / ours for reference, ours in pairs)
    rate = {name: 1 / statistics.median(values) for name, values in times.items()}
    flops, peak = flops_per_step(case.config, data), matmul_rate(device)
    print(case.name)
    print(
        f"  ours {rate['ours']:.1f} steps/s, reference {rate['reference']:.1f} steps/s, "
        f"ratio {statistics.median(ratios):.2f}x ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )
    print(
        f"  {flops / 1e9:.3f} GFLOP a step: {flops * rate['ours'] / 1e9:.0f} GFLOP/s, "
        f"{flops * rate['ours'] / peak:.0%} of a 1024^3 product's {peak / 1e9:.0f} GFLOP/s"
    )

    (evaluation,) = evaluation_sets(data, case.config, device, BOOTSTRAP)
    model = build_model(case.config, data).to(device).eval()
    with torch.no_grad():
        evaluation.measure(model)
        once = statistics.median(
            seconds(lambda: evaluation.measure(model), device) for _ in range(rounds)
        )
    between = case.config.training.eval_every / rate["ours"]
    print(
        f"  an evaluation takes {1000 * once:.0f} ms: {once / (once + between):.0%} of the time "
        f"at one every {case.config.training.eval_every} steps"
    )


def profile(case: Case, device: torch.device) -> None:
    data = encode(make_facts(case.config.data, 0), case.config.data)
    train = ours(case.config, data, device)
    train(2)
    with torch.profiler.profile() as profiler:
        train(case.steps)
    print(case.name)
    print(
        profiler.key_averages().table(
            sort_by="self_cpu_time_total", row_limit=25, max_name_column_width=45
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", action="store_true", help="where our time goes, instead")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for case in CASES:
        if arguments.profile:
            profile(case, torch.device(arguments.device))
        else:
            measure(case, torch.device(arguments.device), arguments.rounds)


if __name__ == "__main__":
    main()
