"""What config/qwen.yaml costs: a random model of Qwen2.5-3B's shape, and the wall time of it all.

    python benchmarks/qwen_scale.py [--device cuda] [--layers 2 4] [--tokens 8]

Where the whole model fits (a GPU of 24 GB, in bfloat16) all 36 layers are built; elsewhere two
models of fewer layers, and a straight line through both gives 36. Prompts are of random tokens, 24
of 48; outputs never end early, so generation is the worst case. Wall seconds, all threads: this is
an estimate of the time on this machine, not a comparison.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import Qwen2Config, Qwen2ForCausalLM

from zscope.config.sizes import check_k, check_layer
from zscope.models.attention_kernels import stacked_right_space
from zscope.models.language_model import LanguageModel, free_memory
from zscope.studies.crosslingual.config import CrosslingualConfig
from zscope.studies.crosslingual.declared import declared_cell, verdict_nulls
from zscope.studies.crosslingual.patching.conditions import n_parts
from zscope.studies.crosslingual.patching.patched_generation import generate_from, run_prefix
from zscope.studies.crosslingual.problems.parallel import load_problems
from zscope.studies.crosslingual.problems.tokenizer import make_tokenizer
from zscope.studies.crosslingual.sizes import Sizes

ROOT = Path(__file__).parents[1]
LAYERS = 36
WIDTH = 48  # tokens of a prompt: the longest of the hand-written problems with Qwen's tokenizer
# Qwen/Qwen2.5-3B's config.json.
SHAPE: dict[str, Any] = {
    "vocab_size": 151936,
    "hidden_size": 2048,
    "intermediate_size": 11008,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
    "tie_word_embeddings": True,
}


@dataclass(frozen=True)
class Costs:
    """Seconds: of a clean prompt batch through every layer, of one token of a batch, and of V_Z."""

    prefill: float
    token: float
    space: float

    def line(self, other: Costs, here: int, there: int, wanted: int) -> Costs:
        """The straight line through two depths, at `wanted` layers; V_Z is of one layer."""

        def at(a: float, b: float) -> float:
            return a + (b - a) * (wanted - here) / (there - here)

        return Costs(at(self.prefill, other.prefill), at(self.token, other.token), other.space)


def build(n_layers: int, device: torch.device, dtype: torch.dtype) -> LanguageModel:
    with torch.device(device):
        torch.set_default_dtype(dtype)
        config = Qwen2Config(num_hidden_layers=n_layers, **SHAPE)
        model = Qwen2ForCausalLM(config).eval().requires_grad_(False)
        torch.set_default_dtype(torch.float32)
    return LanguageModel(model, make_tokenizer(), f"random-{n_layers}")


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """The better of two calls."""
    found = []
    for _ in range(2):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - started)
    return min(found)


def measure(lm: LanguageModel, prompts: int, tokens: int) -> Costs:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(2, 1000, (prompts, WIDTH), generator=generator).to(lm.device)
    mask = torch.ones_like(ids)
    last = lm.n_layers - 1
    clean = seconds(lambda: run_prefix(lm, ids, mask, last), lm.device)
    prefix = run_prefix(lm, ids, mask, last)
    one = seconds(lambda: generate_from(lm, prefix, None, 1), lm.device)
    more = seconds(lambda: generate_from(lm, prefix, None, 1 + tokens), lm.device)
    weights = lm.attention_weights(0)
    space = seconds(lambda: stacked_right_space(weights, 50), torch.device("cpu"))
    return Costs(clean + one, (more - one) / tokens, space)


def conditions(config: CrosslingualConfig, n_problems: int) -> int:
    """Conditions of all patched layers, with the draws of the nulls that verdicts read."""
    kv = SHAPE["num_key_value_heads"] * SHAPE["hidden_size"] // SHAPE["num_attention_heads"]
    sizes = Sizes(
        LAYERS,
        SHAPE["hidden_size"],
        SHAPE["num_attention_heads"],
        layer_of={str(x): check_layer(x, LAYERS) for x in config.z.layers},
        k_of={str(x): check_k(x, kv) for x in config.z.k},
    )
    read = verdict_nulls(declared_cell(config.verdict, config.z, sizes))
    return sum(
        n_parts(
            config.patching,
            sizes.ks,
            n_problems,
            config.generation.batch_size,
            {cell: nulls for cell, nulls in read.items() if cell.layer == layer},
        )
        for layer in sizes.layers
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--layers", type=int, nargs=2, default=(2, 4))
    parser.add_argument("--tokens", type=int, default=8)
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    device = torch.device(args.device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    raw = yaml.safe_load((ROOT / "config/qwen.yaml").read_text())["crosslingual"]
    config = CrosslingualConfig.model_validate(raw)
    n = len(load_problems())

    whole = 3.1e9 * dtype.itemsize * 1.3 < free_memory(device) and device.type == "cuda"
    depths = [LAYERS] if whole else list(args.layers)
    found = []
    for depth in depths:
        lm = build(depth, device, dtype)
        found.append(measure(lm, n, args.tokens))
        parameters = sum(p.numel() for p in lm.model.parameters()) / 1e9
        print(f"{depth} layers, {parameters:.2f} billion parameters, {dtype}: {found[-1]}")
        del lm
    costs = found[0] if whole else found[0].line(found[1], *depths, LAYERS)
    print(f"{LAYERS} layers{'' if whole else ', by a straight line'}: {costs}")

    length = config.generation.max_new_tokens
    layers = [check_layer(layer, LAYERS) for layer in config.z.layers]
    parts = conditions(config, n)
    # A condition goes on from the clean states before its layer, then writes `length` tokens.
    rest = sum(costs.prefill * (LAYERS - layer) / LAYERS for layer in layers) / len(layers)
    jobs = {
        "answer_problems": 2 * (costs.prefill + length * costs.token),
        "extract_activations": 2 * costs.prefill,
        "measure_weights, its V_Z": LAYERS * len(config.z.kinds) * len(config.z.k) * costs.space,
        f"patch_layer, {len(layers)} jobs of {parts} conditions": parts
        * (rest + length * costs.token),
    }
    print(f"config/qwen.yaml on {device}, {n} problems, outputs of {length} tokens:")
    for name, estimate in jobs.items():
        print(f"  {name:50s} {estimate / 60:10.1f} min")


if __name__ == "__main__":
    main()
