"""Which heads are named for what: q over layers, heads and detectors, and a least score.

A head is named by all rows, or by the class of query tokens in which it scores best (a gated head).
Reported detectors have a q of their own, and name nobody.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from zscope.config.base import Bootstrap
from zscope.stats import holm
from zscope.studies.heads.detector import Detector, Kind
from zscope.studies.heads.scores import Scores, class_scores, score
from zscope.studies.heads.settings import NamingSettings
from zscope.studies.heads.sums import Key, StreamSums, Sums, naming_weights
from zscope.studies.heads.weights import WEIGHT_KINDS, WeightKind


class Asked(NamedTuple):
    """A question: a detector, or the best one of a family, on a stream."""

    question: str
    stream: str


FEWEST_FLIPS = 10_000


@dataclass(frozen=True, eq=False)
class BestClass:
    """The class of query tokens in which a head's score has the highest lower end.

    index: of the class; -1 where no class has a score. p: Holm over the classes.
    """

    index: Int[np.ndarray, "layer head"]
    score: Float[np.ndarray, "layer head"]
    low: Float[np.ndarray, "layer head"]
    high: Float[np.ndarray, "layer head"]
    p: Float[np.ndarray, "layer head"]
    q: Float[np.ndarray, "layer head"]
    rows: Float[np.ndarray, "layer head"]
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Answer:
    """What one question says of every head.

    Attributes:
        asked: the detector, or the family whose best detector counts, and the stream.
        scores: by the weights that name.
        beside: by the other weights; for a family of the same detector of each head.
        q: Benjamini-Hochberg over the heads of all questions that name, or of all that do not.
        offset: of the best detector of a family; -1 for other questions.
        by_class: the best class, where there are classes.
        classes: the scores of every class.
        named: by all rows.
        named_by_class: by the best class.
        reachable: whether one head alone could have q below the bound, with so many sequences,
            sign flips and heads. If not, a head without a name says nothing.
    """

    asked: Asked
    kind: Kind
    weights: WeightKind
    scores: Scores
    beside: Mapping[WeightKind, Scores]
    q: Float[np.ndarray, "layer head"]
    offset: Int[np.ndarray, "layer head"]
    by_class: BestClass | None
    classes: Scores | None
    named: Bool[np.ndarray, "layer head"]
    named_by_class: Bool[np.ndarray, "layer head"]
    reachable: bool


@dataclass(frozen=True, eq=False)
class _Scored:
    """A question before q is known."""

    asked: Asked
    kind: Kind
    scores: Scores
    beside: Mapping[WeightKind, Scores]
    offset: Int[np.ndarray, "layer head"]
    classes: Scores | None
    class_names: tuple[str, ...]


def name_heads(
    streams: Sequence[StreamSums],
    detectors: Sequence[Detector],
    *,
    bootstrap: Bootstrap,
    settings: NamingSettings,
    signed: bool = False,
) -> list[Answer]:
    """Every question that these sums answer, and the heads that it names.

    A detector whose streams, or whose control, are not there asks nothing. signed: as of the
    collector. Raises DataError if the prompts and the controls of a detector do not match.
    """
    found = {s.stream: s for s in streams}
    weights = naming_weights(signed)
    asked = _questions(found, detectors, weights)
    counts = [next(iter(found[a.stream].sums.values())).hits.shape[1:3] for a in asked]
    naming = [ds[0].kind != "reported" for ds in asked.values()]
    n_tests = sum(math.prod(c) for c, names in zip(counts, naming, strict=True) if names)
    members = [len(ds) for ds in asked.values()]
    classes = [len(c.class_names) for s in streams for c in s.by_class.values()]
    splits = max([1, *members, *classes])
    # Twice as many as let one head alone reach the bound.
    flips = min(
        settings.max_flips, max(FEWEST_FLIPS, math.ceil(2 * n_tests * splits / settings.max_q))
    )
    scored = [
        _scored(a, ds, found, weights, bootstrap, flips, settings.min_rows)
        for a, ds in asked.items()
    ]
    return _answers(scored, weights, settings, flips)


def _questions(
    found: Mapping[str, StreamSums], detectors: Sequence[Detector], weights: WeightKind
) -> dict[Asked, list[Detector]]:
    """The detectors of each question that can be answered."""
    asked: dict[Asked, list[Detector]] = {}
    for d in detectors:
        for stream in d.streams:
            wanted = [(stream, Key(d.name, "score", weights))]
            if d.control is not None:
                wanted.append((d.control, Key(d.name, "control", weights)))
            if all(name in found and key in found[name].sums for name, key in wanted):
                asked.setdefault(Asked(d.question, stream), []).append(d)
    return asked


def _scored(
    asked: Asked,
    detectors: Sequence[Detector],
    found: Mapping[str, StreamSums],
    weights: WeightKind,
    bootstrap: Bootstrap,
    flips: int,
    min_rows: int,
) -> _Scored:
    def of(d: Detector, kind: WeightKind) -> Scores:
        # Other weights name nobody: their p is read, and corrected for nothing.
        most = flips if kind == weights else min(flips, FEWEST_FLIPS)
        return score(_with_null(d, asked.stream, found, kind), bootstrap=bootstrap, flips=most)

    members = [of(d, weights) for d in detectors]
    best = _best(members)
    others = [
        k
        for k in WEIGHT_KINDS
        if k != weights and Key(detectors[0].name, "score", k) in found[asked.stream].sums
    ]
    beside = {k: _pick([of(d, k) for d in detectors], best) for k in others}
    by_class = found[asked.stream].by_class.get(Key(detectors[0].name, "score", weights))
    offsets = np.array(
        [-1 if d.family is None or d.offset is None else d.offset for d in detectors]
    )
    return _Scored(
        asked,
        detectors[0].kind,
        _pick(members, best),
        beside,
        offsets[best],
        None
        if by_class is None
        else class_scores(by_class, bootstrap=bootstrap, flips=flips, min_rows=min_rows),
        () if by_class is None else by_class.class_names,
    )


def _with_null(d: Detector, stream: str, found: Mapping[str, StreamSums], kind: WeightKind) -> Sums:
    sums = found[stream].sums[Key(d.name, "score", kind)]
    if d.control is None:
        return sums
    return sums.against(found[d.control].sums[Key(d.name, "control", kind)])


def _best(members: Sequence[Scores]) -> Int[np.ndarray, "layer head"]:
    """Which member of a family has each head's highest score."""
    scores = np.stack([s.score for s in members])
    return np.where(np.isnan(scores), -np.inf, scores).argmax(0)


