"""The metrics of a run while it trains, on fixed evaluation sets."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from zscope.config.base import Bootstrap
from zscope.core.provenance import derive_seed
from zscope.models.transformer import Transformer
from zscope.stats import bootstrap_interval, bootstrap_weights
from zscope.studies.lag import quantities
from zscope.studies.lag.facts import Disambiguation, other_z, sample_rows
from zscope.studies.lag.run_config import RunConfig

CHUNK = 256  # sequences of one forward pass: on a CPU, larger ones leave its cache


class EvaluationSet:
    """Fixed examples of one split, with another z for each.

    They are drawn from random streams of their own: evaluating does not change the batches.
    """

    def __init__(
        self,
        data: Disambiguation,
        split: str,
        n: int,
        seed: int,
        device: torch.device,
        bootstrap: Bootstrap,
    ) -> None:
        rng = np.random.default_rng(derive_seed(seed, f"evaluation/{split}"))
        rows = sample_rows(data, n, rng, split)
        self.data, self.split, self.bootstrap = data, split, bootstrap
        self.weights = bootstrap_weights(
            len(rows), bootstrap.resamples, np.random.default_rng(bootstrap.seed)
        )
        self.device = device
        # Scoring is in float64, which not every device has: only the model's inputs move.
        self.tokens = torch.from_numpy(data.tokens[rows])
        self.candidates = torch.from_numpy(data.candidates[data.base[rows]])
        self.right = torch.from_numpy(data.right[rows])
        self.other: Tensor | None = None
        self.shuffled: Tensor | None = None
        if data.can_swap_z:
            self.other = torch.from_numpy(other_z(data, rows, rng)[0])
            shuffled = data.tokens[rows].copy()
            shuffled[:, data.layout.z] = shuffled[rng.permutation(len(rows))][:, data.layout.z]
            self.shuffled = torch.from_numpy(shuffled)

    def measure(self, model: Transformer) -> list[dict[str, Any]]:
        """Rows (split, metric, value, ci_low, ci_high, n) of every metric that the task has."""
        values = {k: v.double().numpy() for k, v in self._values(model).items()}
        stacked = np.stack(list(values.values()), axis=1)
        low, high = bootstrap_interval(stacked, weights=self.weights, bootstrap=self.bootstrap)
        return [
            {
                "split": self.split,
                "metric": metric,
                "value": float(column.mean()),
                "ci_low": float(low[i]),
                "ci_high": float(high[i]),
                "n": len(column),
            }
            for i, (metric, column) in enumerate(values.items())
        ]

    def _values(self, model: Transformer) -> dict[str, Float[Tensor, " n"]]:
        target = self.tokens[:, self.data.layout.target]
        logits = self._logits(model, self.tokens[:, :-1])
        losses = -logits.log_softmax(-1).gather(-1, target[..., None])[..., 0]
        hits = logits.argmax(-1) == target
        out = {
            "loss": losses.mean(1),
            "first_loss": quantities.first_loss(logits[:, 0], target[:, 0]),
            "first_accuracy": quantities.first_accuracy(logits[:, 0], target[:, 0]),
            "accuracy": hits.all(1),
            "set_mass": quantities.set_mass(logits[:, 0], self.candidates[:, :, 0]),
        }
        if self.candidates.shape[1] > 1:
            log_probs = quantities.candidate_log_probs(
                lambda tokens: self._logits(model, tokens),
                self.tokens[:, : self.data.layout.predict + 1],
                self.candidates,
                max_sequences=CHUNK,
            )
            scores = quantities.candidate_metrics(log_probs, self.right)
            out |= {f"candidate_{name}": value for name, value in scores._asdict().items()}
        if self.other is not None and self.shuffled is not None:
            for name, tokens in (("z_gap", self.other), ("z_gap_batch", self.shuffled)):
                # Tokens after the predicting position cannot change its logits.
                prompt = tokens[:, : self.data.layout.predict + 1]
                swapped = self._logits(model, prompt)[:, 0]
                out[name] = quantities.z_gap(logits[:, 0], swapped, target[:, 0])
        return out

    def _logits(
        self, model: Transformer, tokens: Int[Tensor, "n seq"]
    ) -> Float[Tensor, "n target vocab"]:
        """Logits, on the CPU, from the predicting position on."""
        start = self.data.layout.predict
        parts = [model(part.to(self.device), start).cpu() for part in tokens.split(CHUNK)]
        return torch.cat(parts)


def evaluation_sets(
    data: Disambiguation, config: RunConfig, device: torch.device, bootstrap: Bootstrap
) -> list[EvaluationSet]:
    """One evaluation set per split that has rows."""
    n, seed = config.training.eval_examples, config.facts["seed"]
    splits = ["train", *([] if data.train.all() else ["held_out"])]
    return [EvaluationSet(data, split, n, seed, device, bootstrap) for split in splits]
