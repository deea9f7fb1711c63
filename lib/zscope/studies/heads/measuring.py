"""One detector on one model: its streams are run, and what it asks of the patterns is added up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from zscope.models.attention_view import AttentionView, LayerHeads
from zscope.studies.heads.asked.model import AskedModel
from zscope.studies.heads.detector import Detector
from zscope.studies.heads.protocol import protocol_answers
from zscope.studies.heads.settings import DetectorSettings
from zscope.studies.heads.streams import Stream
from zscope.studies.heads.sums import Batch, Collector, StreamSums, concatenate
from zscope.studies.heads.sums_file import Measured


def measure(
    model: AskedModel,
    detectors: Sequence[Detector],
    settings: DetectorSettings,
    batch_size: int,
) -> Measured:
    """The sums of the detectors of one module, or the first reason why they do not apply.

    A stream that the model does not have is not asked; without any the detector is skipped.
    """
    reasons = [d.applies(model.vocabulary) for d in detectors]
    if reason := next((r for r in reasons if r is not None), None):
        return Measured(model.name, model.signed, reason, [], [])
    wanted = dict.fromkeys(name for d in detectors for name in streams_of(d))
    found = {name: model.streams[name] for name in wanted if name in model.streams}
    if not any(name in found for d in detectors for name in d.streams):
        names = ", ".join(dict.fromkeys(name for d in detectors for name in d.streams))
        return Measured(model.name, model.signed, f"there are no sequences {names}", [], [])
    asked = {
        name: streams
        for name, streams in found.items()
        # The protocol's sequences have no score, and its number is of attention alone.
        if not model.signed or any(name in (*d.streams, d.control) for d in detectors)
    }
    sums = [
        concatenate(parts) if len(parts) > 1 else parts[0]
        for streams in asked.values()
        if (parts := [stream_sums(model, s, detectors, settings, batch_size) for s in streams])
    ]
    if model.signed:
        return Measured(model.name, True, None, sums, [])
    copies = None
    if any(d.protocol and d.protocol.negative_copy for d in detectors) and model.copies:
        copies = model.copies()
    single = {name: streams[0] for name, streams in asked.items() if len(streams) == 1}
    return Measured(
        model.name, False, None, sums, protocol_answers(sums, detectors, single, copies)
    )


def streams_of(d: Detector) -> tuple[str, ...]:
    """Every stream that a detector wants: its own, its control's, and the protocol's."""
    protocol = (d.protocol.stream, d.protocol.less) if d.protocol else ()
    wanted = (*d.streams, d.control, *protocol)
    return tuple(dict.fromkeys(name for name in wanted if name is not None))


def stream_sums(
    model: AskedModel,
    stream: Stream,
    detectors: Sequence[Detector],
    settings: DetectorSettings,
    batch_size: int,
) -> StreamSums:
    """The sums of one stream. Memory does not grow with its sequences."""
    collector = _collector(model, stream, detectors, settings)
    batches = (collector.batch(rows) for rows in torch.arange(len(stream)).split(batch_size))
    return _sums(collector, batches, model.view)


class KeptStream:
    """A stream whose masks are made once, for many models of one shape: checkpoints of a training.

    Holds [n, seq, seq, columns] numbers, as `Collector` says of a batch.
    """

    def __init__(
        self,
        model: AskedModel,
        stream: Stream,
        detectors: Sequence[Detector],
        settings: DetectorSettings,
        batch_size: int,
    ) -> None:
        self._collector = _collector(model, stream, detectors, settings)
        rows = torch.arange(len(stream)).split(batch_size)
        self._batches = [self._collector.batch(some) for some in rows]

    def sums(self, view: AttentionView) -> StreamSums:
        """Of a model that is run on it."""
        self._collector.clear()
        return _sums(self._collector, self._batches, view)


def _collector(
    model: AskedModel, stream: Stream, detectors: Sequence[Detector], settings: DetectorSettings
) -> Collector:
    view = model.view
    return Collector(
        stream,
        detectors,
        settings,
        n_layers=view.n_layers,
        n_heads=view.n_heads,
        signed=model.signed,
    )


@torch.no_grad()
def _sums(collector: Collector, batches: Iterable[Batch], view: AttentionView) -> StreamSums:
    for batch in batches:

        def add(heads: LayerHeads, batch: Batch = batch) -> None:
            collector.visit(
                batch, heads.layer, heads.pattern, heads.values, heads.weights.W_O.detach()
            )

        view.run(collector.stream.ids[batch.rows].to(view.device), visit=add, read=[-1])
    return collector.finish()
