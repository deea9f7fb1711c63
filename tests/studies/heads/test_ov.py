"""Successor, copy and suppression in hand-made weights, and grouped key-value heads."""

# ruff: noqa: N806

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from zscope.studies.heads.ov import (
    copying,
    ov_scores,
    predecessor,
    raw_copy,
    succession,
    suppression,
)

N = 10
EYE = torch.eye(N)
NEXT = EYE.roll(1, 1)  # row t has its one at t + 1
MAPS = {"successor": NEXT, "copy": EYE, "predecessor": NEXT.T, "suppression": -EYE}


def rms(x: torch.Tensor) -> torch.Tensor:
    return x / x.pow(2).mean(-1, keepdim=True).sqrt()


def classes(*maps: torch.Tensor) -> list[torch.Tensor]:
    """lambda of heads that map each of ten tokens so; one class. One key-value head each."""
    return [ov_scores(EYE, torch.stack([EYE] * len(maps)), torch.stack(maps), EYE, rms, rms)]


def test_each_map_is_found_and_not_taken_for_another():
    found = classes(*MAPS.values())
    for i, measure in enumerate((succession, copying, predecessor, suppression)):
        rates = measure(found, 0.95)
        expected = np.zeros(4)
        expected[i] = 1
        if measure is copying:
            assert rates.n == N
        if measure is suppression:
            assert rates.rate[3] == 1
            assert rates.rate[1] == 0
        else:
            assert rates.rate[:3] == pytest.approx(expected[:3])
            assert rates.low[i] > 0.6
            assert rates.p[i] < 1e-6
    assert succession(found, 0.95).n == N - 1


def test_the_class_mean_is_taken_off():
    """A head that raises token 3 whatever it reads maps nothing: the constant is no copy of 3."""
    always_3 = torch.ones(N, 1) * EYE[3] * 50
    (with_mean,) = classes(NEXT + always_3)
    plain = lambda x: x  # noqa: E731
    scores = ov_scores(EYE, EYE[None], (NEXT + always_3)[None], EYE, plain, plain)
    assert succession([scores], 0.95).rate.tolist() == [1]
    assert with_mean.mean(1).abs().max() < 1e-5


def test_p_is_the_binomial_one_and_chance_is_that_of_each_class():
    found = classes(*MAPS.values())
    copies = copying(found, 0.95)
    for hits, p in zip(copies.hits, copies.p, strict=True):
        assert p == pytest.approx(binomtest(int(hits), N, 1 / N, alternative="greater").pvalue)
    two = copying([found[0], found[0][:, :5, :5]], 0.95)
    assert two.chance == pytest.approx((10 * 0.1 + 5 * 0.2) / 15)
    assert two.n == 15
    with pytest.raises(ValueError, match="no class"):
        copying([], 0.95)


def test_query_heads_read_the_key_value_head_of_their_group():
    """4 heads on 2 key-value heads: only head 1 (group 0) undoes what its own value does."""
    turn, other = NEXT, EYE.roll(3, 1)
    W_v = torch.stack([turn, other])
    W_o = torch.stack([EYE, turn.T, EYE, turn.T])
    plain = lambda x: x  # noqa: E731
    found = [ov_scores(EYE, W_v, W_o, EYE, plain, plain)]
    assert copying(found, 0.95).rate.tolist() == [0, 1, 0, 0]
    assert raw_copy(EYE, W_v, W_o, EYE).tolist() == [0, 1, 0, 0]
    tiled = [ov_scores(EYE, W_v.repeat(2, 1, 1), W_o, EYE, plain, plain)]
    assert copying(tiled, 0.95).rate.tolist() != [0, 1, 0, 0]
    with pytest.raises(ValueError, match="3 heads cannot share 2"):
        raw_copy(EYE, W_v, W_o[:3], EYE)


def test_signs_of_v_and_o_cancel():
    draws = torch.Generator().manual_seed(0)
    states, W_v, W_o = (
        torch.randn(*shape, generator=draws) for shape in ((6, 8), (2, 8, 4), (4, 4, 8))
    )
    unembed = torch.randn(8, 6, generator=draws)
    scores = ov_scores(states, W_v, W_o, unembed, rms, rms)
    assert torch.equal(ov_scores(states, -W_v, -W_o, unembed, rms, rms), scores)
    by_hand = rms(rms(states[2]) @ W_v[1] @ W_o[3]) @ unembed
    others = torch.stack([rms(rms(s) @ W_v[1] @ W_o[3]) @ unembed for s in states])
    assert torch.allclose(scores[3, 2], by_hand - others.mean(0), atol=1e-4)
