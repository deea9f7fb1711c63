"""A model's excess over the exact floor of the toy language, by the primitive that governs.

The excess of a position is KL(p || q) in nats, with p the exact conditional and q the model's. It
has no sampling noise and is 0 for a model that knows the language. Its mean over positions is the
loss minus the floor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from zscope.config.base import Bootstrap
from zscope.core.provenance import derive_seed
from zscope.stats import bootstrap_interval, bootstrap_weights
from zscope.tables.schema import Row
from zscope.toy_language.distributions import LABEL_ID, LABELS
from zscope.toy_language.language import ToyLanguage

CHUNK = 64  # sequences per forward pass


@dataclass(frozen=True, eq=False)
class ToyEvaluation:
    """Fixed sequences with the exact conditionals of tokens 1, 2, ...

    Attributes:
        labels: index into LABELS of the primitive that governs each predicted token.
        weights: bootstrap draws over sequences, the same for everything that is measured here.
    """

    tokens: Int[Tensor, "n seq"]
    p: Float[Tensor, "n seq-1 vocab"]
    labels: Int[np.ndarray, "n seq-1"]
    weights: Float[np.ndarray, "resamples n"]
    bootstrap: Bootstrap

    @classmethod
    def sample(
        cls,
        language: ToyLanguage,
        n: int,
        seed: int,
        bootstrap: Bootstrap,
        device: torch.device,
    ) -> ToyEvaluation:
        """`n` sequences drawn with a seed."""
        drawn = language.sample(n, np.random.Generator(np.random.PCG64(seed)))
        p, _ = language.conditionals(drawn.tokens)
        rng = np.random.default_rng(derive_seed(bootstrap.seed, "toy evaluation"))
        return cls(
            torch.from_numpy(drawn.tokens).to(device),
            torch.from_numpy(p[:, 1:]).to(device, torch.float32),
            drawn.labels[:, 1:],
            bootstrap_weights(n, bootstrap.resamples, rng),
            bootstrap,
        )

    @cached_property
    def _negative_entropy(self) -> Float[Tensor, "n seq-1"]:
        return torch.special.xlogy(self.p, self.p).sum(-1)

    @cached_property
    def masks(self) -> dict[str, Bool[np.ndarray, "n seq-1"]]:
        """Positions of every primitive that governs one, and of `all`."""
        found = {name: self.labels == LABEL_ID[name] for name in LABELS}
        found["all"] = np.ones_like(self.labels, dtype=bool)
        return {name: mask for name, mask in found.items() if mask.any()}

    def _excess_of_logits(
        self, logits: Float[Tensor, "n seq vocab"], start: int
    ) -> Float[Tensor, "n seq-1"]:
        """KL(p || softmax(logits)) in nats, for the sequences from `start` on."""
        part = slice(start, start + len(logits))
        cross = -(self.p[part] * logits[:, :-1].log_softmax(-1)).sum(-1)
        return self._negative_entropy[part] + cross

    @torch.no_grad()
    def excess(self, model: nn.Module) -> Float[np.ndarray, "n seq-1"]:
        """The excess at every position; `model` turns tokens into logits."""
        return self.excess_by(lambda some: model(self.tokens[some]))

    @torch.no_grad()
    def excess_by(
        self, logits_of: Callable[[slice], Float[Tensor, "some seq vocab"]]
    ) -> Float[np.ndarray, "n seq-1"]:
        """The excess at every position; `logits_of` gives the logits of some of the sequences."""
        parts = []
        for start in range(0, len(self.tokens), CHUNK):
            logits = logits_of(slice(start, start + CHUNK))
            parts.append(self._excess_of_logits(logits, start))
        return torch.cat(parts).double().cpu().numpy()

    def by_primitive(self, values: Float[np.ndarray, "n seq-1"], metric: str) -> list[Row]:
        """The mean of a per-position measure over the positions of each primitive, with its
        bootstrap interval over sequences: primitive, metric, value, ci_low, ci_high, n."""
        masks = np.stack(list(self.masks.values()), axis=1)  # n primitive seq-1
        total, count = (values[:, None] * masks).sum(-1), masks.sum(-1)
        low, high = bootstrap_interval(total, count, bootstrap=self.bootstrap, weights=self.weights)
        mean = total.sum(0) / count.sum(0)
        return [
            {
                "primitive": name,
                "metric": metric,
                "value": float(mean[i]),
                "ci_low": float(low[i]),
                "ci_high": float(high[i]),
                "n": int(count[:, i].sum()),
            }
            for i, name in enumerate(self.masks)
        ]
