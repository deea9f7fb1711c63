"""Training speed of the toy language's transformer against one written first, and its softmax twin.

    python benchmarks/toy_training.py [--rounds 7] [--steps 20]

Same shape, same language, batch 64 x 64 tokens, Muon and AdamW, one thread, interleaved rounds in
one process; CPU seconds. The reference samples a batch a step, has a matrix a projection and plain
autograd through [batch, head, seq, seq] patterns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zscope.models.tensor_transformer import (
    TensorConfig,
    TensorTransformer,
    make_optimizers,
    rope_angles,
)
from zscope.toy_language.batches import ToyBatches
from zscope.toy_language.config import LanguageConfig
from zscope.toy_language.language import ToyLanguage

BATCH, CLIP = 64, 1.0
MUON_LR, ADAMW_LR = 0.02, 3e-3


class PlainLayer(nn.Module):
    def __init__(self, c: TensorConfig) -> None:
        super().__init__()
        self.c = c
        width = c.n_heads * c.d_head
        names = ("q1", "k1", "q2", "k2", "v")
        self.of = nn.ModuleDict({n: nn.Linear(c.d_model, width, bias=False) for n in names})
        self.o = nn.Linear(width, c.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        c, seq = self.c, x.shape[1]
        angles = rope_angles(torch.arange(seq), c.d_head, c.rope_base).float()
        cos, sin = angles.cos(), angles.sin()

        def heads(name: str) -> Tensor:
            return self.of[name](x).unflatten(-1, (c.n_heads, c.d_head)).transpose(1, 2)

        def turned(name: str) -> Tensor:
            a, b = heads(name).chunk(2, -1)
            return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

        first = turned("q1") @ turned("k1").mT
        second = turned("q2") @ turned("k2").mT
        mask = torch.tril(torch.ones(seq, seq))
        z = (first * second / c.d_head**2 * mask) @ heads("v")
        return x + self.o(z.transpose(1, 2).flatten(2))


class Plain(nn.Module):
    def __init__(self, c: TensorConfig) -> None:
        super().__init__()
        self.embed = nn.Embedding(c.d_vocab, c.d_model)
        self.layers = nn.ModuleList(PlainLayer(c) for _ in range(c.n_layers))
        self.unembed = nn.Linear(c.d_model, c.d_vocab, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.unembed(x)

    def load(self, model: TensorTransformer) -> Plain:
        """The weights of ours, so that the logits can be compared."""
        with torch.no_grad():
            self.embed.weight.copy_(model.tok_embed.weight)
            self.unembed.weight.copy_(model.head.weight)
            for layer, block in zip(self.layers, model.blocks, strict=True):
                for name, linear in [*layer.of.items(), ("o", layer.o)]:
                    linear.weight.copy_(getattr(block.attn, name).weight)
        return self


def trainer(
    model: nn.Module, optimizers: list[torch.optim.Optimizer], batch: Callable[[], np.ndarray]
) -> Callable[[int], None]:
    def train(steps: int) -> None:
        for _ in range(steps):
            tokens = torch.from_numpy(batch())
            logits = model(tokens[:, :-1])
            loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            for optimizer in optimizers:
                optimizer.step()

    return train


def plain_optimizers(model: Plain) -> list[torch.optim.Optimizer]:
    ends = [model.embed.weight, model.unembed.weight]
    muon = torch.optim.Muon(model.layers.parameters(), lr=MUON_LR, momentum=0.95, weight_decay=0)
    return [muon, torch.optim.AdamW(ends, lr=ADAMW_LR, betas=(0.9, 0.95), weight_decay=0)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(1)
    language, rng = ToyLanguage(LanguageConfig()), np.random.default_rng(0)
    shape = TensorConfig(d_vocab=len(language.vocabulary))
    twin_shape = TensorConfig(d_vocab=len(language.vocabulary), attention="softmax", rms_norm=True)
    ours = TensorTransformer(shape).init_weights(0)
    twin = TensorTransformer(twin_shape).init_weights(0)
    with torch.no_grad():  # the outputs start at zero: compare something
        for p in ours.parameters():
            p.add_(0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0)))
    plain = Plain(shape).load(ours)
    tokens = torch.from_numpy(language.sample(8, rng).tokens)
    torch.testing.assert_close(plain(tokens), ours(tokens), rtol=1e-4, atol=1e-4)

    def stream() -> Callable[[], np.ndarray]:
        return ToyBatches(language, BATCH, seed=0).next

    def one_batch() -> np.ndarray:
        return language.sample(BATCH, rng).tokens

    cases = {
        "bilinear": trainer(ours, make_optimizers(ours, MUON_LR, ADAMW_LR), stream()),
        "bilinear, written first": trainer(plain, plain_optimizers(plain), one_batch),
        "softmax twin": trainer(twin, make_optimizers(twin, MUON_LR, ADAMW_LR), stream()),
    }
    times: dict[str, list[float]] = {name: [] for name in cases}
    for train in cases.values():
        train(3)
    for _ in range(args.rounds):
        for name, train in cases.items():
            started = time.process_time()
            train(args.steps)
            times[name].append((time.process_time() - started) / args.steps)
    print(f"{'':26}{'ms a step':>10}{'steps/s':>9}{'against ours':>14}")
    for name, values in times.items():
        ratios = sorted(v / o for v, o in zip(values, times["bilinear"], strict=True))
        middle = statistics.median(values)
        print(
            f"{name:26}{1000 * middle:10.1f}{1 / middle:9.1f}{statistics.median(ratios):10.2f}x "
            f"({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )


if __name__ == "__main__":
    main()
