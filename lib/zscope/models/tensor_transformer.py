"""The toy language's attention-only transformer: bilinear ("tensor") attention, or softmax.

    bilinear:  A = tril o (q1.k1)(q2.k2) / d_head^2
    softmax:   A = softmax over keys of (q1.k1) / sqrt(d_head), causal
    layer:     x <- x + sum_h A^h x Wv^h Wo^h            (residual "add")
               x <- (1 - s) x + s sum_h A^h x Wv^h Wo^h  (residual "lerp")
    logits     = x U

There are no biases, and no norms unless `rms_norm`: without norms the bilinear model is a
polynomial in its stream. Queries and keys are rotated (RoPE; Su et al. 2021), elements i and
i + d_head/2 together as in Llama. Attention is that of Dooms et al.'s and Riggs' public code
(tdooms/tensor-similarity, loganriggs/toy_models_of_tensor_networks); see also
henrylhale/bilinear-vpd.

Plain PyTorch, because training through hooks costs more. `wrapped_tensor.wrap` adds every
hook of TransformerLens to the same weights, under the same names.
"""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N806

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from zscope.core.errors import ConfigError

RMS_EPS = 1e-5
CACHED = 2**17  # entries of patterns held at a time: 512 KiB in single precision
Heads: TypeAlias = Float[Tensor, "batch head seq d_head"]


@dataclass(frozen=True)
class TensorConfig:
    """Shape and kind of a `TensorTransformer`.

    Attributes:
        rms_norm: RMSNorm without gains (they fold into the matrices after it) before every
            attention and before the unembedding.
        lerp: s of residual "lerp"; unused for "add".

    Raises:
        ConfigError: no layer, d_head odd, or lerp not strictly between 0 and 1.
    """

    d_vocab: int = 65
    n_ctx: int = 64
    n_layers: int = 2
    n_heads: int = 4
    d_model: int = 64
    d_head: int = 16
    attention: Literal["bilinear", "softmax"] = "bilinear"
    rms_norm: bool = False
    residual: Literal["add", "lerp"] = "add"
    lerp: float = 0.5
    rope_base: float = 1e4

    def __post_init__(self) -> None:
        if self.n_layers < 1:
            raise ConfigError(f"n_layers: at least 1, not {self.n_layers}")
        if self.d_head % 2:
            raise ConfigError(f"d_head: RoPE turns pairs, so it must be even, not {self.d_head}")
        if not 0 < self.lerp < 1:
            raise ConfigError(
                f"lerp: the layer's share must be between 0 and 1, not {self.lerp}\n"
                'for a plain sum set residual: "add"'
            )

    @property
    def is_polynomial(self) -> bool:
        """Whether logits are a polynomial in the stream."""
        return self.attention == "bilinear" and not self.rms_norm

    @property
    def kept(self) -> float:
        """Factor of the stream in a layer's update."""
        return 1 - self.lerp if self.residual == "lerp" else 1.0

    @property
    def written(self) -> float:
        """Factor of the heads' outputs in a layer's update."""
        return self.lerp if self.residual == "lerp" else 1.0

    @property
    def rotated(self) -> tuple[str, ...]:
        """Names of the query and key matrices."""
        return ("q1", "k1", "q2", "k2") if self.attention == "bilinear" else ("q1", "k1")

    def to_dict(self) -> dict[str, int | float | str | bool]:
        return asdict(self)


def rope_angles(
    positions: Int[Tensor, " n"], d_head: int, base: float
) -> Float[Tensor, "n d_head/2"]:
    """Angles p base^(-2i/d_head) in radians, float64 and on the CPU: not every GPU has float64."""
    exponents = torch.arange(0, d_head, 2, dtype=torch.float64) / d_head
    return torch.outer(positions.cpu().double(), base**-exponents)


def rotate(
    x: Float[Tensor, "*n d_head"], positions: Int[Tensor, " n"], base: float
) -> Float[Tensor, "*n d_head"]:
    """RoPE of vectors, with elements i and i + d_head/2 as pairs, at `positions` (or at one)."""
    angles = rope_angles(positions, x.shape[-1], base)
    cos, sin = (f.to(x.dtype).to(x.device) for f in (angles.cos(), angles.sin()))
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


