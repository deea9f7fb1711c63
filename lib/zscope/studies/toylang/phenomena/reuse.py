"""Compositional reuse: does one path from a head of layer 0 serve several primitives?

A path runs from a head of layer 0 to the keys (K-composition), queries or values of later heads, or
directly to the logits. We cut it by replacing the head's z with its mean for that reader alone;
everything else, including the other reads of later layers, stays. The rise of each primitive's
excess shows what the path is for. Cases:

- "L0H1:keys" (queries, values, direct): metric change_<primitive>, in nats.
- "L0H1:keys placebo": the same vectors turned by a random rotation. The change has the same size at
  the same place but removes nothing in particular.

`n_primitives` counts the single primitives that a path serves: the whole interval of their change
is above `targets.EXCESS`, and so is that of the paired difference from the placebo above 0.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from zscope.config.base import Bootstrap
from zscope.models.tensor_heads import head_name, mean_z
from zscope.models.tensor_transformer import TensorBlock, TensorTransformer
from zscope.studies.toylang.phenomena.experiment_rows import ExperimentRows
from zscope.studies.toylang.phenomena.prefixes import first_layer_change
from zscope.studies.toylang.targets import EXCESS
from zscope.tables.schema import Row
from zscope.toy_language.excess import ToyEvaluation

READS = {"keys": ("k1", "k2"), "queries": ("q1", "q2"), "values": ("v",), "direct": ()}


def cut_logits(
    model: TensorTransformer,
    tokens: Int[Tensor, "batch seq"],
    change: Float[Tensor, "batch seq d"],
    read: str,
) -> Float[Tensor, "batch seq vocab"]:
    """Logits when one reader alone sees the stream after layer 0 moved by `change`.

    read: keys, queries or values of all later heads, or direct: the unembedding.
    """
    x = model.stream(tokens, 1)
    for block in model.blocks[1:]:
        x = block.update(x, block.attn.mix(_projected(block, x, change, READS[read])))
        change = model.config.kept * change
    return model.unembed(x + change if read == "direct" else x)


def _projected(
    block: TensorBlock, x: Tensor, change: Tensor, factors: tuple[str, ...]
) -> Float[Tensor, "batch seq projected"]:
    """Queries, keys and values; those in `factors` are read from x + change."""
    clean = block.attn.project(block.read(x))
    if not factors:
        return clean
    names = (*block.config.rotated, "v")
    parts = list(clean.chunk(len(names), -1))
    changed = block.attn.project(block.read(x + change)).chunk(len(names), -1)
    for i, name in enumerate(names):
        if name in factors:
            parts[i] = changed[i]
    return torch.cat(parts, -1)


@torch.no_grad()
def reuse_rows(
    model: TensorTransformer,
    evaluation: ToyEvaluation,
    bootstrap: Bootstrap,
    rng: np.random.Generator,
) -> list[Row]:
    """Rows of experiment "reuse"; none for a model of one layer."""
    if model.config.n_layers < 2:
        return []
    means = mean_z(model, evaluation.tokens)
    clean = evaluation.excess(model)
    rows = ExperimentRows("reuse", bootstrap)
    found = []
    for head in range(model.config.n_heads):
        change = first_layer_change(model, evaluation.tokens, head, means[0, head])
        turned = change @ _random_rotation(model, rng)
        for read in READS:
            case = f"{head_name(0, head)}:{read}"
            cut, placebo = (
                _excess(model, evaluation, moved, read) - clean for moved in (change, turned)
            )
            for name, rise in ((case, cut), (f"{case} placebo", placebo)):
                found += [
                    rows.measured(name, f"change_{row['primitive']}", row)
                    for row in evaluation.by_primitive(rise, "change")
                ]
            found.append(rows.measured(case, "n_primitives", _served(evaluation, cut, placebo)))
    return found


def _served(
    evaluation: ToyEvaluation,
    cut: Float[np.ndarray, "n seq-1"],
    placebo: Float[np.ndarray, "n seq-1"],
) -> Row:
    """How many of n single primitives a path serves."""
    changes, over = (evaluation.by_primitive(x, "change") for x in (cut, cut - placebo))
    single = [pair for pair in zip(changes, over, strict=True) if pair[0]["primitive"] != "all"]
    served = sum(change["ci_low"] > EXCESS and more["ci_low"] > 0 for change, more in single)
    return {"value": float(served), "ci_low": None, "ci_high": None, "n": len(single)}


def _excess(
    model: TensorTransformer,
    evaluation: ToyEvaluation,
    change: Float[Tensor, "n seq d"],
    read: str,
) -> Float[np.ndarray, "n seq-1"]:
    return evaluation.excess_by(
        lambda some: cut_logits(model, evaluation.tokens[some], change[some], read)
    )


def _random_rotation(model: TensorTransformer, rng: np.random.Generator) -> Float[Tensor, "d d"]:
    """Uniform over orthogonal matrices: Q of a Gaussian, with the signs of R (Mezzadri 2007)."""
    q, r = np.linalg.qr(rng.standard_normal((model.config.d_model,) * 2))
    weight = model.head.weight
    return torch.from_numpy(q * np.sign(np.diag(r))).to(weight.device, weight.dtype)
