"""The search of all V^3 skip rules in the default model's weights, against loops over pairs.

    python benchmarks/rule_search.py [--vocab 65]

The reference takes a (query, key) pair at a time, every head, layer and distance of it, and keeps
all triples; it is measured on some of the pairs and scaled by their number. Both in float64 on one
thread; peak memory is the growth of the process's high-water mark.
"""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N806

from __future__ import annotations

import argparse
import resource
import time

import torch

from zscope.models.tensor_transformer import TensorConfig, TensorTransformer
from zscope.studies.toylang.readouts.direct import token_logits
from zscope.studies.toylang.readouts.rule_search import search
from zscope.studies.toylang.readouts.weights import TensorWeights

WINDOW = range(1, 9)
PAIRS = 200
MAX_SECONDS, MAX_MIB = 10.0, 500.0  # required of the default vocabulary


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def random_weights(vocab: int) -> TensorWeights:
    model = TensorTransformer(TensorConfig(d_vocab=vocab))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, p in model.named_parameters():
            std = 1.0 if name == "tok_embed.weight" else p.shape[1] ** -0.5
            p.copy_(std * torch.randn(p.shape, generator=generator))
    return TensorWeights.from_model(model)


def by_pairs(w: TensorWeights, pairs: list[tuple[int, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """T and dP of every output, a pair at a time."""
    base, boosts, found = token_logits(w), [], []
    for q, k in pairs:
        T = torch.zeros(w.d_vocab, dtype=torch.float64)
        for layer in range(w.n_layers):
            outputs = w.outputs(layer, w.E[[k]])[:, 0]
            for delta in WINDOW:
                T += w.patterns(layer, delta, w.E[[q]], w.E[[k]])[:, 0, 0] @ outputs
        boosts.append(T / len(WINDOW))
        found.append((base[q] + boosts[-1]).softmax(0) - base[q].softmax(0))
    return torch.stack(boosts), torch.stack(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--vocab", type=int, default=65)
    args = parser.parse_args()
    torch.set_num_threads(1)
    V = args.vocab
    weights = random_weights(V)

    before, start = peak_mib(), time.process_time()
    table, _ = search(weights, WINDOW, 100)
    searching, search_mib = time.process_time() - start, peak_mib() - before
    start = time.process_time()
    _, ranks = search(weights, WINDOW, 100, table.triples)
    ranking = time.process_time() - start
    start = time.process_time()
    search(weights, WINDOW, 100, paths="all")
    all_paths = time.process_time() - start
    if ranks.tolist() != list(range(1, 101)):
        raise SystemExit("the ranks of the first rules are not 1, 2, 3, ...")

    pairs = list(zip(table.query.tolist(), table.key.tolist(), strict=True))
    pairs += [(i * 7 % V, i * 11 % V) for i in range(PAIRS - len(pairs))]
    start = time.process_time()
    slow = by_pairs(weights, pairs)
    loops = (time.process_time() - start) / PAIRS * V**2
    of_table = torch.arange(len(table.output)), torch.from_numpy(table.output)
    # Of dP alone, rounding could hide an error where it is near 0 or 1.
    errors = [
        float((values[of_table] - torch.from_numpy(found)).abs().max())
        for values, found in zip(slow, (table.boost, table.d_prob), strict=True)
    ]

    print(f"{V} tokens, {V**3:,} triples, 2 layers of 4 heads, {len(WINDOW)} distances")
    print(f"{'':24}{'CPU s':>10}{'peak MiB':>10}")
    print(f"{'the first 100 rules':24}{searching:10.3f}{search_mib:+10.0f}")
    print(f"{'ranks of 100 rules':24}{ranking:10.3f}")
    print(f"{'all paths':24}{all_paths:10.3f}")
    print(f"{'pair by pair (scaled)':24}{loops:10.1f}")
    print(f"first 100: dP {table.d_prob[-1]:.3f} to {table.d_prob[0]:.3f}, ", end="")
    print(f"largest difference of T {errors[0]:.1e}, of dP {errors[1]:.1e}")
    if max(errors) > 1e-10:
        raise SystemExit("the search and the loops do not agree")
    too_much = searching > MAX_SECONDS or search_mib > MAX_MIB
    if too_much and args.vocab == TensorConfig().d_vocab:
        raise SystemExit(f"required: {MAX_SECONDS:.0f} s, {MAX_MIB:.0f} MiB")


if __name__ == "__main__":
    main()
