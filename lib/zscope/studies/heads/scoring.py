"""The rows of table heads_scores, from the sums of all detectors of a subject."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from zscope.config.base import Bootstrap
from zscope.stats import finite
from zscope.studies.heads.detector import Detector
from zscope.studies.heads.naming import Answer, name_heads
from zscope.studies.heads.protocol import ProtocolAnswer
from zscope.studies.heads.scores import Scores
from zscope.studies.heads.settings import NamingSettings
from zscope.studies.heads.sums import StreamSums
from zscope.studies.heads.sums_file import Measured
from zscope.tables.schema import Row


def score_rows(
    measured: Mapping[str, Measured],
    detectors: Mapping[str, Sequence[Detector]],
    *,
    bootstrap: Bootstrap,
    settings: NamingSettings,
) -> Iterator[Row]:
    """Rows of one model without its subject.

    measured: by module of the detector. detectors: those of each module.
    """
    there = {name: m for name, m in measured.items() if m.skipped is None}
    if not there:
        return
    first = next(iter(there.values()))
    answers = name_heads(
        _joined([s for m in there.values() for s in m.sums]),
        [d for name in there for d in detectors[name]],
        bootstrap=bootstrap,
        settings=settings,
        signed=first.signed,
    )
    protocol = {a.question: a for m in there.values() for a in m.protocol}
    for answer in answers:
        yield from _rows(first.model, answer, protocol.get(answer.asked.question))


def _joined(sums: Sequence[StreamSums]) -> list[StreamSums]:
    """One entry for each stream, with the sums of all detectors."""
    found: dict[str, list[StreamSums]] = {}
    for s in sums:
        found.setdefault(s.stream, []).append(s)
    return [
        StreamSums(
            name,
            {key: x for s in parts for key, x in s.sums.items()},
            {key: x for s in parts for key, x in s.by_class.items()},
        )
        for name, parts in found.items()
    ]


def _rows(model: str, answer: Answer, protocol: ProtocolAnswer | None) -> Iterator[Row]:
    kinds = {answer.weights: answer.scores, **answer.beside}
    for kind, scores in kinds.items():
        names = kind == answer.weights
        for at in np.ndindex(scores.score.shape):
            yield {
                "model": model,
                "detector": answer.asked.question,
                "stream": answer.asked.stream,
                "weights": kind,
                "layer": at[0],
                "head": at[1],
                "names": names,
                **_score(scores, at),
                "q": finite(float(answer.q[at])) if names else None,
                "named": bool(names and answer.named[at]),
                "named_by_class": bool(names and answer.named_by_class[at]),
                **_best_class(answer if names else None, at),
                "offset": int(answer.offset[at]) if answer.offset[at] >= 0 else None,
                # The protocol has one number for a question, on sequences of its own.
                "protocol_value": finite(float(protocol.value[at])) if names and protocol else None,
                "protocol_verdict": bool(names and protocol is not None and protocol.named[at]),
                "reachable": answer.reachable,
            }


def _score(scores: Scores, at: tuple[int, ...]) -> dict[str, Any]:
    names = {"raw": "raw", "null": "null", "value": "score", "p": "p"}
    names |= {"ci_low": "low", "ci_high": "high"}
    found: dict[str, Any] = {to: finite(getattr(scores, x)[at]) for to, x in names.items()}
    return found | {"rows": float(scores.rows[at]), "n": int(scores.n[at])}


def _best_class(answer: Answer | None, at: tuple[int, ...]) -> dict[str, Any]:
    best = None if answer is None else answer.by_class
    if best is None or best.index[at] < 0:
        columns = ("best_class", "class_value", "class_low", "class_high", "class_q", "class_rows")
        return dict.fromkeys(columns)
    return {
        "best_class": best.names[best.index[at]],
        "class_value": finite(best.score[at]),
        "class_low": finite(best.low[at]),
        "class_high": finite(best.high[at]),
        "class_q": finite(best.q[at]),
        "class_rows": float(best.rows[at]),
    }
