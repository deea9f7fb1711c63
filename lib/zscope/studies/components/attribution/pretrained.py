"""Attribution patching of z in a language model; some nodes are patched exactly.

A node is z of a head at a position, the input of the attention's output projection. The metric is
the logit of the answer less that of the other prompt's answer. Patched are the nodes with the
largest estimates, and nodes drawn from all others, which bound what was missed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from zscope.models.attention_view import AttentionView, LayerHeads
from zscope.models.head_edits import set_z
from zscope.models.head_effects import Measure, exact_effects
from zscope.studies.components.attribution.pretrained_pairs import TokenPair
from zscope.tables.schema import Row

TOP, RANDOM = "top", "random"
Node = tuple[int, int, int]
"""Layer, head, position."""


@dataclass(frozen=True, eq=False)
class ZEstimates:
    """The metric of both runs, z of the corrupted one, and the estimate of every node."""

    clean: float
    corrupted: float
    z: Float[Tensor, "layer seq head d_head"]
    atp: Float[Tensor, "layer seq head"]


def z_estimates(view: AttentionView, pair: TokenPair) -> ZEstimates:
    """Two forward passes and one backward."""
    corrupted, after = _z_of(view, pair, pair.corrupted, grad=False)
    clean, before = _z_of(view, pair, pair.clean, grad=True)
    gradients = torch.autograd.grad(clean.sum(), before)
    atp = [
        ((b - a.detach()) * gradient).sum(-1)[0].double().cpu()
        for a, b, gradient in zip(before, after, gradients, strict=True)
    ]
    return ZEstimates(float(clean.detach()), float(corrupted), torch.cat(after), torch.stack(atp))


def _z_of(
    view: AttentionView, pair: TokenPair, prompt: Sequence[int], *, grad: bool
) -> tuple[Float[Tensor, " 1"], list[Tensor]]:
    """The metric of a prompt, and z of every layer; grad: in one graph."""
    zs: list[Tensor] = []

    def keep(heads: LayerHeads) -> None:
        zs.append(heads.z)

    ids = torch.tensor([list(prompt)], device=view.device)
    return logit_difference(pair)(view.run(ids, visit=keep, read=[-1], grad=grad).logits), zs


def logit_difference(pair: TokenPair) -> Measure:
    def y(logits: Float[Tensor, "batch read vocab"]) -> Float[Tensor, " batch"]:
        last = logits[:, -1].float()
        return last[:, pair.answer] - last[:, pair.other]

    return y


def chosen_nodes(
    atp: Float[Tensor, "layer seq head"], edit: int, top: int, n: int, rng: np.random.Generator
) -> list[tuple[str, Node]]:
    """The `top` nodes by |estimate|, and n drawn from all others, from the edit on.

    Before the edit both runs are the same. At most all nodes.
    """
    of = atp[:, edit:]
    order = of.abs().flatten().argsort(descending=True, stable=True).numpy()
    others = rng.permutation(order[top:])[:n]
    chosen = [(TOP, i) for i in order[:top]] + [(RANDOM, i) for i in others]
    nodes = []
    for word, i in chosen:
        layer, position, head = np.unravel_index(i, of.shape)
        nodes.append((word, (int(layer), int(head), int(position) + edit)))
    return nodes


def patched_effects(
    view: AttentionView, pair: TokenPair, estimates: ZEstimates, nodes: Sequence[Node]
) -> Float[Tensor, " nodes"]:
    """The metric's change when each node alone is patched; a run from its layer on for each."""
    ids = torch.tensor([pair.clean], device=view.device)
    cases = [[set_z(layer, estimates.z[layer, at], [head], at)] for layer, head, at in nodes]
    return exact_effects(view, ids, logit_difference(pair), cases, [-1])[:, 0].double().cpu()


def node_rows(
    view: AttentionView,
    pair: TokenPair,
    estimates: ZEstimates,
    chosen: Sequence[tuple[str, Node]],
) -> Iterator[Row]:
    effects = patched_effects(view, pair, estimates, [node for _, node in chosen])
    for (word, (layer, head, position)), exact in zip(chosen, effects.tolist(), strict=True):
        yield {
            "layer": layer,
            "head": head,
            "position": position,
            "chosen": word,
            "exact": exact,
            "atp": float(estimates.atp[layer, position, head]),
        }
