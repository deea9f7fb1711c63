"""Attention of any model, seen and edited through one function: `AttentionView.run`.

A head h of a layer computes, from the stream before the layer,

    z_h(t) = sum_j A_h(t, j) v_h(j)          out(t) = sum_h z_h(t) W_O(h) + b

with pattern A_h, values v_h (those of its key-value head, where several heads share one) and output
matrix W_O(h). An edit replaces the pattern, the values or z of a layer; what comes after reads the
new ones. A visitor is called once per layer with these tensors, after the edits. Nothing is kept of
a layer that the visitor does not keep, so memory does not grow with the number of layers.

Batches hold sequences of equal length and no padding: a padded key would be attended to.

Three views exist: `attention_view_transformers.TransformersView` for models of Hugging Face, and
`attention_view_tensor.TensorView` and `attention_view_trained.TrainedView` for those that the
workflow trains.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Site: TypeAlias = Literal["pattern", "values", "z"]
Stream: TypeAlias = Float[Tensor, "batch seq d"]
Norm: TypeAlias = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class OutputWeights:
    """What maps the z of a layer's heads to its output; views of the model's own weights.

    W_O: by head. bias: b above, added once per layer; None: there is none.
    """

    W_O: Float[Tensor, "head d_head d"]
    bias: Float[Tensor, " d"] | None = None


@dataclass(frozen=True, eq=False)
class LayerHeads:
    """The heads of one layer in one run, after the edits.

    Attributes:
        layer: counted from 0.
        stream: the residual stream before the layer.
        pattern: rows are queries, columns are keys.
        values: of every query head, after key-value heads are repeated.
        z: values mixed by the pattern.
        weights: what z is written with.
    """

    layer: int
    stream: Stream
    pattern: Float[Tensor, "batch head seq seq"]
    values: Float[Tensor, "batch head seq d_head"]
    z: Float[Tensor, "batch seq head d_head"]
    weights: OutputWeights

    def output(self, t: int) -> Float[Tensor, "batch d"]:
        """The layer's attention output at position t, before any norm that it may pass."""
        out = torch.einsum("bhe,hed->bd", self.z[:, t], self.weights.W_O)
        return out if self.weights.bias is None else out + self.weights.bias


@dataclass(frozen=True, eq=False)
class Edit:
    """A change of one layer's patterns, values or z; `zscope.models.head_edits` makes them.

    change: from the whole tensor (shapes as in `LayerHeads`) to one of the same shape. It must not
    change its argument in place. Edits of one layer and site are applied in the order given;
    patterns and values are edited before z is mixed from them.
    """

    layer: int
    site: Site
    change: Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Resume:
    """Where a run begins: with `stream` before `layer` (n_layers: after the last)."""

    layer: int
    stream: Stream


@dataclass(frozen=True, eq=False)
class Run:
    """What a run gives at the positions that were read.

    final: the residual stream before the final norm.
    """

    logits: Float[Tensor, "batch read vocab"]
    final: Float[Tensor, "batch read d"]


class Pass:
    """One run while it lasts. The views call `enter` and `mix` for every layer, in order."""

    def __init__(
        self, edits: Sequence[Edit], visit: Callable[[LayerHeads], None] | None, grad: bool
    ) -> None:
        self.edits, self.visit, self.grad = edits, visit, grad
        self.seen: list[int] = []
        self._stream: Tensor | None = None

    def enter(self, stream: Stream) -> None:
        """Note the stream before the layer whose heads are mixed next."""
        self._stream = stream

    def mix(
        self,
        layer: int,
        pattern: Float[Tensor, "batch head seq seq"],
        values: Float[Tensor, "batch head seq d_head"],
        weights: OutputWeights,
    ) -> Float[Tensor, "batch seq head d_head"]:
        """z of the layer after the edits, which the visitor has seen."""
        stream, self._stream = self._stream, None
        assert stream is not None, f"layer {layer} was not entered"
        self.seen.append(layer)
        pattern = self._edited(layer, "pattern", pattern)
        values = self._edited(layer, "values", values)
        z = self._edited(layer, "z", (pattern @ values).transpose(1, 2))
        if self.grad and not z.requires_grad:
            z.requires_grad_()  # the first z is a leaf; those of later layers depend on it
        if self.visit is not None:
            self.visit(LayerHeads(layer, stream, pattern, values, z, weights))
        return z

    def _edited(self, layer: int, site: Site, x: Tensor) -> Tensor:
        for edit in self.edits:
            if (edit.layer, edit.site) == (layer, site):
                changed = edit.change(x)
                if changed.shape != x.shape:
                    raise ValueError(
                        f"edit of {site} in layer {layer}: {tuple(x.shape)} became "
                        f"{tuple(changed.shape)}"
                    )
                x = changed
        return x


