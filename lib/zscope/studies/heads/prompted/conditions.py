"""The conditions: what is edited at the last position t of a prompt (protocol 003).

    one head of a set: zero, mean, drawn   z_h(t)
    a set together, and a random head      z_h(t), at the mean
    values at t-1; at t-1 and t-2          v_j = 0, of the best previous-token head alone, of all
    all previous, with or without key 0    heads of its layer, or of all layers

"All previous" is 0 to t-1: t itself stays, unlike in the protocol. Values are zeroed for all
queries and patterns are not rescaled, as `head_edits.without_values` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from zscope.core.provenance import derive_seed
from zscope.models.attention_view import Edit
from zscope.models.head_edits import all_previous, behind, set_z, without_values, zero_z
from zscope.studies.heads.config import AblationKind, PromptsConfig
from zscope.studies.heads.head_sets import Head, Heads, heads_text, random_beside
from zscope.studies.heads.prompted.chosen_heads import PREVIOUS, NamedSet
from zscope.studies.heads.prompted.model import Instead

Edits = Callable[[int, Sequence[int]], Sequence[Edit]]
MINUS_1, MINUS_2 = "t\u22121", "t\u22122"
Keys = Callable[[int], list[int]]
# Name, words, the least t that has such keys, and which they are.
OF_VALUES: tuple[tuple[str, str, int, Keys], ...] = (
    ("t1", MINUS_1, 1, lambda t: behind(t, [1])),
    ("t12", f"{MINUS_1} and {MINUS_2}", 2, lambda t: behind(t, [1, 2])),
    ("previous", "all previous", 1, all_previous),
    ("previous-but-first", "all previous but key 0", 2, lambda t: all_previous(t, first=1)),
)


@dataclass(frozen=True, eq=False)
class Condition:
    """An ablation at a position.

    Attributes:
        id, label: as in the tables.
        least_t: the first position that it can be made at.
        edits: of the position, counted from the start, for some prompts, by their numbers.
    """

    id: str
    label: str
    edits: Edits
    least_t: int = 0


def conditions_of(
    sets: Sequence[NamedSet],
    instead: Instead,
    config: PromptsConfig,
    seed: int,
) -> list[Condition]:
    """Every condition, in the order of the pages. A head of several sets is ablated once."""
    reasons: dict[Head, list[str]] = {}
    for s in sets:
        why = s.detector if s.named else f"highest {s.detector} score, not named"
        for head in s.heads[: config.heads]:
            reasons.setdefault(head, []).append(why)
    found = [
        _of_z("head", (head,), kind, "; ".join(reasons[head]), instead)
        for head in reasons
        for kind in config.kinds
    ]
    found += [_of_a_set(s, instead) for s in sets if len(s.heads) > 1]
    n_layers, n_heads = instead.mean.shape[:2]
    rng = np.random.default_rng(derive_seed(seed, "heads beside, on prompts"))
    every = {head for s in sets for head in s.heads}
    beside = random_beside(reasons, n_heads, rng, every)
    found += [_of_z("random", (h,), "mean", "random head of the layer", instead) for h in beside]
    best = next((s.heads[0] for s in sets if s.detector == PREVIOUS), None)
    return [*found, *_of_values(best, n_layers)]


def _of_z(by: str, heads: Heads, kind: AblationKind, why: str, instead: Instead) -> Condition:
    name = heads_text(heads)
    return Condition(
        f"{by}-{name}-{kind}", f"{name}, {kind} ({why})", _z_edits(heads, kind, instead)
    )


def _of_a_set(s: NamedSet, instead: Instead) -> Condition:
    label = f"the {len(s.heads)} heads of {s.detector}, mean"
    return Condition(f"set-{s.detector}-mean", label, _z_edits(s.heads, "mean", instead))


def _z_edits(heads: Heads, kind: AblationKind, instead: Instead) -> Edits:
    by_layer: dict[int, list[int]] = {}
    for layer, head in sorted(heads):
        by_layer.setdefault(layer, []).append(head)

    def edits(t: int, prompts: Sequence[int]) -> list[Edit]:
        if kind == "zero":
            return [zero_z(layer, of, at=t) for layer, of in by_layer.items()]
        if kind == "mean":
            return [set_z(layer, instead.mean[layer], of, at=t) for layer, of in by_layer.items()]
        drawn = instead.drawn[list(prompts)].unsqueeze(1)  # the same for all positions
        return [set_z(layer, drawn[:, :, layer], of, at=t) for layer, of in by_layer.items()]

    return edits


def _of_values(best: Head | None, n_layers: int) -> Iterator[Condition]:
    """best: the best previous-token head; without one, values of all layers alone."""
    scopes: list[tuple[str, str, list[int], list[int] | None]] = [
        ("all", "all layers", list(range(n_layers)), None)
    ]
    if best is not None:
        layer, head = best
        scopes.insert(0, (f"L{layer}", f"layer {layer}", [layer], None))
        scopes.insert(0, (heads_text([best]), heads_text([best]), [layer], [head]))
    for name, words, least_t, keys in OF_VALUES:
        for scope, where, layers, heads in scopes:
            yield Condition(
                f"values-{name}-{scope}",
                f"values {words}, {where}",
                _without(layers, keys, heads),
                least_t,
            )


def _without(layers: Sequence[int], keys: Keys, heads: Sequence[int] | None) -> Edits:
    return lambda t, prompts: [without_values(layer, keys(t), heads) for layer in layers]
