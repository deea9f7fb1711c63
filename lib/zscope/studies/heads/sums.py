"""Sums over the patterns of a model, layer by layer: per sequence and head, never a pattern.

All detectors of a layer are read from one pattern, in one matrix product per kind of weights. Only
a few numbers per sequence and head are kept; what is needed at a time does not grow with the number
of sequences.

Nulls (see `detector.Null`). The mismatch null of sequence b applies the targets and the rows of the
sequences b + s to the pattern of b. Over all sequences this counts the same targets as the score
does, so a pattern that is the same in every sequence scores 0 exactly.

By class of the query token there are two mismatch nulls, and `scores` takes the larger one:
- rows whose token has the class in the sequence that the targets come from. A pattern that is the
  same in every sequence scores 0 exactly.
- those of them whose token has it in the pattern's own sequence as well. A pattern that depends on
  the position and on the class of the query alone scores 0 on average, as a gated positional head
  should.
"""

# ruff: noqa: N803

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from zscope.core.errors import DataError
from zscope.studies.heads.detector import Detector, Targets
from zscope.studies.heads.settings import DetectorSettings
from zscope.studies.heads.streams import Stream
from zscope.studies.heads.weights import WEIGHT_KINDS, WeightKind, layer_weights

Role: TypeAlias = Literal["score", "control", "protocol"]
"""What a sum is for: the score, the prompts of its null, or the original protocol's number."""


class Key(NamedTuple):
    """Names a sum: of which detector, for what, and with which weights."""

    detector: str
    role: Role
    weights: WeightKind


@dataclass(frozen=True, eq=False)
class Sums:
    """Summed weight on the targets, and the number of rows, of each sequence.

    Attributes:
        hits: summed weight.
        rows: eligible rows; 1 for the axes over which they do not differ.
        null_hits: what the null gives (l and h are 1 if it is the same for all heads); None
            without a null, as for a control's own sums.
        null_rows: the rows that it is given over.
        differ: whether targets differ between sequences, without which the mismatch null says
            nothing.
    """

    hits: Float[np.ndarray, "n layer head *class"]
    rows: Float[np.ndarray, "n 1 1 *class"]
    null_hits: Float[np.ndarray, "n l h *class"] | None = None
    null_rows: Float[np.ndarray, "n 1 1 *class"] | None = None
    differ: bool = True

    def against(self, control: Sums) -> Sums:
        """These with the same prompts' controls as the null. Raises DataError unless they match."""
        if self.hits.shape != control.hits.shape:
            raise DataError(
                f"{len(control.hits)} control prompts for {len(self.hits)}: they are pairs"
            )
        return Sums(self.hits, self.rows, control.hits, control.rows)


@dataclass(frozen=True, eq=False)
class ClassSums:
    """Sums by class of the query token, under each null; class_names: of the last axis."""

    nulls: tuple[Sums, ...]
    class_names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class StreamSums:
    """What a stream gives: sums by key, and by class for the detectors that are scored so."""

    stream: str
    sums: Mapping[Key, Sums]
    by_class: Mapping[Key, ClassSums]


class _Column(NamedTuple):
    """The place of one detector's masks among the columns: its own, then one for each shift."""

    detector: Detector
    role: Role
    targets: Callable[[Stream], Targets]
    first: int
    n_shifted: int
    by_class: bool

    @property
    def shifted(self) -> slice:
        return slice(self.first + 1, self.first + 1 + self.n_shifted)

    @property
    def weights(self) -> tuple[WeightKind, ...]:
        return ("attention",) if self.role == "protocol" else self.detector.weights


@dataclass(eq=False)
class _Kept:
    """What is kept of one detector: numbers of rows [own and null, n, group], hits of the uniform
    null [all keys and without the first, n, group], and hits by kind of weights."""

    column: _Column
    rows: np.ndarray
    uniform: np.ndarray
    hits: dict[WeightKind, Float[np.ndarray, "2 n layer head group"]]
    differ: bool = False

    def sums(self, kind: WeightKind, group: int | slice, null: int | slice) -> Sums:
        """Of one group of rows (all, or by class), with the null's from another group."""
        hits, null_hits = self.hits[kind]
        rows = _spread(self.rows[0][:, group])
        of = self.column.detector.null
        if self.column.role != "score" or of == "control":
            return Sums(hits[..., group], rows)
        if of == "uniform":
            uniform = self.uniform[int(kind == "without_first")]
            return Sums(hits[..., group], rows, _spread(uniform[:, group]), rows)
        null_rows = _spread(self.rows[1][:, null])
        return Sums(hits[..., group], rows, null_hits[..., null], null_rows, self.differ)


def _spread(x: np.ndarray) -> Float[np.ndarray, "n 1 1 *class"]:
    return x.reshape(len(x), 1, 1, *x.shape[1:])


