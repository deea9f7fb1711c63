"""Which earlier head a pattern needs: table heads_under_ablation.

The share of a named head on its targets, as its detector defines them, with one head of an earlier
layer at its mean at all positions. An induction head looks for a token that knows its predecessor:
without the previous-token head that tells it, the pattern is gone. This is the causal test of a
previous-token head, which a score is not.

    first order   (z_bar - z) . d share / dz    one run, and one backward pass per named head
    exact         one run per earlier head, which gives the shares of all later named heads

Asked are the named heads with the highest scores of each detector. Every earlier head is run if
they are few. If not, those are whose first-order change of some share is largest, and half of them
are heads that the `previous` detector names, as far as there are any; the others keep the first
order, which says little where a pattern is saturated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from zscope.config.base import Bootstrap
from zscope.figures.frames import select
from zscope.models.attention_view import AttentionView, Edit, LayerHeads, Resume
from zscope.models.head_edits import set_z
from zscope.models.head_effects import mean_z
from zscope.stats import bootstrap_interval, finite
from zscope.studies.heads.asked.model import AskedModel
from zscope.studies.heads.detector import Detector
from zscope.studies.heads.head_sets import Head
from zscope.studies.heads.parts.redundancy import PREVIOUS
from zscope.studies.heads.streams import Stream
from zscope.studies.heads.sums import naming_weights
from zscope.studies.heads.weights import WeightKind, layer_weights
from zscope.tables.schema import Row

GATED = 2.0
"""How many times the lower end over all rows that of a class is, for a head to count as gated."""


@dataclass(frozen=True)
class Named:
    """A head that a detector names.

    Attributes:
        detector: the question, as in heads_scores.
        member: the detector itself, which differs in a family.
        stream: the sequences that it is named on.
        token_class: the class of query tokens that it is asked on; None: all rows.
        low: lower end of the score that names it.
    """

    detector: str
    member: str
    stream: str
    head: Head
    token_class: str | None
    low: float = 0.0


def named_of(scores: pd.DataFrame) -> list[Named]:
    """Every head of heads_scores of one model that is named on its detector's first stream.

    A gated head is asked on the class that names it: one that all rows do not name, or whose score
    has at least twice as high a lower end in the class.
    """
    found = []
    for detector, rows in select(scores, names=True).groupby("detector", sort=False):
        rows = rows[rows["stream"] == rows["stream"].iloc[0]]
        for row in rows[rows["named"] | rows["named_by_class"]].to_dict("records"):
            offset, gated = row["offset"], not row["named"]
            if row["named_by_class"]:
                gated = gated or row["class_low"] >= GATED * row["ci_low"]
            found.append(
                Named(
                    str(detector),
                    str(detector) if pd.isna(offset) else f"offset_{int(offset)}",
                    row["stream"],
                    (int(row["layer"]), int(row["head"])),
                    str(row["best_class"]) if gated else None,
                    float(row["class_low"] if gated else row["ci_low"]),
                )
            )
    return found


class PieceShares:
    """The shares of named heads on the sequences of one length of their stream."""

    def __init__(
        self,
        view: AttentionView,
        stream: Stream,
        named: Sequence[Named],
        detectors: Mapping[str, Detector],
        kind: WeightKind,
    ) -> None:
        self.view, self.stream, self.named, self.kind = view, stream, named, kind
        self.tokens = stream.ids.to(view.device)
        masks = [_masked(stream, n, detectors[n.member]) for n in named]
        self._masks = [mask.to(view.device) for mask, _ in masks]
        self.rows = np.stack([rows.sum(-1).double().numpy() for _, rows in masks])
        self._streams: dict[int, Tensor] = {}

    def clean(self) -> Float[Tensor, "named n"]:
        """Hits of a run as it is, which is kept to resume from."""

        def keep(heads: LayerHeads) -> None:
            self._streams[heads.layer] = heads.stream

        return torch.stack(self._run(keep=keep))

    def without(self, head: Head, z_bar: Float[Tensor, "layer head d"]) -> Float[Tensor, "named n"]:
        """Hits with a head at its mean; not a number for heads that are not in later layers."""
        layer, h = head
        edit = set_z(layer, z_bar[layer], [h])
        hits = self._run([edit], resume=Resume(layer, self._streams[layer]))
        unknown = torch.full((len(self.stream),), torch.nan)
        later = [n.head[0] > layer for n in self.named]
        return torch.stack([x if y else unknown for x, y in zip(hits, later, strict=True)])

    def first_order(
        self, z_bar: Float[Tensor, "layer head d"]
    ) -> Float[Tensor, "named n layer head"]:
        """Change of the hits by every earlier head, to first order; NaN for the others."""
        zs: list[Tensor] = []
        hits = self._run(keep=lambda heads: zs.append(heads.z), grad=True)
        n_layers, n_heads = len(z_bar), z_bar.shape[1]
        found = torch.full((len(hits), len(self.stream), n_layers, n_heads), torch.nan)
        for i, (named, y) in enumerate(zip(self.named, hits, strict=True)):
            earlier = zs[: named.head[0]]
            if not earlier:
                continue
            slopes = torch.autograd.grad(y.sum(), earlier, retain_graph=True)
            for layer, (z, slope) in enumerate(zip(earlier, slopes, strict=True)):
                change = (z_bar[layer].to(z) - z.detach()) * slope
                found[i, :, layer] = change.sum((1, 3)).cpu()
        return found

    def _run(
        self,
        edits: Sequence[Edit] = (),
        *,
        keep: Callable[[LayerHeads], None] | None = None,
        resume: Resume | None = None,
        grad: bool = False,
    ) -> list[Float[Tensor, " n"]]:
        """Hits of every named head; 0 of those in layers that are not run."""
        hits: dict[int, Tensor] = {}

        def visit(heads: LayerHeads) -> None:
            if keep is not None:
                keep(heads)
            for i, n in enumerate(self.named):
                if n.head[0] == heads.layer:
                    hits[i] = (self._weights(heads, n.head[1]) * self._masks[i]).sum((1, 2))

        self.view.run(self.tokens, edits, visit, read=[-1], resume=resume, grad=grad)
        missing = torch.zeros(len(self.stream))
        return [hits[i] if grad else hits.get(i, missing).cpu() for i in range(len(self.named))]

    def _weights(self, heads: LayerHeads, h: int) -> Float[Tensor, "n query key"]:
        one = slice(h, h + 1)
        W_O = heads.weights.W_O[one].detach()  # noqa: N806
        return layer_weights(self.kind, heads.pattern[:, one], heads.values[:, one], W_O)[:, 0]


def _masked(
    stream: Stream, named: Named, detector: Detector
) -> tuple[Float[Tensor, "n query key"], Bool[Tensor, "n query"]]:
    """The targets of the rows that count, and these rows."""
    targets = detector.targets(stream)
    rows = targets.rows
    if named.token_class is not None:
        assert stream.classes is not None
        rows = rows & (stream.classes == stream.class_names.index(named.token_class))
    return (targets.mask & rows.unsqueeze(-1)).float(), rows


def under_ablation_rows(
    model: AskedModel,
    named: Sequence[Named],
    detectors: Mapping[str, Detector],
    *,
    targets: int,
    exact: int,
    bootstrap: Bootstrap,
) -> Iterator[Row]:
    """Rows of table heads_under_ablation without subject and model.

    detectors: by name, members of families too. targets: most named heads of a detector that are
    asked. exact: most earlier heads of a stream that are run.
    """
    later = _highest([n for n in named if n.head[0] > 0], targets)
    previous = {n.head for n in named if n.detector == PREVIOUS}
    for name in dict.fromkeys(n.stream for n in later):
        of_stream = [n for n in later if n.stream == name]
        pieces = [
            PieceShares(model.view, s, of_stream, detectors, naming_weights(model.signed))
            for s in model.streams.get(name, ())
        ]
        if pieces:
            yield from _stream_rows(pieces, of_stream, previous, exact, bootstrap)


def _highest(named: Sequence[Named], k: int) -> list[Named]:
    """The k of each detector with the highest scores, in the order given."""
    kept: set[Named] = set()
    for detector in {n.detector for n in named}:
        of = [n for n in named if n.detector == detector]
        kept |= set(sorted(of, key=lambda n: -n.low)[:k])
    return [n for n in named if n in kept]


def _stream_rows(
    pieces: Sequence[PieceShares],
    named: Sequence[Named],
    previous: set[Head],
    exact: int,
    bootstrap: Bootstrap,
) -> Iterator[Row]:
    view = pieces[0].view
    sizes = [p.tokens.numel() for p in pieces]
    z_bar = sum(mean_z(view, p.tokens) * n for p, n in zip(pieces, sizes, strict=True)) / sum(sizes)
    assert isinstance(z_bar, Tensor)
    clean = np.concatenate([p.clean().double().numpy() for p in pieces], 1)
    rows = np.concatenate([p.rows for p in pieces], 1)
    deepest = max(n.head[0] for n in named)
    earlier = [(layer, h) for layer in range(deepest) for h in range(view.n_heads)]
    chosen, first = set(earlier), None
    if len(earlier) > exact:
        first = torch.cat([p.first_order(z_bar) for p in pieces], 1).double().numpy()
        chosen = _largest(first, rows, exact, previous & set(earlier))
    for head in earlier:
        if is_exact := head in chosen:
            found = torch.cat([p.without(head, z_bar) for p in pieces], 1).double().numpy()
        else:
            assert first is not None
            found = clean + first[:, :, head[0], head[1]]
        for i, n in enumerate(named):
            if n.head[0] > head[0] and rows[i].sum():
                yield {
                    **{"detector": n.detector, "layer": n.head[0], "head": n.head[1]},
                    **{"ablated_layer": head[0], "ablated_head": head[1]},
                    **{"token_class": n.token_class, "exact": is_exact},
                    **_columns(clean[i], found[i], rows[i], bootstrap),
                }


def _largest(
    first: Float[np.ndarray, "named n layer head"],
    rows: Float[np.ndarray, "named n"],
    k: int,
    named: set[Head],
) -> set[Head]:
    """The k heads whose first-order change of some share is largest, half of them of `named`."""
    with np.errstate(invalid="ignore", divide="ignore"):
        change = np.abs(first.sum(1) / rows.sum(1)[:, None, None])
    of_any = np.nan_to_num(change).max(0)
    order = np.argsort(-of_any, axis=None, kind="stable")
    ranked = [divmod(int(i), of_any.shape[1]) for i in order]
    first_named = [head for head in ranked if head in named][: k // 2]
    others = [head for head in ranked if head not in first_named]
    return {*first_named, *others[: k - len(first_named)]}


def _columns(
    clean: Float[np.ndarray, " n"],
    found: Float[np.ndarray, " n"],
    rows: Float[np.ndarray, " n"],
    bootstrap: Bootstrap,
) -> Row:
    stacked = np.stack([found, clean, found - clean], 1)
    low, high = bootstrap_interval(stacked, rows, bootstrap=bootstrap)
    value, as_it_is, change = stacked.sum(0) / rows.sum()
    return {
        **{"value": value, "ci_low": finite(low[0]), "ci_high": finite(high[0])},
        **{"clean": as_it_is, "clean_ci_low": finite(low[1]), "clean_ci_high": finite(high[1])},
        **{"change": change, "change_ci_low": finite(low[2]), "change_ci_high": finite(high[2])},
        **{"rows": float(rows.sum()), "n": int((rows > 0).sum())},
    }
