"""Scores, sign flips, q and names, against slow or independent ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from statsmodels.stats.multitest import multipletests

from zscope.config.base import Bootstrap
from zscope.studies.heads.detector import Detector, always
from zscope.studies.heads.naming import name_heads
from zscope.studies.heads.profiles import profile_rows
from zscope.studies.heads.registry import load_detectors
from zscope.studies.heads.scores import class_scores, score
from zscope.studies.heads.settings import DetectorSettings, NamingSettings
from zscope.studies.heads.streams import Stream
from zscope.studies.heads.sums import ClassSums, Collector, Key, StreamSums, Sums
from zscope.studies.heads.sums_file import Measured

BOOTSTRAP = Bootstrap(resamples=300)


def detector(name: str, kind="content", family=None, offset=None) -> Detector:
    return Detector(
        name, ("text",), lambda s: None, "uniform", kind, always, family=family, offset=offset
    )


def sums_of(
    excess: np.ndarray, rng: np.random.Generator, null: float = 0.1, rows: int = 20
) -> Sums:
    """Sums of 40 sequences whose heads [head] have these mean excesses over the null, in shares."""
    hits = rows * (null + excess + 0.05 * rng.standard_normal((40, *excess.shape)))[:, None]
    ones = np.ones((40, 1, 1))
    return Sums(hits, rows * ones, rows * null * ones, rows * ones)


def named(sums: dict[str, Sums], detectors, by_class=None):
    stream = StreamSums(
        "text",
        {Key(name, "score", "attention"): s for name, s in sums.items()},
        {Key(name, "score", "attention"): c for name, c in (by_class or {}).items()},
    )
    found = name_heads(
        [stream], detectors, bootstrap=BOOTSTRAP, settings=NamingSettings(max_flips=20_000)
    )
    return {a.asked.question: a for a in found}


def test_a_score_and_its_interval_by_hand(rng):
    """Against resampling one sequence after another, null inside."""
    hits, rows = rng.uniform(0, 5, (7, 1, 2)), rng.integers(5, 9, (7, 1, 1)).astype(float)
    null_hits = rng.uniform(0, 2, (7, 1, 2))
    found = score(Sums(hits, rows, null_hits, rows), bootstrap=BOOTSTRAP, flips=1000)
    raw, null = hits.sum(0) / rows.sum(), null_hits.sum(0) / rows.sum()
    assert found.score == pytest.approx((raw - null) / (1 - null))
    draws = np.random.default_rng(BOOTSTRAP.seed).multinomial(7, np.full(7, 1 / 7), size=300)
    resampled = []
    for draw in draws:
        which = np.repeat(np.arange(7), draw)
        a, r, c = (x[which].sum(0) for x in (hits, rows, null_hits))
        resampled.append((a - c) / (r - c))
    low, high = np.quantile(resampled, BOOTSTRAP.tails, axis=0)
    assert found.low == pytest.approx(low)
    assert found.high == pytest.approx(high)
    assert (found.rows == rows.sum()).all()
    assert (found.n == 7).all()


def test_what_has_no_score_is_undefined():
    """A null of 1, no rows, or the same targets in every sequence; and sums without any null."""
    ones, zeros = np.ones((5, 1, 1)), np.zeros((5, 1, 1))
    for sums in (
        Sums(ones, ones, ones, ones),
        Sums(zeros, zeros, zeros, zeros),
        Sums(ones, ones, zeros, ones, differ=False),
    ):
        found = score(sums, bootstrap=BOOTSTRAP, flips=1000)
        assert np.isnan([found.score, found.low, found.high, found.p]).all()
    with pytest.raises(ValueError, match="without a null"):
        score(Sums(ones, ones), bootstrap=BOOTSTRAP, flips=1000)


def test_q_is_benjamini_hochberg_over_heads_and_detectors(rng):
    sums = {x: sums_of(0.02 * rng.standard_normal(30), rng) for x in ("one", "two")}
    sums["sink"] = sums_of(np.full(30, 0.5), rng)
    found = named(sums, [detector("one"), detector("two"), detector("sink", "reported")])
    p = np.concatenate([found[x].scores.p.ravel() for x in ("one", "two")])
    q = np.concatenate([found[x].q.ravel() for x in ("one", "two")])
    assert q == pytest.approx(multipletests(p, method="fdr_bh")[1])
    alone = multipletests(found["sink"].scores.p.ravel(), method="fdr_bh")[1]
    assert found["sink"].q.ravel() == pytest.approx(alone)


def test_a_name_needs_q_and_a_least_score_which_positional_heads_have_higher(rng):
    """Heads at 0, at a significant .05, at .25 and at .6; a reported one is never named."""
    excess = np.array([0, 0.05, 0.25, 0.6]) * 0.9
    kinds = {"content": "content", "positional": "positional", "sink": "reported"}
    found = named(
        {name: sums_of(excess, rng) for name in kinds}, [detector(n, k) for n, k in kinds.items()]
    )
    assert found["content"].q[0, 1] < 0.05
    assert found["content"].named.tolist() == [[False, False, True, True]]
    assert found["positional"].named.tolist() == [[False, False, False, True]]
    assert found["sink"].q[0, 3] < 0.05
    assert not found["sink"].named.any()


def test_a_family_is_one_question_and_its_best_member_pays_for_the_choice(rng):
    members = [detector(f"offset_{d}", family="positional", offset=d) for d in (1, 2, 3)]
    sums = {
        m.name: sums_of(np.array([0.6 if m.offset == d else 0 for d in (3, 1)]), rng)
        for m in members
    }
    found = named(sums, members)
    assert set(found) == {"positional"}
    answer = found["positional"]
    assert answer.offset.tolist() == [[3, 1]]
    alone = named({"offset_3": sums["offset_3"]}, members)["positional"]
    assert answer.scores.score[0, 0] == alone.scores.score[0, 0]
    assert answer.scores.p[0, 0] == pytest.approx(3 * alone.scores.p[0, 0], rel=0.2)


def test_the_best_class_pays_for_the_choice(rng):
    """Holm over the classes that have a score; a class with few rows has none."""
    rows = np.array([20.0, 20, 20, 0.2]) * np.ones((40, 1, 1, 1))
    excess = np.array([0, 0.6, 0.1, 0.9])
    hits = rows * (0.1 + excess + 0.05 * rng.standard_normal((40, 1, 1, 4)))
    by_class = ClassSums((Sums(hits, rows, 0.1 * rows, rows),), ("a", "b", "c", "d"))
    answer = named(
        {"content": sums_of(np.zeros(1), rng)},
        [detector("content")],
        by_class={"content": by_class},
    )["content"]
    assert not answer.named.any()
    assert answer.named_by_class.all()
    best = answer.by_class
    assert best.names[best.index[0, 0]] == "b"
    assert best.rows[0, 0] == 800
    p = answer.classes.p[0, 0]
    assert np.isnan(p[3])
    assert best.p[0, 0] == pytest.approx(multipletests(p[:3], method="holm")[1][1])


def test_a_class_is_scored_against_its_larger_null(rng):
    rows = np.full((30, 1, 1, 1), 10.0)
    hits = rows * 0.5 + rng.standard_normal((30, 1, 1, 1))
    small, large = (Sums(hits, rows, x * rows, rows) for x in (0.1, 0.45))
    for nulls in ((small, large), (large, small)):
        found = class_scores(ClassSums(nulls, ("a",)), bootstrap=BOOTSTRAP, flips=2000, min_rows=20)
        assert found.null[0, 0] == pytest.approx([0.45])
        assert found.score[0, 0, 0] == score(large, bootstrap=BOOTSTRAP, flips=2000).score[0, 0, 0]
    nothing = Sums(hits, rows, 0 * rows, 0 * rows)
    found = class_scores(
        ClassSums((small, nothing), ("a",)), bootstrap=BOOTSTRAP, flips=2000, min_rows=20
    )
    assert np.isnan([found.score, found.low, found.p]).all()


def test_too_few_sequences_to_name_a_head_are_told(rng):
    sums = sums_of(np.array([0.6, 0, 0]), rng)
    few = Sums(sums.hits[:4], sums.rows[:4], sums.null_hits[:4], sums.null_rows[:4])
    assert named({"content": sums}, [detector("content")])["content"].reachable
    answer = named({"content": few}, [detector("content")])["content"]
    assert not answer.reachable
    assert not answer.named.any()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_profile_is_the_mean_weight_at_every_distance():
    """Of patterns that are known: head 0 looks two back where it can, head 1 evenly."""
    settings = DetectorSettings(max_offset=3)
    detectors = load_detectors("positional", settings)
    n, seq = 9, 8
    ids = torch.randint(5, (n, seq), generator=torch.Generator().manual_seed(0))
    stream = Stream("text", ids)
    collector = Collector(stream, detectors, settings, n_layers=1, n_heads=2, signed=False)
    even = torch.ones(seq, seq).tril() / torch.arange(1, seq + 1)[:, None]
    back = torch.eye(seq)[[0, 0, *range(seq - 2)]]
    pattern = torch.stack([back, even]).expand(n, 2, seq, seq)
    values, w_o = torch.randn(n, 2, seq, 3), torch.randn(2, 3, 6)
    collector.visit(collector.batch(torch.arange(n)), 0, pattern, values, w_o)
    measured = Measured("m", False, None, [collector.finish()], [])
    rows = list(profile_rows(measured, detectors, BOOTSTRAP))
    found = {(r["head"], r["offset"]): r for r in rows}
    assert [found[0, d]["value"] for d in (0, 2, 3)] == pytest.approx([0, 1, 0])
    for d in range(4):
        first = max(2, d + 1)
        expected = np.mean([1 / (i + 1) for i in range(first, seq)])
        assert found[1, d]["value"] == pytest.approx(expected)
        assert found[1, d]["null"] == found[0, d]["null"] == pytest.approx(expected)
    assert list(profile_rows(measured, load_detectors("previous", settings), BOOTSTRAP)) == []