@dataclass(frozen=True, eq=False)
class Batch:
    """Some sequences of a stream, with the masks of every detector.

    groups: the rows that are counted: all eligible ones; then those of each class in the sequence
    of the mask; then those that have it in the batch's own sequence as well.
    """

    rows: Int[Tensor, " batch"]
    masks: Float[Tensor, "batch query key column"]
    groups: Float[Tensor, "batch query column group"]


class Collector:
    """Collects the sums of a stream from a model's layers.

    For each batch of sequences: `batch = collector.batch(rows)`, run these rows through the model,
    and hand every layer's pattern to `visit`. Then `finish`. Between the batches nothing but sums
    is kept. A batch needs memory for masks of [batch, seq, seq, columns] numbers, where a detector
    has one column, and one more for each shift if its null is the mismatch.

    detectors: those of this stream are chosen from them. signed: patterns may be negative, so that
    there are contributions alone. Raises DataError if no detector asks for the stream, or if it has
    no more sequences than the largest shift.
    """

    def __init__(
        self,
        stream: Stream,
        detectors: Sequence[Detector],
        settings: DetectorSettings,
        *,
        n_layers: int,
        n_heads: int,
        signed: bool,
    ) -> None:
        self.stream, self._shifts = stream, settings.shifts
        columns = _columns(stream, detectors, len(settings.shifts))
        if any(c.n_shifted for c in columns) and len(stream) <= max(settings.shifts):
            raise DataError(
                f"stream {stream.name}: {len(stream)} sequences, but the mismatch null needs more "
                f"than {max(settings.shifts)}"
            )
        naming = naming_weights(signed)
        self._n_classes = 0 if stream.classes is None else len(stream.class_names)
        self._layers_seen = np.zeros((len(stream), n_layers), dtype=np.int64)
        n_groups = 1 + 2 * self._n_classes
        self._kept = [
            _Kept(
                column,
                rows=np.zeros((2, len(stream), n_groups)),
                uniform=np.zeros((2, len(stream), n_groups)),
                hits={
                    kind: np.zeros(
                        (
                            *(2, len(stream), n_layers, n_heads),
                            n_groups if column.by_class and kind == naming else 1,
                        )
                    )
                    for kind in column.weights
                    if kind == "contribution" or not signed
                },
            )
            for column in columns
        ]

    def clear(self) -> None:
        """Forget what was visited: the same batches can be run through another model."""
        self._layers_seen = np.zeros_like(self._layers_seen)
        for kept in self._kept:
            kept.hits = {kind: np.zeros_like(hits) for kind, hits in kept.hits.items()}

    def batch(self, rows: Int[Tensor, " batch"]) -> Batch:
        """The masks of these sequences."""
        found = [self._masks(kept, rows) for kept in self._kept]
        return Batch(
            rows, torch.cat([m for m, _ in found], -1), torch.cat([g for _, g in found], -2)
        )

    def visit(
        self,
        batch: Batch,
        layer: int,
        pattern: Float[Tensor, "batch head query key"],
        values: Float[Tensor, "batch head key d_head"],
        W_o: Float[Tensor, "head d_head d"],
    ) -> None:
        """Add one layer. values: per query head. W_o: as z @ W_o.

        Raises ValueError for a signed pattern, unless the collector was told of it.
        """
        at = batch.rows.cpu().numpy()
        for kind in WEIGHT_KINDS:
            kept = [k for k in self._kept if kind in k.hits]
            if not kept:
                continue
            weights = layer_weights(kind, pattern, values, W_o).float()
            n_groups = max(k.hits[kind].shape[-1] for k in kept)
            groups = batch.groups[..., :n_groups].to(weights.device)
            summed = layer_sums(weights, batch.masks.to(weights.device), groups)
            found = summed.cpu().numpy().astype(np.float64)  # [batch, head, column, group]
            for k in kept:
                into = k.hits[kind][:, :, layer]  # [own and null, n, head, group]
                n = into.shape[-1]
                into[0, at] = found[:, :, k.column.first, :n]
                if k.column.n_shifted:
                    into[1, at] = found[:, :, k.column.shifted, :n].mean(2)
        self._layers_seen[at, layer] += 1

    def finish(self) -> StreamSums:
        """The sums. Raises DataError if a layer of a sequence is missing, or was given twice."""
        if (wrong := np.argwhere(self._layers_seen != 1)).size:
            (n, layer), times = wrong[0], self._layers_seen[tuple(wrong[0])]
            raise DataError(
                f"stream {self.stream.name}: layer {layer} of sequence {n} was seen {times} times"
            )
        sums, by_class = {}, {}
        for kept in self._kept:
            for kind, hits in kept.hits.items():
                key = Key(kept.column.detector.name, kept.column.role, kind)
                sums[key] = kept.sums(kind, 0, 0)
                if hits.shape[-1] > 1:
                    named = slice(1, 1 + self._n_classes)
                    both = slice(1 + self._n_classes, None)
                    nulls = (named, both) if kept.column.n_shifted else (named,)
                    by_class[key] = ClassSums(
                        tuple(kept.sums(kind, named, null) for null in nulls),
                        self.stream.class_names,
                    )
        return StreamSums(self.stream.name, sums, by_class)

    def _masks(
        self, kept: _Kept, rows: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch query key column"], Float[Tensor, "batch query column group"]]:
        """The masks of one detector, and the rows that count. Keeps how many these are."""
        own = self.stream.take(rows)
        streams = [own]
        if kept.column.n_shifted:
            streams += [self.stream.shifted(rows, s) for s in self._shifts]
        targets = [kept.column.targets(s) for s in streams]
        for other in targets[1:]:
            same = torch.equal(other.rows, targets[0].rows)
            kept.differ |= not (same and torch.equal(other.mask, targets[0].mask))
        masks = torch.stack([t.mask for t in targets], -1).float()
        groups = torch.stack(
            [
                self._groups(t, s, own, kept.column.by_class)
                for t, s in zip(targets, streams, strict=True)
            ],
            -2,
        ).float()
        at = rows.cpu().numpy()
        counted = groups.double().sum(1).cpu().numpy()  # [batch, column, group]
        kept.rows[0, at] = counted[:, 0]
        if kept.column.n_shifted:
            kept.rows[1, at] = counted[:, 1:].mean(1)
        for i, hits in enumerate(_uniform_hits(masks[..., 0], groups[..., 0, :])):
            kept.uniform[i, at] = hits.cpu().numpy()
        return masks, groups

    def _groups(
        self, targets: Targets, stream: Stream, own: Stream, by_class: bool
    ) -> Bool[Tensor, "batch query group"]:
        """All eligible rows; those of each class in `stream`; and those of it in `own` as well."""
        eligible = targets.rows.unsqueeze(-1)
        if stream.classes is None or own.classes is None:
            return eligible
        of, here = (one_hot(x, self._n_classes).bool() for x in (stream.classes, own.classes))
        named = eligible & of & torch.tensor(by_class, device=of.device)
        return torch.cat([eligible, named, named & here], -1)


def _uniform_hits(
    mask: Float[Tensor, "batch query key"], groups: Float[Tensor, "batch query group"]
) -> tuple[Float[Tensor, "batch group"], Float[Tensor, "batch group"]]:
    """Hits of weights that are spread evenly over all keys of a row, and over all but the first."""
    seen = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    shares = mask.sum(-1) / seen, mask[..., 1:].sum(-1) / (seen - 1).clamp(min=1)
    all_keys, later = (torch.einsum("bi,big->bg", x.double(), groups.double()) for x in shares)
    return all_keys, later


def layer_sums(
    weights: Float[Tensor, "batch head query key"],
    masks: Float[Tensor, "batch query key column"],
    groups: Float[Tensor, "batch query column group"],
) -> Float[Tensor, "batch head column group"]:
    """Weight on the targets of each column, summed over the rows of each group."""
    on_targets = torch.einsum("bhij,bijk->bihk", weights, masks)
    return torch.einsum("bihk,bikg->bhkg", on_targets, groups)


def naming_weights(signed: bool) -> WeightKind:
    """The weights whose score names a head: attention, or contributions of signed patterns."""
    return "contribution" if signed else "attention"


def concatenate(parts: Sequence[StreamSums]) -> StreamSums:
    """The sums of streams with the same detectors, such as sentences of several lengths.

    By class they are left out. Raises DataError for streams of other names or detectors.
    """
    first = parts[0]
    if any(p.stream != first.stream or set(p.sums) != set(first.sums) for p in parts):
        raise DataError(f"streams that are not all {first.stream}, with the same detectors")

    def joined(key: Key) -> Sums:
        found = [p.sums[key] for p in parts]
        hits, rows = (np.concatenate([getattr(s, x) for s in found]) for x in ("hits", "rows"))
        if found[0].null_hits is None:
            return Sums(hits, rows)
        null_hits, null_rows = (
            np.concatenate([np.asarray(getattr(s, x)) for s in found])
            for x in ("null_hits", "null_rows")
        )
        return Sums(hits, rows, null_hits, null_rows, any(s.differ for s in found))

    return StreamSums(first.stream, {key: joined(key) for key in first.sums}, {})


def _columns(stream: Stream, detectors: Sequence[Detector], n_shifts: int) -> list[_Column]:
    found: list[_Column] = []
    first = 0
    for d in detectors:
        asked: list[tuple[Role, Callable[[Stream], Targets], int, bool]] = []
        if stream.name in d.streams:
            shifts = n_shifts if d.null == "mismatch" else 0
            asked.append(("score", d.targets, shifts, d.by_class and d.null != "control"))
        if stream.name == d.control:
            asked.append(("control", d.targets, 0, False))
        if d.protocol and stream.name in (d.protocol.stream, d.protocol.less):
            asked.append(("protocol", d.protocol.targets, 0, False))
        for role, targets, shifts, by_class in asked:
            found.append(_Column(d, role, targets, first, shifts, by_class))
            first += 1 + shifts
    if not found:
        raise DataError(f"stream {stream.name}: no detector asks for it")
    return found