class AttentionView(ABC):
    """A model whose attention can be seen and edited.

    Attributes:
        n_layers, n_heads, d_head, d_model: sizes; layers and heads count from 0.
    """

    n_layers: int
    n_heads: int
    d_head: int
    d_model: int

    def run(
        self,
        tokens: Int[Tensor, "batch seq"],
        edits: Sequence[Edit] = (),
        visit: Callable[[LayerHeads], None] | None = None,
        *,
        read: Sequence[int] | None = None,
        resume: Resume | None = None,
        grad: bool = False,
    ) -> Run:
        """Run the model on sequences of equal length, without padding.

        Args:
            edits: applied in their layers, in this order.
            visit: called for every layer that is run, in order, before its output is added.
            read: positions whose logits are computed, negative ones from the end; None: all.
            resume: begin here. The result is that of a full run whose earlier layers give this
                stream; it costs what the layers from there on cost.
            grad: z of every layer is in the graph of the logits, so that
                `torch.autograd.grad(y, [z of each layer])` gives dy/dz of all layers at once. The
                graph grows with the number of layers.

        Raises:
            ValueError: tokens are not [batch, seq]; an edit, `read` or `resume` does not fit.
            ConfigError: the model computes attention in a way that the view does not see.
        """
        if tokens.ndim != 2 or not tokens.numel():
            raise ValueError(f"tokens are [batch, seq], not {tuple(tokens.shape)}")
        seq = tokens.shape[1]
        first = 0 if resume is None else resume.layer
        if not 0 <= first <= self.n_layers:
            raise ValueError(f"resume: layer {first} is not in 0..{self.n_layers}")
        for edit in edits:
            if not first <= edit.layer < self.n_layers:
                raise ValueError(
                    f"edit of layer {edit.layer}: the run has layers {first} to {self.n_layers - 1}"
                )
        if resume is not None and resume.stream.shape != (*tokens.shape, self.d_model):
            raise ValueError(
                f"resume: the stream is {tuple(resume.stream.shape)}, not "
                f"{(*tokens.shape, self.d_model)}"
            )
        if read is not None and not all(-seq <= t < seq for t in read):
            raise ValueError(f"read: {list(read)} is not in a sequence of {seq}")
        rows = torch.tensor(range(seq) if read is None else [t % seq for t in read])
        this = Pass(edits, visit, grad)
        with torch.set_grad_enabled(grad):
            return self._forward(tokens, this, rows.to(tokens.device), resume)

    @property
    def device(self) -> torch.device:
        """Where the weights are; tokens and positions have to be there."""
        return self.output_weights(0).W_O.device

    @abstractmethod
    def output_weights(self, layer: int) -> OutputWeights:
        """What the layer's z is written with."""

    @abstractmethod
    def direct_path(self, layer: int) -> DirectPath:
        """How the layer's attention output reaches the final stream, if nothing reads it."""

    @property
    @abstractmethod
    def final_norm(self) -> Norm:
        """The norm before the unembedding: a `nn.LayerNorm`, or what divides by an RMS."""

    @abstractmethod
    def unembed(self, normed: Float[Tensor, "*n d"]) -> Float[Tensor, "*n vocab"]:
        """Logits of what the final norm gave."""

    @abstractmethod
    def _forward(
        self,
        tokens: Int[Tensor, "batch seq"],
        this: Pass,
        rows: Int[Tensor, " read"],
        resume: Resume | None,
    ) -> Run: ...


@dataclass(frozen=True)
class DirectPath:
    """From a layer's attention output to the final stream along the residual stream alone.

    norm: what the output passes before it is added (Gemma 3); None: nothing. factor: what it is
    multiplied by until the end; other than 1 only where residuals are interpolated.
    """

    norm: Norm | None = None
    factor: float = 1.0


def causal_mask(
    seq: int, device: torch.device, window: int | None = None
) -> Bool[Tensor, "seq seq"]:
    """True where a query (row) sees a key: itself and what precedes it, `window` keys at most."""
    mask = torch.ones(seq, seq, dtype=torch.bool, device=device).tril()
    return mask if window is None else mask & ~mask.tril(-window)


def softmax_pattern(
    scores: Float[Tensor, "batch head seq seq"], mask: Bool[Tensor, "seq seq"]
) -> Float[Tensor, "batch head seq seq"]:
    """Softmax over the keys that are seen, in single precision or better."""
    exact = torch.promote_types(scores.dtype, torch.float32)
    # A bias of 0 and -inf is added in one pass; filling in place would harm the gradient's graph.
    bias = torch.zeros_like(mask, dtype=scores.dtype).masked_fill(~mask, -torch.inf)
    return (scores + bias).softmax(-1, dtype=exact).to(scores.dtype)