def _pick(members: Sequence[Scores], best: Int[np.ndarray, "layer head"]) -> Scores:
    """Each head's best member; its p, times the members, allows for the choice (Bonferroni)."""

    def picked(name: str) -> np.ndarray:
        stacked = np.stack([getattr(s, name) for s in members])
        return np.take_along_axis(stacked, best[None], 0)[0]

    parts = {f.name: picked(f.name) for f in fields(Scores)}
    return Scores(**parts | {"p": np.minimum(1, parts["p"] * len(members))})


def _answers(
    scored: Sequence[_Scored], weights: WeightKind, settings: NamingSettings, flips: int
) -> list[Answer]:
    groups = [s.kind == "reported" for s in scored]
    q = _false_discovery([s.scores.p for s in scored], groups)
    best = [None if s.classes is None else _best_class(s.classes) for s in scored]
    class_p = [
        np.full(s.scores.p.shape, np.nan) if b is None else b["p"]
        for s, b in zip(scored, best, strict=True)
    ]
    class_q = _false_discovery(class_p, groups)
    n_tests = sum(int(np.isfinite(s.scores.p).sum()) for s in scored if s.kind != "reported")
    answers = []
    for s, q_all, b, q_class in zip(scored, q, best, class_q, strict=True):
        least = settings.min_positional if s.kind == "positional" else settings.min_content
        names = s.kind != "reported"
        by_class = None if b is None else BestClass(**b, q=q_class, names=s.class_names)
        least_p = max(2.0 ** (1 - s.scores.n.max()), 1 / (1 + flips))
        answers.append(
            Answer(
                s.asked,
                s.kind,
                weights,
                s.scores,
                s.beside,
                q_all,
                s.offset,
                by_class,
                s.classes,
                names & (q_all < settings.max_q) & (s.scores.low > least),
                np.zeros(q_all.shape, dtype=bool)
                if by_class is None
                else names & (by_class.q < settings.max_q) & (by_class.low > least),
                bool(least_p * max(n_tests, 1) < settings.max_q),
            )
        )
    return answers


def _best_class(scores: Scores) -> dict[str, np.ndarray]:
    """The parts of a BestClass but q. Ties and classes without a score go to the first class."""
    known = np.isfinite(scores.low)
    index = np.where(known, scores.low, -np.inf).argmax(-1)
    adjusted = np.apply_along_axis(holm, -1, scores.p)

    def picked(x: np.ndarray) -> np.ndarray:
        return np.take_along_axis(x, index[..., None], -1)[..., 0]

    parts = {x: picked(getattr(scores, x)) for x in ("score", "low", "high", "rows")}
    return parts | {"p": picked(adjusted), "index": np.where(known.any(-1), index, -1)}


def _false_discovery(
    p: Sequence[Float[np.ndarray, "layer head"]], groups: Sequence[bool]
) -> list[Float[np.ndarray, "layer head"]]:
    """Benjamini-Hochberg q over all p of a group together; NaN stays, and does not count."""
    from scipy.stats import false_discovery_control

    q = [np.full(x.shape, np.nan) for x in p]
    for group in set(groups):
        members = [i for i, g in enumerate(groups) if g == group]
        flat = np.concatenate([p[i].ravel() for i in members])
        known = np.isfinite(flat)
        if not known.any():
            continue
        flat[known] = false_discovery_control(flat[known])
        for i in members:
            q[i], flat = flat[: p[i].size].reshape(p[i].shape), flat[p[i].size :]
    return q
