"""Whether the best previous-token head makes the values behind t redundant: table _redundancy.

With A the head at its mean at t, and V_d the values at t - d gone for all heads of its layer and
the query t, over the next-token distributions at t

    redundancy(d) = 1 - KL(A -> A and V_d) / KL(base -> V_d)

1: without the head, losing these values changes nothing more; 0: it changes as much as before. The
protocol asks the same of the layer's output (pull request 403 of goodfire-ai/spd). t is the last
position. Undefined where the interval of KL(base -> V_d) holds 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from zscope.config.base import Bootstrap
from zscope.figures.frames import numbers, select
from zscope.models.attention_view import AttentionView, Edit, LayerHeads, Resume
from zscope.models.head_edits import behind, set_z, without_values
from zscope.models.head_effects import mean_z
from zscope.stats import bootstrap_interval, finite
from zscope.studies.heads.head_sets import Head
from zscope.tables.schema import Row

ROUNDING = 1e-7
"""Nats: a KL divergence is never negative, so below this it is taken for 0."""
PREVIOUS = "previous"


def best_previous(scores: pd.DataFrame) -> Head | None:
    """The named previous-token head with the highest score, by all rows or by the class that names
    it; the head with the highest score if none is named. scores: heads_scores of one model."""
    rows = select(scores, detector=PREVIOUS, names=True)
    rows = rows[rows["stream"] == rows["stream"].iloc[0]] if len(rows) else rows
    if rows.empty:
        return None
    of_all, of_class = (np.nan_to_num(numbers(rows[c]), nan=-1) for c in ("value", "class_value"))
    named, by_class = (rows[c].to_numpy(bool) for c in ("named", "named_by_class"))
    if (named | by_class).any():
        of_all = np.maximum(np.where(named, of_all, -1), np.where(by_class, of_class, -1))
    best = rows.iloc[int(of_all.argmax())]
    return int(best["layer"]), int(best["head"])


def divergences(
    view: AttentionView, tokens: Int[Tensor, "n seq"], head: Head, offsets: Sequence[int]
) -> tuple[Float[np.ndarray, "n offset"], Float[np.ndarray, "n offset"]]:
    """KL(base -> V_d) and KL(A -> A and V_d) of every sequence, in nats."""
    layer, h = head
    t = tokens.shape[1] - 1
    streams: list[Tensor] = []

    def keep(heads: LayerHeads) -> None:
        if heads.layer == layer:
            streams.append(heads.stream)

    def log_p(*edits: Edit) -> Float[Tensor, "n vocab"]:
        resume = Resume(layer, streams[0])
        logits = view.run(tokens, edits, read=[-1], resume=resume).logits
        return logits[:, 0].cpu().double().log_softmax(-1)

    mean = set_z(layer, mean_z(view, tokens)[layer], [h], at=-1)
    view.run(tokens, visit=keep, read=[-1])
    base, without_head = log_p(), log_p(mean)
    alone, beside = [], []
    for d in offsets:
        keys = behind(t, [d]) if d else [t]
        values = without_values(layer, keys, row=-1)
        alone.append(_kl(base, log_p(values)))
        beside.append(_kl(without_head, log_p(mean, values)))
    return torch.stack(alone, 1).numpy(), torch.stack(beside, 1).numpy()


def _kl(p: Float[Tensor, "n vocab"], q: Float[Tensor, "n vocab"]) -> Float[Tensor, " n"]:
    return (p.exp() * (p - q)).sum(-1)


def redundancy_rows(
    view: AttentionView,
    tokens: Int[Tensor, "n seq"],
    head: Head,
    max_offset: int,
    bootstrap: Bootstrap,
) -> Iterator[Row]:
    """Rows of table heads_redundancy without subject and model."""
    offsets = range(min(max_offset, tokens.shape[1] - 1) + 1)
    alone, beside = divergences(view, tokens.to(view.device), head, offsets)
    alone_low, alone_high = bootstrap_interval(alone, bootstrap=bootstrap)
    left_low, left_high = bootstrap_interval(beside, alone, bootstrap=bootstrap)
    for d in offsets:
        defined = alone_low[d] > ROUNDING
        yield {
            **{"layer": head[0], "head": head[1], "offset": d, "n": len(tokens)},
            "value": finite(1 - beside[:, d].sum() / alone[:, d].sum()) if defined else None,
            "ci_low": finite(1 - left_high[d]) if defined else None,
            "ci_high": finite(1 - left_low[d]) if defined else None,
            "alone": float(alone[:, d].mean()),
            "alone_ci_low": finite(alone_low[d]),
            "alone_ci_high": finite(alone_high[d]),
            "beside": float(beside[:, d].mean()),
        }
