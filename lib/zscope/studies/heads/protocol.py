"""The original protocol's own number and verdict for every head (protocol 003), beside our scores.

Its numbers are means of attention over rows, compared with a threshold; none has a null within the
sequences. So they are not defined for signed patterns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from zscope.core.errors import DataError
from zscope.studies.heads.detector import Detector, ProtocolRule
from zscope.studies.heads.streams import Stream
from zscope.studies.heads.sums import Key, StreamSums


@dataclass(frozen=True, eq=False)
class ProtocolAnswer:
    """value: the protocol's number. named: its verdict. offset: the peak's, -1 for others."""

    question: str
    value: Float[np.ndarray, "layer head"]
    named: Bool[np.ndarray, "layer head"]
    offset: Int[np.ndarray, "layer head"]


def protocol_answers(
    sums: Sequence[StreamSums],
    detectors: Sequence[Detector],
    streams: Mapping[str, Stream],
    raw_copy: Float[np.ndarray, "layer head"] | None = None,
) -> list[ProtocolAnswer]:
    """The protocol's answer to every question whose streams are there.

    streams: by name, for rules that need the share of a mark. raw_copy: of `ov.raw_copy` over the
    names, for the rule that needs it. Raises DataError if either is missing.
    """
    found = {s.stream: s for s in sums}
    values: dict[str, list[tuple[Detector, np.ndarray]]] = {}
    for d in detectors:
        value = None if d.protocol is None else _value(d, d.protocol, found, streams)
        if value is not None:
            values.setdefault(d.question, []).append((d, value))
    answers: dict[str, ProtocolAnswer] = {}
    for question, members in values.items():
        rule = members[0][0].protocol
        assert rule is not None
        stacked = np.stack([v for _, v in members])
        best = np.where(np.isnan(stacked), -np.inf, stacked).argmax(0)
        value = np.take_along_axis(stacked, best[None], 0)[0]
        named = value > rule.threshold
        if rule.negative_copy:
            if raw_copy is None:
                raise DataError(f"the protocol's rule for {question} needs raw copy scores")
            named = named & (raw_copy < 0)
        offsets = np.array(
            [d.offset if rule.peak and d.offset is not None else -1 for d, _ in members]
        )
        answers[question] = ProtocolAnswer(question, value, named, offsets[best])
    for question, members in values.items():
        rule = members[0][0].protocol
        if rule is not None and rule.unless in answers:
            a, other = answers[question], answers[rule.unless]
            answers[question] = ProtocolAnswer(question, a.value, a.named & ~other.named, a.offset)
    return list(answers.values())


def _value(
    d: Detector,
    rule: ProtocolRule,
    found: Mapping[str, StreamSums],
    streams: Mapping[str, Stream],
) -> Float[np.ndarray, "layer head"] | None:
    """The protocol's number; None if a stream of it is not there."""
    key = Key(d.name, "protocol", "attention")
    wanted = [name for name in (rule.stream, rule.less) if name is not None]
    if any(name not in found or key not in found[name].sums for name in wanted):
        return None

    def mean(name: str) -> Float[np.ndarray, "layer head"]:
        sums = found[name].sums[key]
        with np.errstate(invalid="ignore", divide="ignore"):
            return sums.hits.sum(0) / sums.rows.sum(0)

    value = mean(rule.stream)
    if rule.less is not None:
        value = value - mean(rule.less)
    if rule.over is not None:
        if rule.stream not in streams:
            raise DataError(f"the protocol's rule for {d.question} needs the stream {rule.stream}")
        share = float(streams[rule.stream].mark(rule.over).double().mean())
        value = value / share if share else np.full(value.shape, np.nan)
    return value
