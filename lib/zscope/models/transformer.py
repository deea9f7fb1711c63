"""The small decoder that the workflow trains: pre-LN, GELU, learned positions, untied.

Plain PyTorch, because training through hooks costs more. The parameters have the names of
TransformerLens's native model, so that `wrapped_transformer.wrap` can copy them for analysis.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

LANES = 16  # float32 numbers of the widest vector registers


@dataclass(frozen=True)
class TransformerConfig:
    """Shape and initialisation of a `Transformer`."""

    n_layers: int
    d_model: int
    n_heads: int
    d_mlp: int
    n_ctx: int
    d_vocab: int
    init_std: float = 0.02
    mlp_init_std: float = 0.02

    @property
    def d_head(self) -> int:
        return self.d_model // self.n_heads

    def to_dict(self) -> dict[str, int | float]:
        return asdict(self)


class Attention(nn.Module):
    """Causal softmax attention with biases."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        d = config.d_model
        self.n_heads, self.d_head = config.n_heads, config.d_head
        self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))

    def forward(
        self, x: Float[Tensor, "batch seq d"], start: int = 0
    ) -> Float[Tensor, "batch q d"]:
        """Output at positions `start` and later; keys and values of all positions are read."""
        return self.mix(self.q(x[:, start:]), self.k(x), self.v(x), start)

    def mix(
        self,
        q: Float[Tensor, "batch q d"],
        k: Float[Tensor, "batch seq d"],
        v: Float[Tensor, "batch seq d"],
        start: int = 0,
    ) -> Float[Tensor, "batch q d"]:
        """Output of queries that begin at `start`."""
        batch, seq, d = k.shape
        # Rows of scores that do not fill the vector registers cost twice as much. So the end, which
        # no earlier query sees, is padded, and the padding dropped again.
        pad = (0, 0, 0, -seq % LANES)
        k, v = F.pad(k, pad), F.pad(v, pad)
        if start == 0:
            out = F.scaled_dot_product_attention(
                self._split(F.pad(q, pad)), self._split(k), self._split(v), is_causal=True
            )[:, :, :seq]
        else:
            keys = torch.arange(k.shape[1], device=q.device)
            mask = keys[None, :] <= keys[start:seq, None]
            out = F.scaled_dot_product_attention(
                self._split(q), self._split(k), self._split(v), attn_mask=mask
            )
        return self.o(out.transpose(1, 2).reshape(batch, seq - start, d))

    def _split(self, x: Float[Tensor, "batch seq d"]) -> Float[Tensor, "batch head seq d_head"]:
        return x.view(x.shape[0], x.shape[1], self.n_heads, self.d_head).transpose(1, 2)


class MLP(nn.Module):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.fc_in = nn.Linear(config.d_model, config.d_mlp)
        self.fc_out = nn.Linear(config.d_mlp, config.d_model)

    def forward(self, x: Float[Tensor, "batch seq d"]) -> Float[Tensor, "batch seq d"]:
        return self.fc_out(F.gelu(self.fc_in(x)))


class Block(nn.Module):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(config.d_model), nn.LayerNorm(config.d_model)
        self.attn, self.mlp = Attention(config), MLP(config)

    def forward(
        self, x: Float[Tensor, "batch seq d"], start: int = 0
    ) -> Float[Tensor, "batch q d"]:
        return self.add_mlp(x[:, start:] + self.attn(self.ln1(x), start))

    def of_rows(
        self, rows: Float[Tensor, "rows d"], at: Int[Tensor, "batch seq"]
    ) -> Float[Tensor, "batch seq d"]:
        """The block on rows[at]; what a position computes alone is computed once per row."""
        attn, read = self.attn, self.ln1(rows)
        q, k, v = (F.embedding(at, project(read)) for project in (attn.q, attn.k, attn.v))
        return self.add_mlp(F.embedding(at, rows) + attn.mix(q, k, v))

    def add_mlp(self, mid: Float[Tensor, "batch seq d"]) -> Float[Tensor, "batch seq d"]:
        return mid + self.mlp(self.ln2(mid))


class Transformer(nn.Module):
    """Token ids to logits."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.tok_embed = nn.Embedding(config.d_vocab, config.d_model)
        self.pos = nn.Embedding(config.n_ctx, config.d_model)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.ln_out = nn.LayerNorm(config.d_model)
        self.head = nn.Linear(config.d_model, config.d_vocab, bias=False)

    def init_weights(self, seed: int) -> Transformer:
        """Draw normal weights with the config's standard deviations; biases are 0."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, p in sorted(self.named_parameters()):
                if name.endswith("bias"):
                    p.zero_()
                elif "ln" in name:
                    p.fill_(1.0)
                else:
                    std = self.config.mlp_init_std if ".mlp." in name else self.config.init_std
                    p.copy_(torch.empty(p.shape).normal_(0.0, std, generator=generator))
        return self

    def forward(
        self, tokens: Int[Tensor, "batch seq"], start: int = 0
    ) -> Float[Tensor, "batch q vocab"]:
        """Logits at positions `start` and later.

        The last block's queries and MLP, and the unembedding, are computed at those alone.
        """
        places = torch.arange(tokens.shape[1], device=tokens.device)
        first, *others = cast(list[Block], list(self.layers))
        if others and tokens.is_cpu:  # on a GPU, waiting for the number of rows costs more
            # The first block reads one of a few different rows at every position: one row for each
            # pair of a token and a place.
            pairs, at = torch.unique(tokens * len(places) + places, return_inverse=True)
            rows = self.tok_embed(pairs // len(places)) + self.pos(pairs % len(places))
            x = first.of_rows(rows, at)
        else:
            x = first(self.tok_embed(tokens) + self.pos(places), 0 if others else start)
        for block in others:
            x = block(x, start if block is others[-1] else 0)
        return self.head(self.ln_out(x))
