"""The matrices of a bilinear transformer, and the patterns and outputs of its heads.

Every path from tokens to logits that passes one head is a product of two factors,

    A(q, k, delta) = (q1(q) R_delta k1(k)) (q2(q) R_delta k2(k)) / d_head^2   "the pattern"
    OV(k -> o)     = k Wv Wo U                                                "the output"

with delta the key's distance to the query, in tokens, and R_delta its RoPE rotation. Turning or
scaling q1 against k1, or q1 against q2, changes neither. A sign or a factor may move between A and
OV: only their product, a logit, means something by itself.
"""

# Matrices keep the capitals of the formulas.

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from zscope.core.errors import DataError
from zscope.models.tensor_transformer import TensorTransformer, rotate


def mean_over(offsets: Sequence[int], of: Callable[[int], Tensor]) -> Tensor:
    """The mean of `of(offset)`. Raises DataError for no offset."""
    if not offsets:
        raise DataError("no offset between query and key: give at least one")
    return torch.as_tensor(sum(of(offset) for offset in offsets)) / len(offsets)


@dataclass(frozen=True, eq=False)
class TensorWeights:
    """Matrices of a bilinear transformer with residual "add", float64 on the CPU."""

    E: Float[Tensor, "vocab d"]
    U: Float[Tensor, "d vocab"]
    q1: Float[Tensor, "layer head d d_head"]
    k1: Float[Tensor, "layer head d d_head"]
    q2: Float[Tensor, "layer head d d_head"]
    k2: Float[Tensor, "layer head d d_head"]
    v: Float[Tensor, "layer head d d_head"]
    o: Float[Tensor, "layer head d_head d"]
    rope_base: float

    @classmethod
    def from_model(cls, model: TensorTransformer) -> TensorWeights:
        """Copy a model's matrices; residual "lerp" becomes the equivalent model with "add".

        With x_l = kept^l y_l, y_(l+1) = y_l + written / kept^(l+1) f(kept^l y_l): the factors go
        into the matrices, and kept^n_layers into U.

        Raises:
            DataError: the model has softmax attention or norms.
        """
        c = model.config
        if not c.is_polynomial:
            raise DataError(
                f"attention {c.attention}, rms_norm {c.rms_norm}: reading weights needs bilinear "
                "attention without norms\ntrain such a model, or measure this one on data"
            )

        def exact(matrix: Tensor) -> Tensor:
            return matrix.detach().cpu().double()

        def stacked(name: str) -> Tensor:
            layers = [exact(block.attn.weight(name)) for block in model.blocks]
            return torch.stack(layers) if name == "o" else torch.stack(layers).mT

        factors = [c.kept**layer for layer in range(c.n_layers + 1)]
        stream = torch.tensor(factors, dtype=torch.float64)
        reads = stream[:-1, None, None, None]
        return cls(
            E=exact(model.tok_embed.weight),
            U=exact(model.head.weight).mT * stream[-1],
            q1=stacked("q1") * reads,
            k1=stacked("k1") * reads,
            q2=stacked("q2") * reads,
            k2=stacked("k2") * reads,
            v=stacked("v") * reads,
            o=stacked("o") * c.written / stream[1:, None, None, None],
            rope_base=c.rope_base,
        )

    @property
    def n_layers(self) -> int:
        return self.o.shape[0]

    @property
    def n_heads(self) -> int:
        return self.o.shape[1]

    @property
    def d_head(self) -> int:
        return self.o.shape[2]

    @property
    def d_vocab(self) -> int:
        return self.E.shape[0]

    def patterns(
        self,
        layer: int,
        offset: int,
        queries: Float[Tensor, "q d"],
        keys: Float[Tensor, "k d"],
    ) -> Float[Tensor, "head q k"]:
        """A of stream vectors, the key `offset` tokens before the query."""
        scores = [
            self._turned(queries @ Q[layer], offset) @ (keys @ K[layer]).mT
            for Q, K in ((self.q1, self.k1), (self.q2, self.k2))
        ]
        return scores[0] * scores[1] / self.d_head**2

    def paired_patterns(
        self,
        layer: int,
        offset: int,
        queries: Float[Tensor, "*n d"],
        keys: Float[Tensor, "*m d"],
    ) -> Float[Tensor, "*nm head"]:
        """A of stream vectors, all but d broadcast, the key `offset` tokens before its query."""
        scores = []
        for of_query, of_key in ((self.q1, self.k1), (self.q2, self.k2)):
            query = torch.einsum("...d,hde->...he", queries, of_query[layer])
            key = torch.einsum("...d,hde->...he", keys, of_key[layer])
            scores.append((self._turned(query, offset) * key).sum(-1))
        return scores[0] * scores[1] / self.d_head**2

    def mean_patterns(
        self,
        layer: int,
        offsets: Sequence[int],
        queries: Float[Tensor, "q d"],
        keys: Float[Tensor, "k d"],
    ) -> Float[Tensor, "head q k"]:
        """The mean of A over `offsets`.

        Raises:
            DataError: no offset.
        """
        return mean_over(offsets, lambda offset: self.patterns(layer, offset, queries, keys))

    def writes(self, layer: int, keys: Float[Tensor, "*n k d"]) -> Float[Tensor, "*n head k d"]:
        """What each head writes into the stream of a key's vector, for a pattern of 1."""
        return keys.unsqueeze(-3) @ self.v[layer] @ self.o[layer]

    def outputs(
        self, layer: int, keys: Float[Tensor, "*n k d"]
    ) -> Float[Tensor, "*n head k vocab"]:
        """OV: the logits of what each head writes."""
        return self.writes(layer, keys) @ self.U

    def _turned(self, x: Float[Tensor, "*n d_head"], offset: int) -> Float[Tensor, "*n d_head"]:
        return rotate(x, torch.tensor([offset]), self.rope_base)
