"""Planted targets are what they are said to be, their scores see what is planted, and a
decomposition finds it where the penalty is right."""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N806

import numpy as np
import pytest
import torch

from decomposed import BOOTSTRAP
from zscope.studies.components.decomposition.losses import LossSettings
from zscope.studies.components.decomposition.planted import compiled
from zscope.studies.components.decomposition.planted.models import PLANTED
from zscope.studies.components.decomposition.planted.recovery import Recovery, recover
from zscope.studies.components.decomposition.planted.truth import (
    Term,
    match,
    root_of_moments,
    singular,
)
from zscope.studies.components.decomposition.rank_one import Decomposition
from zscope.training import ResumeFolder

pytestmark = pytest.mark.numerics


@pytest.mark.parametrize("kind", PLANTED)
def test_the_true_terms_are_all_of_every_matrix(kind):
    planted = PLANTED[kind](3)
    for group in planted.target.groups:
        for name, W in zip(group.matrices, group.weights, strict=True):
            torch.testing.assert_close(planted.truth[name].matrix, W, rtol=1e-5, atol=1e-5)


def answers_by_hand(row: list[int]) -> np.ndarray:
    """Logits at the last position, by the rules in words, for a sequence of five tokens."""
    w, logits = compiled.words().of, np.zeros(compiled.words().n)
    last = row[-1]
    for at, token in enumerate(row):
        if last in w["bigram"] and token == last:
            logits[w["after_bigram"][w["bigram"].index(last)]] += 1
        if last in w["trigger"] and token == w["anchor"][w["trigger"].index(last)]:
            logits[w["after_skip"][w["trigger"].index(last)]] += 1
        if last in w["query"] and token == w["key"][w["query"].index(last)]:
            logits[w["after_and"][w["query"].index(last)]] += 1
        if at and last in w["first"] and row[at - 1] == last and token in w["second"]:
            logits[token] += 1
    return compiled.LOGIT * logits


def test_the_compiled_transformer_follows_its_rules():
    model, _ = compiled.compiled_model(1)
    ids, rule = compiled.sample(300, torch.Generator().manual_seed(0))
    assert set(rule.tolist()) == {0, 1, 2, 3}
    want = np.array([answers_by_hand(row) for row in ids.tolist()])
    np.testing.assert_allclose(model(ids)[:, -1].numpy(), want, atol=2e-4)
    assert (want.max(1) > 0).mean() > 0.7


def test_the_and_head_attends_to_whole_matches_alone():
    model, _ = compiled.compiled_model(0)
    w = compiled.words().of
    attn, E = model.blocks[0].attn, model.tok_embed.weight
    for i, query in enumerate(w["query"]):
        ids = torch.tensor([*w["key"], query])
        q1, k1, q2, k2, _ = attn.split(attn.project(E[ids][None]))
        pattern = ((q1 @ k1.mT) * (q2 @ k2.mT))[0, compiled.AND, -1]
        want = torch.tensor([float(j == i) for j in range(4)] + [0.0])
        torch.testing.assert_close(pattern, want, rtol=1e-4, atol=1e-4)


def test_the_first_head_looks_one_token_back_and_nowhere_else():
    model, _ = compiled.compiled_model(0)
    attn, E = model.blocks[0].attn, model.tok_embed.weight
    ids = torch.tensor([17, 3, 22, 9, 0])
    q1, k1, q2, k2, _ = attn.split(attn.project(E[ids][None]))
    pattern = ((q1 @ k1.mT) * (q2 @ k2.mT))[0, compiled.PREVIOUS].tril()
    want = torch.zeros(5, 5)
    want[range(1, 5), range(4)] = 1
    torch.testing.assert_close(pattern, want, rtol=1e-4, atol=1e-4)


