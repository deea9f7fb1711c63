"""Do the heads that the weights name carry their primitive? Ablations, against random heads.

An ablated head's z is set to its mean over the evaluation's sequences and positions. Zero would be
wrong: the output of a bilinear head is not centred at zero. What the head adds everywhere is part
of the model's bigram table, and removing it would hurt every primitive. With the mean, the model
loses only what the head tells about the prefix.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import product

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from zscope.core.provenance import derive_seed
from zscope.models.tensor_heads import Head, ReplacedHeads, head_name, mean_z
from zscope.models.tensor_transformer import TensorTransformer
from zscope.studies.toylang.config import ReadoutConfig
from zscope.studies.toylang.head_sets import count_sets
from zscope.studies.toylang.readouts.circuits import head_boosts
from zscope.studies.toylang.readouts.readout_rows import Reading
from zscope.studies.toylang.readouts.suppression import head_drops
from zscope.studies.toylang.readouts.weights import TensorWeights
from zscope.tables.schema import Row
from zscope.toy_language.excess import ToyEvaluation
from zscope.toy_language.language import ToyLanguage
from zscope.toy_language.rules import Rule
from zscope.verdicts import LEAST_DRAWS

Heads = tuple[Head, ...]  # ascending
SHARE = 0.8  # the heads named for the skip rules have this share of their summed boost


def heads_text(heads: Iterable[Head]) -> str:
    """Heads as L0H3+L1H1."""
    return "+".join(head_name(*head) for head in heads)


def named_heads(
    weights: TensorWeights, language: ToyLanguage, rules: Sequence[Rule], config: ReadoutConfig
) -> dict[str, Heads]:
    """The heads that the weights name; a primitive that is off or does not show names none.

    induction: the pair with the largest contrast (`Reading.pairs`), if it is positive.
    rules: the fewest heads that together give `SHARE` of the boost of the true skip rules' outputs
        against the mean of all outputs, summed over rules and heads.
    suppression: the head through which `never` lowers the names' top verbs most against their
        other verbs (`head_drops`, mean over names).
    """
    named: dict[str, Heads] = {}
    reading = Reading(weights, language, rules, config)
    if reading.pairs and (pair := reading.pairs[0]).contrast > 0:
        named["induction"] = pair.heads
    if skip := reading.skip:
        boosts = head_boosts(weights, reading.offsets, [rule[:2] for rule in skip])
        outputs = [rule[2] for rule in skip]
        own = boosts[:, :, torch.arange(len(skip)), outputs] - boosts.mean(-1)
        if heads := _largest(own.sum(-1)):
            named["rules"] = heads
    if language.config.on("suppress"):
        drop = head_drops(weights, language).mean(-1)
        if drop.max() > 0:
            named["suppression"] = (_head(drop, int(drop.argmax())),)
    return named


def _largest(boosts: Float[Tensor, "layer head"]) -> Heads:
    """The fewest heads with `SHARE` of the sum; none if it is not positive."""
    total = float(boosts.sum())
    if total <= 0:
        return ()
    order = boosts.flatten().argsort(descending=True, stable=True)
    reached = boosts.flatten()[order].cumsum(0) >= SHARE * total
    n = 1 + int(reached.int().argmax())
    return tuple(sorted(_head(boosts, int(i)) for i in order[:n]))


def _head(matrix: Float[Tensor, "layer head"], index: int) -> Head:
    return divmod(index, matrix.shape[1])


def ablation_rows(
    model: TensorTransformer,
    evaluation: ToyEvaluation,
    language: ToyLanguage,
    rules: Sequence[Rule],
    config: ReadoutConfig,
    seed: int,
) -> list[Row]:
    """Excess by primitive with heads ablated: chosen_by, heads, draw, and `by_primitive`'s columns.

    Metrics: `excess` over the floor, and `change`, the paired difference from the intact model.
    Sets: none (the intact model), every single head, the `named_heads`, and random sets. A random
    set has as many heads in each layer as a named set; all differ, and none is a named set. With
    each such combination go all others if they are at most LEAST_DRAWS, so that the rank of the
    named set among them is exact, else `config.random_heads` of them (draw: 0, 1, ...). A model
    whose weights cannot be read has single heads only.
    """
    c = model.config
    means = mean_z(model, evaluation.tokens)
    intact = evaluation.excess(model)
    named: dict[str, Heads] = {}
    if c.is_polynomial:
        named = named_heads(TensorWeights.from_model(model), language, rules, config)
    rng = np.random.default_rng(derive_seed(seed, "random heads"))
    sets: list[tuple[str, int, Heads]] = [
        *(("single", 0, (head,)) for head in product(range(c.n_layers), range(c.n_heads))),
        *((by, 0, heads) for by, heads in named.items()),
        *(
            ("random", draw, heads)
            for layers in sorted({_layers(heads) for heads in named.values()})
            for draw, heads in enumerate(
                _random_sets(layers, c.n_heads, named.values(), config.random_heads, rng)
            )
        ),
    ]
    rows = [
        {"chosen_by": "none", "heads": "", "draw": 0, **row}
        for row in evaluation.by_primitive(intact, "excess")
    ]
    excess: dict[Heads, Float[np.ndarray, "n seq-1"]] = {}
    for by, draw, heads in sets:
        if heads not in excess:
            replaced = {head: means[head] for head in heads}
            excess[heads] = evaluation.excess(ReplacedHeads(model, replaced))
        rows += [
            {"chosen_by": by, "heads": heads_text(heads), "draw": draw, **row}
            for values, metric in ((excess[heads], "excess"), (excess[heads] - intact, "change"))
            for row in evaluation.by_primitive(values, metric)
        ]
    return rows


def _layers(heads: Heads) -> tuple[int, ...]:
    return tuple(layer for layer, _ in heads)


def _random_sets(
    layers: tuple[int, ...],
    n_heads: int,
    excluded: Collection[Heads],
    n: int,
    rng: np.random.Generator,
) -> Iterator[Heads]:
    """Different sets of heads, one per entry of `layers`, none of them in `excluded`: all, if they
    are at most LEAST_DRAWS, else `n`."""
    counts = Counter(layers)
    seen = {heads for heads in excluded if _layers(heads) == layers}
    others = count_sets(counts.values(), n_heads) - len(seen)
    for _ in range(others if others <= LEAST_DRAWS else min(n, others)):
        while True:
            heads = tuple(
                (layer, head)
                for layer, count in counts.items()
                for head in sorted(rng.choice(n_heads, count, replace=False).tolist())
            )
            if heads not in seen:
                break
        seen.add(heads)
        yield heads