def rms_normalise(x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
    return x * (x.square().mean(-1, keepdim=True) + RMS_EPS).rsqrt()


class TensorAttention(nn.Module):
    """The heads of a layer. Matrices are [out, in] as `nn.Linear` has them, heads stacked."""

    def __init__(self, config: TensorConfig) -> None:
        super().__init__()
        self.config = config
        d, width = config.d_model, config.n_heads * config.d_head
        for name in (*config.rotated, "v"):
            self.add_module(name, nn.Linear(d, width, bias=False))
        self.o = nn.Linear(width, d, bias=False)

    def weight(self, name: str) -> Float[Tensor, "head d_head d"]:
        """Matrix `name` of every head; for "o" its transpose, so the shape is the same."""
        W = getattr(self, name).weight
        c = self.config
        return (W.mT if name == "o" else W).view(c.n_heads, c.d_head, c.d_model)

    def project(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n projected"]:
        """All queries, keys and values of stream vectors, in one product.

        Elements that RoPE turns together become neighbours, and the pattern's divisor goes into q1:
        both change only the small matrices.
        """
        c = self.config
        matrices = []
        for name in c.rotated:
            W = self.weight(name).unflatten(1, (2, c.d_head // 2)).transpose(1, 2)
            if name == "q1" and c.attention == "bilinear":
                W = W / c.d_head**2
            matrices.append(W.reshape(-1, c.d_model))
        return F.linear(x, torch.cat([*matrices, self.weight("v").flatten(0, 1)]))

    def split(self, projected: Float[Tensor, "batch seq projected"]) -> list[Heads]:
        """Rotated queries and keys, in the order of `config.rotated`, then values."""
        return list(_rotated_parts(projected, self.config).unbind(0))

    def z(
        self, projected: Float[Tensor, "batch seq projected"]
    ) -> Float[Tensor, "batch seq width"]:
        """Values mixed by the patterns, heads side by side, from what `project` returned."""
        if self.config.attention == "softmax":
            q, k, v = self.split(projected)
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            return mixed.transpose(1, 2).flatten(-2)
        return cast(Tensor, _BilinearMix.apply(projected, self.config))

    def mix(self, projected: Float[Tensor, "batch seq projected"]) -> Float[Tensor, "batch seq d"]:
        """Sum of the heads' outputs, from what `project` returned."""
        return self.o(self.z(projected))


def _causal(heads: Float[Tensor, "*n seq d_head"]) -> Float[Tensor, "seq seq"]:
    seq = heads.shape[-2]
    return torch.ones(seq, seq, dtype=heads.dtype, device=heads.device).tril()


def _turn_(
    parts: Float[Tensor, "part batch head seq d_head"], config: TensorConfig, sign: int
) -> None:
    """Rotate neighbouring elements, in place, by `sign` times their position's angles."""
    angles = rope_angles(torch.arange(parts.shape[-2]), config.d_head, config.rope_base)
    pairs = torch.view_as_complex(parts.unflatten(-1, (config.d_head // 2, 2)))
    factors = torch.polar(torch.ones_like(angles), sign * angles)
    pairs.mul_(factors.to(pairs.dtype).to(pairs.device))


def _rotated_parts(
    projected: Float[Tensor, "batch seq projected"], config: TensorConfig
) -> Float[Tensor, "part batch head seq d_head"]:
    parts = projected.unflatten(-1, (-1, config.n_heads, config.d_head))
    parts = parts.permute(2, 0, 3, 1, 4).clone(memory_format=torch.contiguous_format)
    _turn_(parts[:-1], config, 1)
    return parts


class _BilinearMix(torch.autograd.Function):
    """z of all heads, a few sequences at a time, with patterns recomputed for the gradient.

    At this size most of a step's time goes into moving [batch, head, seq, seq] tensors. Autograd
    would make and keep about ten of them per layer; these never leave the cache.
    """

    @staticmethod
    def forward(
        ctx: Any, projected: Float[Tensor, "batch seq projected"], config: TensorConfig
    ) -> Float[Tensor, "batch seq width"]:
        parts = _rotated_parts(projected, config).flatten(1, 2)
        ctx.save_for_backward(parts)
        ctx.config, ctx.batch = config, len(projected)
        z, mask = torch.empty_like(parts[0]), _causal(parts)
        for some in _pieces(parts):
            q1, k1, q2, k2, v = parts[:, some]
            pattern = torch.bmm(q1, k1.mT).mul_(torch.bmm(q2, k2.mT)).mul_(mask)
            torch.bmm(pattern, v, out=z[some])
        return z.unflatten(0, (-1, config.n_heads)).transpose(1, 2).flatten(-2)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad: Float[Tensor, "batch seq width"]
    ) -> tuple[Float[Tensor, "batch seq projected"], None]:
        (parts,) = ctx.saved_tensors
        config, mask = ctx.config, _causal(parts)
        heads = grad.unflatten(-1, (config.n_heads, config.d_head))
        d_z = heads.transpose(1, 2).flatten(0, 1)
        out = torch.empty_like(parts)
        for some in _pieces(parts):
            q1, k1, q2, k2, v = parts[:, some]
            d_q1, d_k1, d_q2, d_k2, d_v = out[:, some]
            first, second = torch.bmm(q1, k1.mT), torch.bmm(q2, k2.mT)
            torch.bmm((first * second).mul_(mask).mT, d_z[some], out=d_v)
            d_pattern = torch.bmm(d_z[some], v.mT).mul_(mask)
            d_first, d_second = second.mul_(d_pattern), first.mul_(d_pattern)
            torch.bmm(d_first, k1, out=d_q1)
            torch.bmm(d_first.mT, q1, out=d_k1)
            torch.bmm(d_second, k2, out=d_q2)
            torch.bmm(d_second.mT, q2, out=d_k2)
        out = out.unflatten(1, (ctx.batch, config.n_heads))
        _turn_(out[:-1], config, -1)
        return out.permute(1, 3, 0, 2, 4).flatten(2), None


def _pieces(parts: Float[Tensor, "part heads seq d_head"]) -> list[slice]:
    """Slices of the heads whose patterns fit a CPU's cache; on a GPU one slice of all."""
    heads, seq = parts.shape[1:3]
    size = max(1, CACHED // seq**2) if parts.is_cpu else heads
    return [slice(i, i + size) for i in range(0, heads, size)]


class TensorBlock(nn.Module):
    def __init__(self, config: TensorConfig) -> None:
        super().__init__()
        self.config = config
        self.attn = TensorAttention(config)

    def read(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        """What the heads read from stream vectors."""
        return rms_normalise(x) if self.config.rms_norm else x

    def update(
        self, x: Float[Tensor, "batch seq d"], mixed: Float[Tensor, "batch seq d"]
    ) -> Float[Tensor, "batch seq d"]:
        if self.config.residual == "lerp":
            return torch.lerp(x, mixed, self.config.lerp)
        return x + mixed

    def forward(self, x: Float[Tensor, "batch seq d"]) -> Float[Tensor, "batch seq d"]:
        return self.update(x, self.attn.mix(self.attn.project(self.read(x))))


class TensorTransformer(nn.Module):
    """Token ids to logits. E is `tok_embed.weight`, U the transpose of `head.weight`."""

    def __init__(self, config: TensorConfig) -> None:
        super().__init__()
        self.config = config
        self.tok_embed = nn.Embedding(config.d_vocab, config.d_model)
        self.layers = nn.ModuleList(TensorBlock(config) for _ in range(config.n_layers))
        self.head = nn.Linear(config.d_model, config.d_vocab, bias=False)

    @property
    def blocks(self) -> list[TensorBlock]:
        return cast(list[TensorBlock], list(self.layers))

    def init_weights(self, seed: int) -> TensorTransformer:
        """E ~ N(0, 1), o and U zero, the others N(0, 1/d_model), from `seed` alone.

        With o and U at zero every head starts as a no-op and every readout as a tie.
        """
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, p in sorted(self.named_parameters()):
                if name == "head.weight" or name.endswith(".o.weight"):
                    p.zero_()
                else:
                    std = 1.0 if name == "tok_embed.weight" else self.config.d_model**-0.5
                    p.copy_(torch.empty(p.shape).normal_(0.0, std, generator=generator))
        return self

    def forward(self, tokens: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq vocab"]:
        # The first layer reads tokens alone, so project the vocabulary, not every position.
        first, *others = self.blocks
        E = self.tok_embed.weight
        projected = F.embedding(tokens, first.attn.project(first.read(E)))
        x = first.update(F.embedding(tokens, E), first.attn.mix(projected))
        for block in others:
            x = block(x)
        return self.unembed(x)

    def resume(
        self, x: Float[Tensor, "batch seq d"], layer: int
    ) -> Float[Tensor, "batch seq vocab"]:
        """Logits from the stream before `layer` (n_layers: after the last)."""
        for block in self.blocks[layer:]:
            x = block(x)
        return self.unembed(x)

    def stream(self, tokens: Int[Tensor, "batch seq"], layer: int) -> Float[Tensor, "batch seq d"]:
        """The residual stream before `layer` (n_layers: after the last)."""
        x = self.tok_embed(tokens)
        for block in self.blocks[:layer]:
            x = block(x)
        return x

    def unembed(self, x: Float[Tensor, "batch seq d"]) -> Float[Tensor, "batch seq vocab"]:
        return self.head(rms_normalise(x) if self.config.rms_norm else x)


def make_optimizers(
    model: TensorTransformer, muon_lr: float = 0.02, adamw_lr: float = 3e-3
) -> list[torch.optim.Optimizer]:
    """Muon (momentum 0.95) for the layers' matrices, AdamW (0.9, 0.95) for E and U; no decay.

    Muon (Jordan et al. 2024) orthogonalises each [heads x d_head, d_model] matrix as a whole.
    """
    return [
        torch.optim.Muon(model.layers.parameters(), lr=muon_lr, momentum=0.95, weight_decay=0.0),
        torch.optim.AdamW(
            [model.tok_embed.weight, model.head.weight],
            lr=adamw_lr,
            betas=(0.9, 0.95),
            weight_decay=0.0,
        ),
    ]
