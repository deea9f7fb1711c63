"""The parts of a tensor transformer's heads as nodes: values that a patch replaces, with gradients.

A node is q, k, v or z of a head at a position; q and k are taken after RoPE, and of bilinear
attention (q1, q2), and (k1, k2), together. Heads that share keys and values (grouped queries) have
one k and one v node. With `write` and `update` as in `TensorTransformer`,

    q, k, v  of the stream      A of q, k      z = A v      stream + write(z)

The forward pass is that of `TensorTransformer`, in float64 and without its fused kernels, so that
every node is a tensor in the graph. Positions after the one that is read change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zscope.core.errors import DataError
from zscope.models.tensor_transformer import (
    TensorTransformer,
    rms_normalise,
    rotate,
)

Kind: TypeAlias = Literal["q", "k", "v", "z"]
KINDS: tuple[Kind, ...] = ("q", "k", "v", "z")
Stream: TypeAlias = Float[Tensor, "batch seq d"]


@dataclass(frozen=True, eq=False)
class LayerNodes:
    """The nodes of a layer, and its patterns.

    part: 2 for bilinear attention, else 1. kv: key-value heads.
    """

    q: Float[Tensor, "part batch head seq d_head"]
    k: Float[Tensor, "part batch kv seq d_head"]
    v: Float[Tensor, "batch kv seq d_head"]
    pattern: Float[Tensor, "batch head seq seq"]
    z: Float[Tensor, "batch head seq d_head"]

    def of(self, kind: Kind) -> Tensor:
        """The nodes of a kind; q and k have a leading axis of parts."""
        return {"q": self.q, "k": self.k, "v": self.v, "z": self.z}[kind]


@dataclass(frozen=True, eq=False)
class NodeRun:
    """A run: the stream before each layer and after the last, and the nodes of each layer."""

    streams: list[Stream]
    layers: list[LayerNodes]


@dataclass(frozen=True, eq=False)
class Answers:
    """The metric of a run: the answer's logit less the mean logit, at one position a sequence.

    It is linear in the logits. (KL to the clean run has gradient zero at the clean run, so every
    first-order effect on it is zero.)
    """

    read: Int[Tensor, " batch"]
    answer: Int[Tensor, " batch"]

    def of(self, logits: Float[Tensor, "batch vocab"]) -> Float[Tensor, " batch"]:
        """logits: those at `read`. In nats."""
        return logits.gather(1, self.answer[:, None])[:, 0] - logits.mean(1)

    def take(self, rows: Int[Tensor, " n"]) -> Answers:
        return Answers(self.read[rows], self.answer[rows])


@dataclass(frozen=True, eq=False)
class Patch:
    """For each row of a batch the value of one node of `layer`.

    value: leading axis of parts for q and k.
    """

    layer: int
    kind: Kind
    head: Int[Tensor, " batch"]
    position: Int[Tensor, " batch"]
    value: Float[Tensor, "*part batch d_head"]

    def into(self, nodes: Tensor) -> Tensor:
        """A copy of nodes of this kind with the values put in."""
        rows = torch.arange(len(self.head))
        new = nodes.clone()
        new[..., rows, self.head, self.position, :] = self.value
        return new


class NodeModel:
    """A tensor transformer's weights, run so that nodes can be replaced and differentiated.

    Args:
        n_kv_heads: key-value heads, each shared by a group of neighbouring query heads; None: one
            for each query head. Those of a group must have equal matrices.

    Raises:
        DataError: n_kv_heads does not divide the heads, or the matrices of a group differ.
    """

    def __init__(self, model: TensorTransformer, n_kv_heads: int | None = None) -> None:
        self.config = c = model.config
        self.n_kv = c.n_heads if n_kv_heads is None else n_kv_heads
        if self.n_kv < 1 or c.n_heads % self.n_kv:
            raise DataError(f"{self.n_kv} key-value heads do not divide {c.n_heads} heads")
        self.group = c.n_heads // self.n_kv
        self.E = model.tok_embed.weight.detach().double()
        self.U = model.head.weight.detach().double()
        self._weights = [
            {name: block.attn.weight(name).detach().double() for name in (*c.rotated, "v", "o")}
            for block in model.blocks
        ]
        self._share_within_groups()

    def _share_within_groups(self) -> None:
        for layer, weights in enumerate(self._weights):
            for name in [n for n in weights if n[0] in "kv"]:
                grouped = weights[name].unflatten(0, (self.n_kv, self.group))
                if not grouped.eq(grouped[:, :1]).all():
                    raise DataError(
                        f"layer {layer}: heads of one group have different {name} matrices"
                    )
                weights[name] = grouped[:, 0]

    def heads(self, kind: Kind) -> int:
        """How many nodes of a kind a layer has at a position."""
        return self.n_kv if kind in ("k", "v") else self.config.n_heads

    def embed(self, tokens: Int[Tensor, "batch seq"]) -> Stream:
        return self.E[tokens]

    def project(self, layer: int, x: Stream) -> tuple[Tensor, Tensor, Tensor]:
        """q, k and v of a layer from the stream before it; shapes as in `LayerNodes`."""
        read = rms_normalise(x) if self.config.rms_norm else x
        q, k = (
            torch.stack(
                [self._turned(layer, name, read) for name in self.config.rotated if name[0] == kind]
            )
            for kind in "qk"
        )
        return q, k, torch.einsum("bsd,hed->bhse", read, self._weights[layer]["v"])

    def _turned(self, layer: int, name: str, read: Stream) -> Float[Tensor, "batch h seq d_head"]:
        heads = torch.einsum("bsd,hed->bhse", read, self._weights[layer][name])
        return rotate(heads, torch.arange(read.shape[1]), self.config.rope_base)

    def scores(
        self,
        q: Float[Tensor, "part batch head seq d_head"],
        k: Float[Tensor, "part batch kv seq d_head"],
    ) -> Float[Tensor, "part batch head seq seq"]:
        """Scaled products of queries and keys, causal and not."""
        d = self.config.d_head
        scale = d**-0.5 if self.config.attention == "softmax" else 1 / d
        return scale * q @ self.spread(k).mT

    def spread(self, of_kv: Tensor) -> Tensor:
        """Of every query head what its key-value head has, [..., head, seq, d_head]."""
        return of_kv.repeat_interleave(self.group, -3) if self.group > 1 else of_kv

    def pattern_of(
        self, scores: Float[Tensor, "part batch head seq seq"]
    ) -> Float[Tensor, "batch head seq seq"]:
        seq = scores.shape[-1]
        causal = torch.ones(seq, seq, dtype=torch.bool).tril()
        if self.config.attention == "softmax":
            return scores[0].masked_fill(~causal, -torch.inf).softmax(-1)
        return scores.prod(0).masked_fill(~causal, 0.0)

    def mix(
        self, pattern: Float[Tensor, "batch head seq seq"], v: Float[Tensor, "batch kv seq d_head"]
    ) -> Float[Tensor, "batch head seq d_head"]:
        return pattern @ self.spread(v)

    def write(self, layer: int, z: Float[Tensor, "batch head seq d_head"]) -> Stream:
        """What the layer's heads add to the stream."""
        return self.config.written * torch.einsum("bhse,hed->bsd", z, self._weights[layer]["o"])

    def logits(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n vocab"]:
        """Logits from the stream after the last layer."""
        return (rms_normalise(x) if self.config.rms_norm else x) @ self.U.T

    def nodes(self, layer: int, x: Stream, patch: Patch | None = None) -> LayerNodes:
        """The nodes of a layer, with the patch put in if it is of this layer."""
        q, k, v = self.project(layer, x)
        empty = torch.empty(0)
        return self.attend(LayerNodes(q, k, v, empty, empty), layer, patch)

    def attend(self, nodes: LayerNodes, layer: int, patch: Patch | None = None) -> LayerNodes:
        """The nodes with pattern and z made anew from q, k and v, after the patch is put in."""
        if patch is not None and patch.layer == layer and patch.kind != "z":
            nodes = replace(nodes, **{patch.kind: patch.into(nodes.of(patch.kind))})
        pattern = self.pattern_of(self.scores(nodes.q, nodes.k))
        z = self.mix(pattern, nodes.v)
        if patch is not None and patch.layer == layer and patch.kind == "z":
            z = patch.into(z)
        return replace(nodes, pattern=pattern, z=z)

    def run(
        self,
        x: Stream,
        first: int = 0,
        patch: Patch | None = None,
        cut: int | None = None,
    ) -> NodeRun:
        """Run the layers from `first` on.

        x: the stream before it. cut: the layer whose write gets no gradient.
        """
        streams, layers = [x], []
        for layer in range(first, self.config.n_layers):
            nodes = self.nodes(layer, x, patch)
            write = self.write(layer, nodes.z)
            x = self.config.kept * x + (write.detach() if layer == cut else write)
            streams.append(x)
            layers.append(nodes)
        return NodeRun(streams, layers)

    def measure(self, x: Stream, answers: Answers) -> Float[Tensor, " batch"]:
        """The metric from the stream after the last layer."""
        return answers.of(self.logits(x[torch.arange(len(x)), answers.read]))

    def gradients(
        self, run: NodeRun, answers: Answers, of: Sequence[str] = (*KINDS, "pattern")
    ) -> list[dict[str, Tensor]]:
        """The metric's gradient by nodes and patterns, layer by layer; 0 where no path leads.

        Sequences of a batch do not interact, so the gradient of the sum is that of each.
        """
        wanted = [getattr(nodes, name) for nodes in run.layers for name in of]
        total = self.measure(run.streams[-1], answers).sum()
        found = torch.autograd.grad(total, wanted, allow_unused=True)
        filled = [
            torch.zeros_like(x) if g is None else g for x, g in zip(wanted, found, strict=True)
        ]
        size = len(of)
        return [
            dict(zip(of, filled[i : i + size], strict=True)) for i in range(0, len(filled), size)
        ]