def test_a_match_is_1_for_the_truth_in_any_order_scale_and_sign():
    rng = np.random.default_rng(0)
    reads, writes = rng.standard_normal((4, 6)), rng.standard_normal((4, 5))
    truth = Term(torch.from_numpy(reads), torch.from_numpy(writes))
    root = root_of_moments(torch.from_numpy(rng.standard_normal((50, 6))))
    order, size = [2, 0, 3, 1], np.array([[2.0], [-1.0], [0.1], [5.0]])
    found = match(truth, reads[order] * size, writes[order], root)
    assert (found.read, found.write, found.both, found.distinct) == pytest.approx((1, 1, 1, 1))
    merged = match(truth, reads.sum(0, keepdims=True), writes.sum(0, keepdims=True), root)
    assert merged.both < 0.8
    assert merged.distinct == 0.25
    assert match(truth, reads[:0], writes[:0], root).both == 0


def test_what_no_input_has_does_not_count_in_a_read():
    x = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]).double()
    truth = Term(torch.tensor([[1.0, 0, 0]]).double(), torch.ones(1, 2).double())
    off = match(truth, np.array([[1.0, 0, 9.0]]), np.ones((1, 2)), root_of_moments(x))
    assert off.read == pytest.approx(1)
    wrong = match(truth, np.array([[1.0, 1.0, 0]]), np.ones((1, 2)), root_of_moments(x))
    assert wrong.read == pytest.approx(0.5**0.5)


def test_singular_vectors_rebuild_their_matrix():
    W = np.random.default_rng(0).standard_normal((5, 3))
    reads, writes = singular(W)
    np.testing.assert_allclose(writes.T @ reads, W)


def test_the_truth_and_the_first_components_are_drawn_apart(tmp_path):
    """Before training the match is that of random components."""
    settings = Recovery(8, 16, 1e-2, LossSettings(penalty=0.03, steps=1, faithful_steps=0))
    rows = recover("linear", settings, 0, ResumeFolder(tmp_path, "k"), BOOTSTRAP)
    start = {r["metric"]: r for r in rows if r["step"] == 0 and r["matrix"] == "W"}
    assert start["both"]["value"] < start["both"]["null_high"] + 0.05


def score(rows, metric, matrix="W"):
    step = max(r["step"] for r in rows)
    (row,) = [r for r in rows if (r["metric"], r["matrix"], r["step"]) == (metric, matrix, step)]
    return row


def test_planted_reads_are_found_and_neither_by_singular_vectors_nor_by_chance(tmp_path):
    loss = LossSettings(penalty=0.03, steps=1200, faithful_steps=100)
    settings = Recovery(n=16, batch=128, lr=1e-2, loss=loss, eval_every=1300)
    rows = recover("linear", settings, 0, ResumeFolder(tmp_path, "k"), BOOTSTRAP)
    found = score(rows, "both")
    assert found["value"] > 0.75
    assert found["value"] > found["null_high"] + 0.2
    assert found["value"] > found["svd"] + 0.15
    assert score(rows, "distinct")["value"] >= 0.75
    # 0.8 terms an input are needed.
    assert 0.5 < score(rows, "active")["value"] < 1.3
    assert score(rows, "kl_unmasked", "all")["value"] < 1e-3


def test_a_penalty_that_is_far_too_large_finds_nothing(tmp_path):
    loss = LossSettings(penalty=1.0, steps=150, faithful_steps=50)
    settings = Recovery(n=12, batch=64, lr=1e-2, loss=loss, eval_every=400)
    rows = recover("linear", settings, 0, ResumeFolder(tmp_path, "k"), BOOTSTRAP)
    assert score(rows, "active")["value"] < 0.1
    assert score(rows, "kl_none", "all")["value"] == pytest.approx(
        score(rows, "kl_importance", "all")["value"], rel=0.2
    )


def test_components_are_no_copies_of_the_target():
    planted = PLANTED["linear"](0)
    a, b = (Decomposition(planted.target, 8, 8, seed) for seed in (0, 1))
    assert (a.V[0] - b.V[0]).abs().max() > 0.1
