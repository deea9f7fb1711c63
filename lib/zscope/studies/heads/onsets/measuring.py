"""The heads that the last step names, at every checkpoint: rows of table heads_checkpoints.

Scores are of the sequences that named the heads, and effects of those that their ablation was
measured on, so that the rows of the last step are those of tables heads_scores and
heads_ablations. Nothing is tested, because the heads are named already.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from zscope.config.base import Bootstrap
from zscope.core.provenance import derive_seed
from zscope.models.attention_view import AttentionView
from zscope.stats import bootstrap_interval, finite
from zscope.studies.heads.ablating import Ablated, measure_together
from zscope.studies.heads.asked.model import AskedModel
from zscope.studies.heads.behaviours import Behaviour
from zscope.studies.heads.detector import Detector
from zscope.studies.heads.head_sets import Head, Heads, heads_text, sets_like
from zscope.studies.heads.measuring import KeptStream
from zscope.studies.heads.onsets.followed import Followed, Following
from zscope.studies.heads.registry import load_detectors
from zscope.studies.heads.scores import Scores, class_scores, score
from zscope.studies.heads.settings import DetectorSettings
from zscope.studies.heads.sums import Key, StreamSums, naming_weights
from zscope.studies.heads.tables import (
    EFFECT,
    EXCESS,
    NAMED,
    OF_MODEL,
    ON_CONTROL,
    OTHER,
    RANDOM_SET,
    SCORE,
    SET,
)
from zscope.tables.schema import Row

_EMPTY: Row = {"heads": "", "like": "", "query_class": None, "offset": None, "null": None}


# --- scores --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scoring:
    """How heads are scored. min_rows: a class of query tokens with fewer rows has no score."""

    settings: DetectorSettings
    min_rows: int
    batch_size: int
    bootstrap: Bootstrap


Kept = dict[str, KeptStream]
"""By name: the streams of a model, which are the same at all of its checkpoints."""


def score_rows(
    model: AskedModel, asked: Sequence[Following], how: Scoring, kept: Kept | None = None
) -> Iterator[Row]:
    """The score of every named head, and of the other heads of its layer in the same class and at
    the same offset. Without subject, model and step.

    kept: what an earlier checkpoint of the same training left there, and this one adds to.
    """
    streams = {} if kept is None else kept
    for stream in dict.fromkeys(f.stream for f in asked if f.heads):
        of_stream = [f for f in asked if f.stream == stream and f.heads]
        found = {f.detector: _detectors(f, model.signed, how.settings) for f in of_stream}
        if stream not in streams:
            (sequences,) = model.streams[stream]
            detectors = [d for ds in found.values() for d in ds]
            streams[stream] = KeptStream(model, sequences, detectors, how.settings, how.batch_size)
        sums = streams[stream].sums(model.view)
        for f in of_stream:
            yield from _score_rows(f, sums, found[f.detector], model, how)


def _detectors(f: Following, signed: bool, settings: DetectorSettings) -> list[Detector]:
    """Those whose scores are followed, asked for nothing else."""
    weights = (naming_weights(signed),)
    return [
        replace(d, streams=(f.stream,), weights=weights, protocol=None)
        for d in load_detectors(f.detector, settings)
        if d.question == f.detector and (d.family is None or d.offset in f.offsets)
    ]


def _score_rows(
    f: Following,
    sums: StreamSums,
    detectors: Sequence[Detector],
    model: AskedModel,
    how: Scoring,
) -> Iterator[Row]:
    by_offset = {d.offset if d.family else None: d for d in detectors}
    scored: dict[tuple[int | None, bool], tuple[Scores, Sequence[str]]] = {}
    for one in f.heads:
        key = one.offset, one.query_class is not None
        if key not in scored:
            weights = naming_weights(model.signed)
            of = Key(by_offset[one.offset].name, "score", weights)
            scored[key] = _scores(sums, of, key[1], how)
        scores, classes = scored[key]
        layer, head = one.head
        for other in range(model.view.n_heads):
            if other == head or (layer, other) not in f.named:
                yield _score_row(f.detector, one, (layer, other), scores, classes)


def _scores(
    sums: StreamSums, key: Key, by_class: bool, how: Scoring
) -> tuple[Scores, Sequence[str]]:
    """Of every head, without tests; with the names of the classes if they are by class."""
    if not by_class:
        return score(sums.sums[key], bootstrap=how.bootstrap, flips=0), ()
    of = sums.by_class[key]
    found = class_scores(of, bootstrap=how.bootstrap, flips=0, min_rows=how.min_rows)
    return found, of.class_names


def _score_row(
    detector: str, one: Followed, head: Head, scores: Scores, classes: Sequence[str]
) -> Row:
    at = head if one.query_class is None else (*head, classes.index(one.query_class))
    itself = head == one.head
    return {
        **_EMPTY,
        "detector": detector,
        "metric": SCORE,
        "chosen_by": NAMED if itself else OTHER,
        "heads": heads_text([head]),
        "like": "" if itself else heads_text([one.head]),
        "query_class": one.query_class,
        "offset": one.offset,
        "value": finite(scores.score[at]),
        "ci_low": finite(scores.low[at]),
        "ci_high": finite(scores.high[at]),
        "null": finite(scores.null[at]),
        "n": int(scores.n[at]),
    }


# --- effects -------------------------------------------------------------------------------------


def random_sets(
    asked: Sequence[Following], n_heads: int, most: int, seed: int
) -> dict[str, list[Heads]]:
    """By detector, at most so many other sets with as many heads in each layer, drawn once for all
    checkpoints."""
    found = {}
    for f in asked:
        rng = np.random.default_rng(derive_seed(seed, f"random sets over checkpoints {f.detector}"))
        found[f.detector] = list(sets_like(f.named, n_heads, most, rng)) if f.heads else []
    return found


def effect_rows(
    view: AttentionView,
    behaviours: Mapping[str, Behaviour],
    asked: Sequence[Following],
    sets: Mapping[str, Sequence[Heads]],
    bootstrap: Bootstrap,
) -> Iterator[Row]:
    """Of every detector how much worse the model is at its behaviour than it could be, and what
    ablating the named heads together, and random sets like them, costs it, and the control.

    Detectors whose behaviours are not there are left out. Without subject, model and step.
    """
    there = [f for f in asked if f.own in behaviours and f.control in behaviours]
    cases: dict[str, list[Heads]] = {}
    for f in there:
        of_own, of_control = cases.setdefault(f.own, []), cases.setdefault(f.control, [])
        if f.heads:
            of_own += [f.named, *sets[f.detector]]
            of_control.append(f.named)
    ablated = {name: Ablated(view, behaviours[name], bootstrap) for name in cases}
    measure_together(ablated.values(), [heads for of in cases.values() for heads in of])
    found = {name: _measured(ablated[name], of_this) for name, of_this in cases.items()}
    for f in there:
        row, (excess, own) = {**_EMPTY, "detector": f.detector}, found[f.own]
        if excess is not None:
            yield {**row, "metric": EXCESS, "chosen_by": OF_MODEL, **excess}
        if not f.heads:
            continue
        row |= {"chosen_by": SET, "heads": heads_text(f.named)}
        yield {**row, "metric": EFFECT, **own[f.named]}
        yield {**row, "metric": ON_CONTROL, **found[f.control][1][f.named]}
        for heads in sets[f.detector]:
            columns = {"heads": heads_text(heads), "like": heads_text(f.named)}
            yield {**row, **columns, "metric": EFFECT, "chosen_by": RANDOM_SET, **own[heads]}


def _measured(ablated: Ablated, cases: Sequence[Heads]) -> tuple[Row | None, dict[Heads, Row]]:
    """The model's excess, if its least harm is known, and the effect of each case."""
    behaviour = ablated.behaviour
    least = behaviour.least
    effects = ablated.effects(cases) if cases else []
    harms = [] if least is None else [ablated.harm() - least]
    if not harms and not effects:
        return None, {}
    columns = np.stack([*harms, *effects], 1)
    counts = behaviour.counts
    low, high = bootstrap_interval(columns, counts, bootstrap=ablated.bootstrap)
    n = int((counts > 0).sum())
    rows = [
        {"value": float(value), "ci_low": finite(a), "ci_high": finite(b), "n": n}
        for value, a, b in zip(columns.sum(0) / counts.sum(), low, high, strict=True)
    ]
    return rows[0] if harms else None, dict(zip(cases, rows[len(harms) :], strict=True))
