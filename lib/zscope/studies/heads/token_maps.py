"""The weights of a language model's heads as maps between single tokens; `ov.py` has the formulas.

r(t) is the state behind layer 0 of [first, t] at t, where first is what stands in front of every
sequence: there, an embedding has become what later heads read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from zscope.models.language_model import LanguageModel
from zscope.models.layer_runs import inputs_of, new_cache, run_layers
from zscope.studies.heads.ov import ov_scores, raw_copies


@dataclass(frozen=True, eq=False)
class TokenMaps:
    """lambda of every head of a model, for any class of tokens. front: may be empty."""

    lm: LanguageModel
    front: Sequence[int]

    @torch.no_grad()
    def states(self, ids: Sequence[int]) -> Float[Tensor, "token d"]:
        """r(t) of every token."""
        lm: Any = self.lm
        rows = torch.tensor([[*self.front, i] for i in ids], device=lm.device)
        mask = torch.ones_like(rows)
        positions = torch.arange(rows.shape[1], device=rows.device).expand_as(rows)
        embedded = lm.model.get_input_embeddings()(rows)
        cache = new_cache()
        inputs = inputs_of(lm, embedded, mask, positions, cache)
        return run_layers(lm, range(1), embedded, inputs, cache)[:, -1]

    @torch.no_grad()
    def scores(
        self, classes: Sequence[Sequence[int]]
    ) -> Iterator[list[Float[Tensor, "head token token"]]]:
        """Of every layer, lambda of each class. What the heads write passes the layer's own norm
        behind attention, where it has one."""
        model: Any = self.lm.model
        states = [self.states(ids).float() for ids in classes]
        unembed = model.get_output_embeddings().weight.detach()
        columns = [unembed[list(ids)].mT.float() for ids in classes]
        for index in range(self.lm.n_layers):
            weights = self.lm.attention_weights(index)
            layer: Any = self.lm.layer(index)
            W_v, W_o = (w.float().to(self.lm.device) for w in (weights.W_v.mT, weights.W_o))  # noqa: N806
            after = self.lm.architecture.after_attention

            def final(x: Tensor, layer: Any = layer, after: str | None = after) -> Tensor:
                return self.lm.norm(x if after is None else getattr(layer, after)(x))

            yield [
                ov_scores(r, W_v, W_o, u, layer.input_layernorm, final)
                for r, u in zip(states, columns, strict=True)
            ]

    @torch.no_grad()
    def raw_copies(self, ids: Sequence[int]) -> Float[Tensor, "layer head token"]:
        """The original protocol's copy score of every token: E(t) OV U(t)."""
        model: Any = self.lm.model
        embed, unembed = (
            layer.weight[list(ids)].detach().float().cpu()
            for layer in (model.get_input_embeddings(), model.get_output_embeddings())
        )
        weights = (self.lm.attention_weights(layer) for layer in range(self.lm.n_layers))
        return torch.stack(
            [raw_copies(embed, w.W_v.mT.float(), w.W_o.float(), unembed.mT) for w in weights]
        )
