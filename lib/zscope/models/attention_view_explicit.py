"""An attention view that runs a model's layers one by one, instead of the model's own forward."""

from __future__ import annotations

from abc import abstractmethod

from jaxtyping import Int
from torch import Tensor

from zscope.models.attention_view import AttentionView, Pass, Resume, Run, Stream


class ExplicitView(AttentionView):
    """Of a model that the workflow trains."""

    @abstractmethod
    def _embed(self, tokens: Int[Tensor, "batch seq"]) -> Stream: ...

    @abstractmethod
    def _layer(self, x: Stream, layer: int, this: Pass) -> Stream:
        """One layer, which hands its pattern and values to `this.mix`."""

    def _forward(
        self,
        tokens: Int[Tensor, "batch seq"],
        this: Pass,
        rows: Int[Tensor, " read"],
        resume: Resume | None,
    ) -> Run:
        first = 0 if resume is None else resume.layer
        x = self._embed(tokens) if resume is None else resume.stream
        for layer in range(first, self.n_layers):
            x = self._layer(x, layer, this)
        final = x[:, rows]
        return Run(self.unembed(self.final_norm(final)), final)
