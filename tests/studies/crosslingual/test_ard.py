"""ARD-MMD: the matmul form against slow references, what each objective sees, and retrieval."""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N806

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import rbf_kernel

from zscope.config.base import Bootstrap
from zscope.core.errors import DataError
from zscope.studies.crosslingual.ard import objectives as ard
from zscope.studies.crosslingual.ard.evaluation import (
    index_overlap,
    principal_axes,
    rank_correlation,
    retrieve,
    same_category,
    split_problems,
    survivors,
    weight_overlap,
    z_axes,
)
from zscope.studies.crosslingual.ard.fit_measures import Judge, measure_layer
from zscope.studies.crosslingual.ard.kernel import (
    all_pairs_mmd,
    group_mmd,
    kernel,
    make_clouds,
    make_groups,
    make_pairs,
    paired_mmd,
)
from zscope.studies.crosslingual.ard.layer_data import LayerData
from zscope.studies.crosslingual.ard.layer_fits import fit_layer
from zscope.studies.crosslingual.ard.planted import (
    LANGUAGE,
    NOISE,
    SHARED,
    PlantedSettings,
    plant,
    recover,
    recovery,
)
from zscope.studies.crosslingual.config import ArdConfig
from zscope.studies.crosslingual.measures.intervals import Resamples
from zscope.studies.crosslingual.problems.parallel import load_problems
from zscope.studies.crosslingual.space.subspaces import energy_share, random_space
from zscope.studies.crosslingual.tables import ARD, ARD_HISTORY, FIT_KEY, LENGTHSCALES

EXACT = {"rtol": 1e-12, "atol": 1e-12}
SMALL = PlantedSettings(n_problems=12, n_categories=3, min_tokens=3, max_tokens=7)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def draw_clouds(n=5, t=6, s=4, d=3, seed=0):
    """Ragged clouds in float64, padded on either side."""
    rng = np.random.default_rng(seed)
    zh_mask = torch.arange(t) < torch.from_numpy(rng.integers(2, t + 1, (n, 1)))
    en_mask = torch.arange(s).flip(0) < torch.from_numpy(rng.integers(2, s + 1, (n, 1)))
    zh, en = randn(n, t, d, seed=seed + 1), randn(n, s, d, seed=seed + 2) + 0.5
    return make_clouds(zh, zh_mask, en, en_mask)


def naive_mmd(x, y, p):
    """The estimator with the (tokens, tokens, d) broadcast."""

    def k(a, b):
        return torch.exp(-0.5 * ((a[:, None] - b[None]) ** 2 * p).sum(-1))

    n, m = len(x), len(y)
    xx, yy = k(x, x), k(y, y)
    xx, yy = xx.sum() - xx.diagonal().sum(), yy.sum() - yy.diagonal().sum()
    return xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * k(x, y).mean()


def naive_pairs(clouds, p):
    c = clouds
    return torch.stack(
        [naive_mmd(c.zh[i][c.zh_mask[i]], c.en[i][c.en_mask[i]], p) for i in range(len(c))]
    )


def gradient(f, p):
    p = p.clone().requires_grad_()
    return torch.autograd.grad(f(p), p)[0]


# --- the kernel and its MMD -------------------------------------------------------------------


@given(st.integers(0, 10_000))
@settings(max_examples=25)
def test_matmul_form_is_the_broadcast_and_so_is_its_gradient(seed):
    clouds, p = draw_clouds(seed=seed), randn(3, seed=seed + 9).exp()
    pairs = make_pairs(clouds)
    torch.testing.assert_close(paired_mmd(pairs, p), naive_pairs(clouds, p), **EXACT)
    weights = randn(len(clouds), seed=seed + 10)  # each problem's own derivative counts
    ours = gradient(lambda p: paired_mmd(pairs, p) @ weights, p)
    theirs = gradient(lambda p: naive_pairs(clouds, p) @ weights, p)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_estimator_is_the_seeds_formula_in_plain_loops():
    clouds = draw_clouds(n=2)
    log_l = randn(3, seed=5) / 2
    for i, found in enumerate(paired_mmd(make_pairs(clouds), (-2 * log_l).exp()).tolist()):
        x = clouds.zh[i][clouds.zh_mask[i]].tolist()
        y = clouds.en[i][clouds.en_mask[i]].tolist()
        scale = log_l.exp().tolist()

        def k(a, b, scale=scale):
            parts = zip(a, b, scale, strict=True)
            return np.exp(-0.5 * sum((u - v) ** 2 / s**2 for u, v, s in parts))

        n, m = len(x), len(y)
        within = sum(k(a, b) for a, b in itertools.permutations(x, 2)) / (n * (n - 1))
        within += sum(k(a, b) for a, b in itertools.permutations(y, 2)) / (m * (m - 1))
        cross = 2 / (n * m) * sum(k(a, b) for a in x for b in y)
        assert found == pytest.approx(within - cross, abs=1e-13)


def test_kernel_is_sklearns_and_its_gradient_passes_gradcheck():
    x, y, p = randn(2, 4, 3), randn(2, 5, 3, seed=1), randn(3, seed=2).exp()
    K = kernel(p, x, y)
    for i in range(2):
        theirs = rbf_kernel(x[i] * p.sqrt(), y[i] * p.sqrt(), gamma=0.5)
        np.testing.assert_allclose(K[i], theirs, atol=1e-14)
    p.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: kernel(p, x, y), (p,))
    assert torch.autograd.gradcheck(lambda p: kernel(p, x, x), (p,))


def test_work_in_parts_is_work_at_once(monkeypatch):
    clouds, p = draw_clouds(n=7), randn(3, seed=5).exp()
    pairs, weights = make_pairs(clouds), randn(7, seed=6)

    def both():
        x, y = clouds.zh, clouds.en
        yield paired_mmd(pairs, p)
        yield kernel(p, x, y)
        yield gradient(lambda p: paired_mmd(pairs, p) @ weights, p)
        yield gradient(lambda p: kernel(p, x, y).sum((1, 2)) @ weights, p)

    whole = list(both())
    monkeypatch.setattr(
        "zscope.studies.crosslingual.ard.kernel.PART_BYTES", 2 * clouds.zh[0].numel() * 8
    )
    for ours, theirs in zip(both(), whole, strict=True):
        torch.testing.assert_close(ours, theirs, **EXACT)


def test_all_pairs_and_groups_are_pair_by_pair():
    clouds, p = draw_clouds(n=5), randn(3, seed=5).exp()
    M = all_pairs_mmd(clouds, p)
    c = clouds
    for i, j in itertools.product(range(5), repeat=2):
        other = naive_mmd(c.zh[i][c.zh_mask[i]], c.en[j][c.en_mask[j]], p)
        assert float(M[i, j]) == pytest.approx(float(other), abs=1e-12)
    torch.testing.assert_close(M.diagonal(), paired_mmd(make_pairs(clouds), p), **EXACT)
    rows = [[3, 0], [1, 4, 2]]
    group = make_groups(clouds, rows)
    for found, own in zip(group_mmd(group, p), rows, strict=True):
        torch.testing.assert_close(found[: len(own), : len(own)], M[own][:, own], **EXACT)
    weights = randn(2, 3, 3, seed=8) * (group.valid[:, :, None] & group.valid[:, None])
    ours = gradient(lambda p: (group_mmd(group, p) * weights).sum(), p)

    def slow(p):
        total = torch.zeros((), dtype=torch.float64)
        for g, own in enumerate(rows):
            for (a, i), (b, j) in itertools.product(enumerate(own), repeat=2):
                pair = naive_mmd(c.zh[i][c.zh_mask[i]], c.en[j][c.en_mask[j]], p)
                total = total + weights[g, a, b] * pair
        return total

    torch.testing.assert_close(ours, gradient(slow, p), rtol=1e-10, atol=1e-12)


def test_padding_its_content_and_the_order_of_tokens_do_not_count():
    clouds, p = draw_clouds(), randn(3, seed=5).exp()
    M, pairs = all_pairs_mmd(clouds, p), paired_mmd(make_pairs(clouds), p)

    def wider(x, mask, order):
        """More padding on both sides, NaN in all of it, real tokens in another order."""
        out = torch.full((len(x), 12, 3), torch.nan, dtype=torch.float64)
        place = torch.zeros(len(x), 12, dtype=torch.bool)
        for i in range(len(x)):
            own = x[i][mask[i]]
            own = own[torch.randperm(len(own), generator=generator(order))]
            out[i, 3 : 3 + len(own)], place[i, 3 : 3 + len(own)] = own, True
        return out, place

    padded = make_clouds(*wider(clouds.zh, clouds.zh_mask, 1), *wider(clouds.en, clouds.en_mask, 2))
    torch.testing.assert_close(all_pairs_mmd(padded, p), M, **EXACT)
    torch.testing.assert_close(paired_mmd(make_pairs(padded), p), pairs, **EXACT)
    ours, theirs = (
        gradient(lambda p, c=c: paired_mmd(make_pairs(c), p).sum(), p) for c in (clouds, padded)
    )
    torch.testing.assert_close(ours, theirs, **EXACT)


def test_unbiased_for_equal_distributions_and_positive_for_others():
    n, t = 3000, 4  # few tokens: the biased estimator would be far off
    mask = torch.ones(n, t, dtype=torch.bool)
    zh, en = randn(n, t, 2), randn(n, t, 2, seed=1)
    p = torch.ones(2, dtype=torch.float64)
    same = paired_mmd(make_pairs(make_clouds(zh, mask, en, mask)), p)
    other = paired_mmd(make_pairs(make_clouds(zh, mask, en + 1, mask)), p)
    assert abs(float(same.mean())) < 4 * float(same.std()) / n**0.5
    assert float(other.mean()) > 20 * float(other.std()) / n**0.5
    assert float(same.min()) < 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_flat_kernel_gives_exactly_zero(dtype):
    clouds = draw_clouds(n=7, t=11, s=9).to(dtype)
    zero = torch.zeros(3, dtype=dtype)
    assert (paired_mmd(make_pairs(clouds), zero) == 0).all()
    assert (all_pairs_mmd(clouds, zero) == 0).all()


def test_centring_saves_float32_from_a_massive_dimension():
    clouds = draw_clouds(n=6, t=12, s=12, d=4)
    p = torch.full((4,), 0.3, dtype=torch.float64)
    exact = gradient(lambda p: naive_pairs(clouds, p).sum(), p)
    offset = torch.tensor([0.0, 1000.0, 0.0, 0.0], dtype=torch.float64)
    moved = make_clouds(clouds.zh + offset, clouds.zh_mask, clouds.en + offset, clouds.en_mask).to(
        torch.float32
    )

    def error(c):
        ours = gradient(lambda p: paired_mmd(make_pairs(c), p).sum(), p.float()).double()
        return float((ours - exact).norm() / exact.norm())

    assert error(moved.centred()) < 1e-4
    assert error(moved) > 0.01  # why the fits ask for centred clouds


def test_clouds_refuse_what_has_no_estimate():
    x, mask = randn(2, 3, 2), torch.ones(2, 3, dtype=torch.bool)
    one = mask.clone()
    one[1, 1:] = False
    with pytest.raises(DataError, match="en text of problem 1 has fewer than 2 tokens"):
        make_clouds(x, mask, x, one)
    bad = x.clone()
    bad[0, 0, 0] = torch.inf
    with pytest.raises(DataError, match="zh states hold values that are not finite"):
        make_clouds(bad, mask, x, mask)
    with pytest.raises(DataError, match="no problem"):
        make_clouds(x[:0], mask[:0], x[:0], mask[:0])
    with pytest.raises(ValueError, match="do not fit"):
        make_clouds(x, mask, x[:1], mask[:1])


def test_projection_on_a_rotation_keeps_every_mmd():
    clouds = draw_clouds(d=4)
    Q = torch.linalg.qr(randn(4, 4, seed=7)).Q
    turned = clouds.project(Q, clouds.tokens().mean(0))
    p = torch.full((4,), 0.4, dtype=torch.float64)
    torch.testing.assert_close(all_pairs_mmd(turned, p), all_pairs_mmd(clouds, p), **EXACT)
    assert float(clouds.centred().tokens().mean(0).abs().max()) < 1e-14


# --- the original objective ---------------------------------------------------------------------


def test_original_value_is_the_sum_and_the_penalty():
    clouds, log_l = draw_clouds(), randn(3, seed=4)
    expected = naive_pairs(clouds, (-2 * log_l).exp()).sum() + 0.7 * (1 / log_l.exp()).sum()
    torch.testing.assert_close(ard.original_value(clouds, log_l, 0.7), expected, **EXACT)


def test_original_objective_is_zero_for_the_empty_z_and_above_it_on_other_problems():
    planted = plant(PlantedSettings(n_problems=40), generator(3))
    clouds = planted.clouds.centred()
    train, test = clouds.select(torch.arange(20)), clouds.select(torch.arange(20, 40))
    d = clouds.d
    for start in (torch.zeros(d), ard.svd_init(random_space(d, 8, generator()))):
        fit = ard.fit_original(train, start, 0.1, steps=200, lr=0.01)
        assert float(ard.original_value(test, torch.full((d,), torch.inf), 0.1)) == 0
        assert float(ard.original_value(test, fit.log_l, 0.1)) > 0
        assert fit.records[-1].value < fit.records[0].value


def test_original_fit_descends_to_a_negative_value_by_fitting_noise():
    # All dimensions are noise: the population's value is at least the penalty, and other draws say
    # so, yet the unbiased estimate of these tokens can be brought below 0.
    mask = torch.ones(20, 12, dtype=torch.bool)
    zh, en = randn(40, 12, 24).float(), randn(40, 12, 24, seed=1).float()
    noise = [make_clouds(zh[a:b], mask, en[a:b], mask) for a, b in ((0, 20), (20, 40))]
    fit = ard.fit_original(noise[0], torch.zeros(24), 1e-3, steps=400, lr=0.01)
    other = paired_mmd(make_pairs(noise[1]), (-2 * fit.log_l).exp())
    assert fit.records[-1].value < -0.1
    assert float(other.mean()) > -2 * float(other.std()) / 20**0.5


def test_original_objective_cannot_see_what_a_problem_shares():
    planted = plant(replace(SMALL, content=5.0), generator())
    clouds = planted.clouds.to(torch.float64)
    log_l = randn(clouds.d, seed=3) / 2 + 1
    shift = randn(len(clouds), 1, clouds.d, seed=4) * (planted.kinds == SHARED)
    masks = clouds.zh_mask.unsqueeze(-1), clouds.en_mask.unsqueeze(-1)
    moved = replace(clouds, zh=clouds.zh + shift * masks[0], en=clouds.en + shift * masks[1])
    same = ard.original_value(moved, log_l, 0.1)
    torch.testing.assert_close(same, ard.original_value(clouds, log_l, 0.1), **EXACT)


def test_slope_at_a_flat_kernel_is_the_difference_of_the_language_means():
    clouds = draw_clouds(n=8, d=5)
    gap = ard.language_mean_gap(clouds)
    torch.testing.assert_close(ard.mmd_slope(clouds, torch.zeros(5)), gap, **EXACT)
    slow = torch.zeros(5, dtype=torch.float64)
    for i in range(len(clouds)):
        x, y = clouds.zh[i][clouds.zh_mask[i]], clouds.en[i][clouds.en_mask[i]]
        slow += (x.mean(0) - y.mean(0)) ** 2 - x.var(0) / len(x) - y.var(0) / len(y)
    torch.testing.assert_close(gap, slow, **EXACT)


def test_original_fit_follows_adam_on_the_naive_objective():
    clouds = draw_clouds(n=4).centred()
    start = randn(3, seed=3) / 4
    fit = ard.fit_original(clouds, start, 0.01, steps=30, lr=0.05)
    log_l = start.clone().requires_grad_()
    adam = torch.optim.Adam([log_l], lr=0.05)
    values = []
    for _ in range(30):
        value = naive_pairs(clouds, (-2 * log_l).exp()).sum() + 0.01 * (-log_l).exp().sum()
        values.append(value.item())
        adam.zero_grad()
        value.backward()
        adam.step()
    torch.testing.assert_close(fit.log_l, log_l.detach(), rtol=1e-9, atol=1e-9)
    assert [r.step for r in fit.records] == [0, 10, 20, 30]
    np.testing.assert_allclose([r.value for r in fit.records[:3]], values[::10], atol=1e-9)


def test_half_of_the_dimensions_lie_below_the_median_whatever_the_data():
    planted = plant(SMALL, generator())
    d = planted.clouds.d
    fit = ard.fit_original(planted.clouds.centred(), randn(d), 0.01, steps=20, lr=0.01)
    assert {r.n_below_median for r in fit.records} == {d // 2}
    assert int(survivors(fit.log_l).sum()) == d // 2
    sd = ard.deviations(planted.clouds)
    assert fit.records[-1].n_below_threshold == int((fit.log_l.exp() < 3 * sd).sum())


def test_survivors_of_a_fit_are_those_of_its_init():
    planted = plant(PlantedSettings(n_problems=20), generator())
    clouds, d = planted.clouds.centred(), planted.clouds.d
    kept = []
    for seed in range(3):
        V = random_space(d, 8, generator(seed))
        start = ard.svd_init(V)
        fit = ard.fit_original(clouds, start, 0.01, steps=300, lr=0.01)
        kept.append(float((survivors(fit.log_l) & survivors(start)).sum()) / (d // 2))
        assert weight_overlap(survivors(fit.log_l), torch.eye(d), V) > 8 / d
    assert min(kept) > 0.55  # chance is .5 of one half in the other
    assert np.mean(kept) > 0.65


def test_svd_init_is_the_protocols():
    V = random_space(6, 2, generator())
    energy = torch.tensor([sum(float(V[i, j]) ** 2 for i in range(2)) for j in range(6)])
    torch.testing.assert_close(
        ard.svd_init(V), -torch.log(energy.double() + 1e-6), atol=1e-6, rtol=0
    )


def test_plateau_is_the_first_step_that_gains_little_over_the_window():
    values = [10.0, 5.0, 3.0, 2.0, 1.9999, 1.9999]
    by_step = {50 * i: v for i, v in enumerate(values)}
    assert ard.plateau(by_step, window=50) == 200
    assert ard.plateau({s: v for s, v in by_step.items() if s < 200}, window=50) is None


# --- the contrast -----------------------------------------------------------------------------


def test_losses_are_their_formulas_group_by_group():
    clouds, p = draw_clouds(n=5), randn(3, seed=5).exp()
    rows = [[3, 0], [1, 4, 2]]
    group = make_groups(clouds, rows)
    M, every = group_mmd(group, p), all_pairs_mmd(clouds, p).numpy()
    gaps, nats = [], []
    for own in rows:
        for i in own:
            gaps.append(every[i, i] - np.mean([every[i, j] for j in own if j != i]))
            for line in (every[i, own], every[own, i]):
                e = np.exp(-line / 0.3)
                nats.append(-np.log(e[own.index(i)] / e.sum()))
    assert float(ard.gap_loss(M, group)) == pytest.approx(np.mean(gaps), abs=1e-12)
    assert float(ard.info_nce_loss(M, group, 0.3)) == pytest.approx(np.mean(nats), abs=1e-12)


def test_uniform_precision_puts_the_median_pair_at_one_over_e():
    planted = plant(SMALL, generator())
    p = ard.uniform_precision(planted.clouds)
    tokens = planted.clouds.tokens()
    K = kernel(p, tokens[None], tokens[None])[0]
    upper = K[torch.triu_indices(*K.shape, offset=1).unbind()]
    assert float(upper.median()) == pytest.approx(np.exp(-1), abs=1e-3)
    torch.testing.assert_close(p * tokens.var(0), (p * tokens.var(0)).mean().expand(len(p)))


def test_weights_do_not_depend_on_the_scale_of_a_dimension():
    planted = plant(SMALL, generator())
    clouds = planted.clouds.centred().to(torch.float64)
    factors = randn(clouds.d, seed=2).exp()
    scaled = replace(clouds, zh=clouds.zh * factors, en=clouds.en * factors)
    fits = [
        ard.fit_contrast(c, planted.categories, loss="gap", steps=20, lr=0.05, tau=0.02)
        for c in (clouds, scaled)
    ]
    torch.testing.assert_close(fits[0].weights, fits[1].weights, rtol=1e-6, atol=1e-9)
    assert float(fits[0].weights.sum()) == pytest.approx(1)
    assert fits[0].losses[-1] < fits[0].losses[0]


def test_negatives_are_of_the_category_and_singletons_are_left_out():
    assert ard.negative_groups(np.array(["b", "a", "b", "a"])) == [[1, 3], [0, 2]]
    assert ard.negative_groups(np.array(["b", "a", "b"])) == [[0, 2]]
    for alone in (["a"], ["a", "b", "c"]):
        with pytest.raises(DataError, match="2 or more problems"):
            ard.negative_groups(np.array(alone))


def category_alone(n_categories=4, of_each=6, singles=1):
    """Clouds in which 4 of 12 dimensions hold the category, in both languages, and nothing else.

    The last `singles` problems are of a category of their own.
    """
    n = n_categories * of_each + singles
    categories = np.minimum(np.arange(n), n_categories * of_each - 1) // of_each
    categories[n - singles :] = n_categories + np.arange(singles)
    centres = torch.zeros(n_categories + singles, 12)
    centres[:, :4] = 3 * randn(n_categories + singles, 4, seed=9)
    content = centres[torch.from_numpy(categories)].unsqueeze(1)
    mask = torch.ones(n, 10, dtype=torch.bool)
    zh, en = (content + randn(n, 10, 12, seed=seed) for seed in (1, 2))
    return make_clouds(zh, mask, en, mask), categories


def test_a_category_is_worth_nothing_to_the_contrast_though_another_has_one_problem():
    clouds, categories = category_alone()
    what = {"loss": "gap", "steps": 100, "lr": 0.05, "tau": 0.02}
    fit = ard.fit_contrast(clouds.centred(), categories, **what)
    assert min(fit.losses) > -0.05
    assert float(fit.weights[:4].sum()) < 1 / 3  # 4 of 12 dimensions, at equal weights
    one_category = np.zeros(len(categories))
    against_all = ard.fit_contrast(clouds.centred(), one_category, **what)
    assert against_all.losses[-1] < -0.5
    assert float(against_all.weights[:4].sum()) > 0.9


def test_retrieval_in_a_category_is_chance_where_the_category_is_all_there_is():
    """The one problem without others of its category would be found for sure."""
    clouds, categories = category_alone(of_each=12, singles=3)
    split = split_problems(categories, 0.5, np.random.default_rng(0))
    assert len(set(categories[split.test])) > 4  # a singleton is among those that are judged
    data = LayerData(clouds, categories, split, {}, 5)
    config = ArdConfig(lambdas=[0.01], steps=20, contrast_steps=20, bases=["coordinates"])
    fits = fit_layer(data, config)
    judge = Judge(data, 40, Resamples(LEVELS[0.95], len(data.test)))
    tables = (pd.DataFrame(rows) for rows in (fits.lengthscales, fits.history))
    rows = [r for r in measure_layer(judge, *tables) if r["objective"] != "original"]
    for row in rows:
        if row["metric"].startswith("retrieval_category"):
            assert row["n"] == 24
            assert row["null_mean"] == pytest.approx(1 / 6)
            assert abs(row["value"] - 1 / 6) < 4 * (5 / 36 / 24) ** 0.5
        if row["metric"].startswith("retrieval_all"):
            assert row["n"] == len(data.test)
            assert row["value"] > 2 * row["null_mean"]  # there the category helps


@pytest.mark.parametrize("loss", ard.LOSSES)
def test_fits_are_bit_identical_on_a_rerun(loss):
    planted = plant(SMALL, generator())
    clouds = planted.clouds.centred()
    a, b = (
        ard.fit_contrast(clouds, planted.categories, loss=loss, steps=10, lr=0.05, tau=0.02)
        for _ in range(2)
    )
    assert torch.equal(a.weights, b.weights)
    assert a.losses == b.losses
    c, d = (ard.fit_original(clouds, torch.zeros(32), 0.01, steps=10, lr=0.01) for _ in range(2))
    assert torch.equal(c.log_l, d.log_l)
    assert c.records == d.records


def test_constant_states_are_refused():
    mask = torch.ones(3, 4, dtype=torch.bool)
    clouds = make_clouds(torch.ones(3, 4, 2), mask, torch.ones(3, 4, 2), mask)
    with pytest.raises(DataError, match="constant"):
        ard.uniform_precision(clouds)


# --- planted truth ----------------------------------------------------------------------------


def test_planted_dimensions_are_what_their_kind_says():
    planted = plant(PlantedSettings(n_problems=400, n_categories=200), generator())
    c = planted.clouds
    zh, en = (
        torch.stack([x[i][mask[i]].mean(0) for i in range(len(c))])
        for x, mask in ((c.zh, c.zh_mask), (c.en, c.en_mask))
    )
    zh_c, en_c = zh - zh.mean(0), en - en.mean(0)
    correlation = (zh_c * en_c).sum(0) / (zh_c.norm(dim=0) * en_c.norm(dim=0))
    shift = (zh.mean(0) - en.mean(0)).abs()
    for kind, same, apart in ((SHARED, 1, 0), (LANGUAGE, 0, 1), (NOISE, 0, 0)):
        assert float((correlation[planted.kinds == kind] - same).abs().max()) < 0.35
        assert float((shift[planted.kinds == kind] - apart).abs().max()) < 0.35
    lengths = c.zh_mask.sum(1)
    assert (lengths != c.en_mask.sum(1)).any()
    assert 12 <= int(lengths.min()) < int(lengths.max()) <= 24
    again = plant(PlantedSettings(n_problems=400, n_categories=200), generator())
    assert torch.equal(again.clouds.zh, c.zh)


@pytest.mark.parametrize(
    "wrong", [{"min_tokens": 1}, {"n_categories": 30}, {"n_noise": 0}, {"max_tokens": 5}]
)
def test_planted_sizes_that_cannot_be_are_refused(wrong):
    with pytest.raises(DataError):
        plant(replace(PlantedSettings(), **wrong), generator())


def test_auc_is_sklearns():
    scores, kinds = randn(40).round(decimals=1), torch.randint(0, 3, (40,), generator=generator())
    found = recovery(scores, kinds)
    for other, value in ((LANGUAGE, found.shared_vs_language), (NOISE, found.shared_vs_noise)):
        used = (kinds == SHARED) | (kinds == other)
        assert value == pytest.approx(roc_auc_score(kinds[used] == SHARED, scores[used]))


@pytest.mark.slow
def test_contrast_recovers_what_is_planted_and_the_original_objective_does_not():
    # Means over seeds of the least AUC (contrast), and of shared against noise (original, where
    # chance is 0.5: the two are the same to it).
    setup = ArdConfig(lambdas=[0.01], steps=300, contrast_steps=200)
    found = {}
    for seed in (30, 31, 32):
        for row in recover(plant(PlantedSettings(), generator(seed)), setup, seed):
            key = row["objective"], row["init"], row["metric"]
            found.setdefault(key, []).append(row["value"])
    for loss in ard.LOSSES:
        assert np.mean(found[loss, None, "auc_shared_vs_language"]) >= 0.99
        assert np.mean(found[loss, None, "auc_shared_vs_noise"]) >= 0.99
        assert np.mean(found[loss, None, "retrieval_category"]) >= 0.95
        better = found[loss, None, "retrieval_all"]
        assert min(better) > max(found["uniform", None, "retrieval_all"])
    for init in ("zeros", "svd_random"):
        assert 0.3 < np.mean(found["original", init, "auc_shared_vs_noise"]) < 0.7


def test_retrieval_is_perfect_where_content_is_planted_and_chance_in_noise():
    easy = plant(PlantedSettings(content=4.0, n_noise=1, n_language=1), generator())
    shared = (easy.kinds == SHARED).double()
    clouds = easy.clouds.to(torch.float64)
    every = torch.ones(len(clouds), len(clouds), dtype=torch.bool)
    found = retrieve(all_pairs_mmd(clouds, shared / 8), every)
    assert found.zh_en.min() == found.en_zh.min() == 1
    rates = []
    for seed in range(8):
        noise = plant(PlantedSettings(content=0.0), generator(seed)).clouds.to(torch.float64)
        M = all_pairs_mmd(noise, torch.full((noise.d,), 1 / noise.d, dtype=torch.float64))
        rates.append(retrieve(M, every).zh_en.mean())
    assert abs(np.mean(rates) - 1 / 48) < 4 * (1 / 48 / (8 * 48)) ** 0.5


# --- evaluation -------------------------------------------------------------------------------


def test_retrieval_counts_candidates_directions_and_ties():
    M = torch.tensor([[1.0, 2.0, 0.0], [0.5, 0.0, 9.0], [5.0, 5.0, 5.0]])
    categories = np.array(["a", "a", "b"])
    hard = retrieve(M, same_category(categories))
    assert hard.zh_en.tolist() == [1, 1, 1]
    assert hard.en_zh.tolist() == [0, 1, 1]
    assert hard.chance.tolist() == [0.5, 0.5, 1]
    every = retrieve(M, torch.ones(3, 3, dtype=torch.bool))
    np.testing.assert_allclose(every.zh_en, [0, 1, 1 / 3])
    assert every.en_zh.tolist() == [0, 1, 0]
    flat = retrieve(torch.zeros(3, 3), torch.ones(3, 3, dtype=torch.bool))
    np.testing.assert_allclose(flat.zh_en, 1 / 3)


@given(st.lists(st.sampled_from("abcd"), min_size=12, max_size=60), st.integers(0, 99))
def test_split_gives_both_sides_problems_to_compare_in_proportion(names, seed):
    categories = np.array(names)
    if min(Counter(names).values()) < 4 and len(set(names)) < 3:
        return  # too few on one side
    train, test = split_problems(categories, 0.5, np.random.default_rng(seed))
    assert sorted([*train, *test]) == list(range(len(names)))
    for name, n in Counter(names).items():
        sides = [int((categories[side] == name).sum()) for side in (train, test)]
        if n < 4:
            assert sorted(sides) == [0, n]
        else:
            assert min(sides) >= min(3, n // 2)
            assert abs(sides[0] - n / 2) <= 2
    again = split_problems(categories, 0.5, np.random.default_rng(seed))
    assert (again.train == train).all()


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_the_packaged_problems_are_split_by_whole_categories(share):
    categories = np.array([p.category for p in load_problems()])
    train, test = split_problems(categories, share, np.random.default_rng(0), most=60)
    assert not {*categories[train]} & {*categories[test]}
    for side in (train, test):
        assert min(Counter(categories[side]).values()) >= 2
    assert len(train) / len(categories) == pytest.approx(share, abs=0.1)


def test_split_takes_few_problems_evenly_and_refuses_too_few():
    categories = np.repeat(["a", "b", "c"], [50, 20, 10])
    train, test = split_problems(categories, 0.5, np.random.default_rng(0), most=24)
    assert np.unique(categories[[*train, *test]], return_counts=True)[1].tolist() == [8, 8, 8]
    assert len(train) == len(test) == 12
    for most, left in ((17, {"a": 9, "b": 8}), (8, {"a": 8})):
        train, test = split_problems(categories, 0.5, np.random.default_rng(0), most=most)
        assert Counter(categories[[*train, *test]].tolist()) == left
        assert min(Counter(categories[train]).values()) >= 3
        assert min(Counter(categories[test]).values()) >= 3
    with pytest.raises(DataError, match="train_share"):
        split_problems(np.array(["a", "b", "c"]), 0.01, np.random.default_rng(0))


def test_axes_are_orthonormal_by_variance_and_keep_to_z_and_its_complement():
    tokens = randn(400, 10) * torch.arange(1, 11)
    tokens -= tokens.mean(0)
    V = random_space(10, 3, generator(1))
    for B in (principal_axes(tokens), z_axes(tokens, V)):
        torch.testing.assert_close(B @ B.mT, torch.eye(10, dtype=torch.float64), atol=1e-9, rtol=0)
    theirs = torch.linalg.svdvals(tokens)
    torch.testing.assert_close((tokens @ principal_axes(tokens).mT).norm(dim=0), theirs)
    B = z_axes(tokens, V)
    shares = (B @ V.mT).square().sum(1)
    torch.testing.assert_close(
        shares, torch.tensor([1.0] * 3 + [0.0] * 7).double(), atol=1e-9, rtol=0
    )
    few = tokens[:20]
    assert len(principal_axes(few)) == 5  # a quarter of the tokens
    assert z_axes(few, V).shape == (8, 10)


def test_overlap_is_energy_with_a_mean_of_k_over_d_in_random_spaces():
    w, B = torch.rand(12, generator=generator()), random_space(12, 12, generator(1))
    V = random_space(12, 3, generator(2))
    P = V.mT @ V
    slow = sum(float(w[j] * (B[j] @ P @ B[j])) for j in range(12)) / float(w.sum())
    assert weight_overlap(w, B, V) == pytest.approx(slow)
    drawn = [weight_overlap(w, B, random_space(12, 3, generator(s))) for s in range(400)]
    assert np.mean(drawn) == pytest.approx(0.25, abs=4 * np.std(drawn) / 20)
    axes = torch.eye(12, dtype=torch.float64)
    inside = torch.zeros(12, dtype=torch.bool)
    inside[[1, 4]] = True
    assert weight_overlap(inside, axes, axes[[1, 4, 7]]) == pytest.approx(1)
    assert index_overlap(inside, axes[[1, 7]]) == 0.5
    assert np.isnan(weight_overlap(torch.zeros(12), B, V))


def test_rank_correlation_is_scipys():
    a, b = randn(30), randn(30, seed=1).round(decimals=1)
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert np.isnan(rank_correlation(a, torch.ones(30)))


# --- the study of a layer ---------------------------------------------------------------------


LEVELS = {level: Bootstrap(level=level, resamples=100, seed=0) for level in (0.95, 0.5)}


def study(spaces, bases=("coordinates", "pca", "z"), level=0.95):
    """The rows of all three tables, the measurements from what the other two hold."""
    planted = plant(replace(SMALL, n_problems=24), generator())
    config = ArdConfig(lambdas=[0.01], steps=20, contrast_steps=20, bases=list(bases))
    split = split_problems(planted.categories, 0.5, np.random.default_rng(0))
    data = LayerData(planted.clouds, planted.categories, split, spaces, 5)
    fits = fit_layer(data, config)
    judge = Judge(data, 40, Resamples(LEVELS[level], len(data.test)))
    tables = (pd.DataFrame(rows) for rows in (fits.lengthscales, fits.history))
    return list(measure_layer(judge, *tables)), fits


def test_study_fills_the_tables_and_repeats_itself():
    spaces = {k: random_space(32, k, generator(k)) for k in (8, 3)}
    measured, fits = study(spaces)
    for table, found in (
        (ARD, measured),
        (ARD_HISTORY, fits.history),
        (LENGTHSCALES, fits.lengthscales),
    ):
        expected = {c.name for c in table.columns} - {"model", "layer"}
        keys = [tuple(row[k] for k in table.key if k in row) for row in found]
        assert all(set(row) == expected for row in found)
        assert len(set(keys)) == len(keys)
    assert (measured, fits) == study(spaces)
    by = {}
    for row in measured:
        by.setdefault(row["metric"], []).append(row)
    assert {row["value"] for row in by["value_at_infinity"]} == {0.0}
    assert {row["objective"] for row in by["retrieval_all_zh_en"]} == {
        "original",
        "gap",
        "info_nce",
        "uniform",
        "random",
    }
    assert {row["k"] for row in by["overlap"]} == {8, 3}
    assert {row["k"] for row in by["overlap_init"]} == {8}
    for row in by["slope_correlation_flat"]:
        assert row["value"] > 0.99
    for row in by["overlap"]:
        if row["null"] == "chance":
            assert row["null_mean"] == row["k"] / 32
        told = {"chance": None, "shuffled": 100, "random": 40, "energy": 40}
        assert row["draws"] == told[row["null"]]
        matched = "centred tokens of the fitted problems" if row["null"] == "energy" else None
        assert row["matched_on"] == matched
    in_z = {row["null"] for row in by["overlap"] if row["basis"] == "z"}
    assert in_z == {"chance", "shuffled"}


def test_a_fit_of_which_nothing_survives_is_measured():
    """Lengthscales that are all the same leave none below their median, and ones without end no
    weight: overlaps are null, without nulls of their own, and everything else is there."""
    planted = plant(replace(SMALL, n_problems=24), generator())
    split = split_problems(planted.categories, 0.5, np.random.default_rng(0))
    data = LayerData(
        planted.clouds, planted.categories, split, {3: random_space(32, 3, generator(3))}, 5
    )
    judge = Judge(data, 40, Resamples(LEVELS[0.95], len(data.test)))
    key = dict.fromkeys(FIT_KEY)
    fits = (
        key | {"objective": "original", "basis": "coordinates", "init": "zeros", "penalty": 0.1},
        key | {"objective": "info_nce", "basis": "coordinates"},
    )
    lengths = pd.DataFrame(
        fit | {"dimension": i, "log10_lengthscale": x}
        for fit, x in zip(fits, (0.5, 400.0), strict=True)
        for i in range(32)
    )
    history = pd.DataFrame(
        fit | {"step": step, "metric": metric, "value": 1.0}
        for fit in fits
        for step in range(11)
        for metric in ("value", "n_below_median", "n_below_threshold")
    )
    rows = list(measure_layer(judge, lengths, history))
    for objective in ("original", "info_nce"):
        overlaps = [r for r in rows if r["objective"] == objective and r["metric"] == "overlap"]
        assert [(r["value"], r["null"]) for r in overlaps] == [(None, "chance")]
    by = {(r["objective"], r["metric"]): r["value"] for r in rows}
    assert by["original", "index_overlap"] is None
    assert by["original", "mmd_held_out"] is not None
    assert by["info_nce", "effective_directions"] == 1.0  # exp of the entropy of nothing


def test_energy_matched_spaces_hold_zs_share_of_the_centred_fitted_tokens():
    planted = plant(replace(SMALL, n_problems=24), generator())
    shifted = replace(planted.clouds, zh=planted.clouds.zh + 5 * planted.clouds.zh_mask[..., None])
    split = split_problems(planted.categories, 0.5, np.random.default_rng(0))
    V = random_space(32, 3, generator(3))
    data = LayerData(shifted, planted.categories, split, {3: V}, 5)
    nulls = Judge(data, 40, Resamples(LEVELS[0.95], len(data.test))).nulls[3]
    tokens = shifted.select(torch.from_numpy(split.train)).tokens().double()
    tokens -= tokens.mean(0)
    wanted = energy_share(tokens, V)
    assert [energy_share(tokens, W) for W in nulls["energy"]] == pytest.approx(
        [wanted] * 40, abs=2e-4
    )
    assert len(nulls["random"]) == 40


def test_a_fit_is_measured_as_it_was_from_its_lengthscales():
    """What is written is enough to say what the fit's own last record says."""
    measured, fits = study({8: random_space(32, 8, generator())})
    last = {}
    for row in fits.history:
        last[tuple(row[c] for c in ("objective", "basis", "init", "metric"))] = row["value"]
    for row in measured:
        what = row["objective"], row["basis"], row["init"]
        if row["metric"] in ("value", "mmd"):
            assert row["value"] == pytest.approx(last[*what, row["metric"]], abs=1e-4)
        if row["metric"] in ("loss", "n_below_median"):
            assert row["value"] == last[*what, row["metric"]]


def test_intervals_and_nulls_of_the_fits_follow_the_level_and_the_fits_do_not():
    spaces = {8: random_space(32, 8, generator())}
    (wide, fits), (narrow, same) = (study(spaces, ["coordinates"], level) for level in LEVELS)
    assert fits == same
    ends = {"ci_low", "ci_high", "null_low", "null_high"}
    for a, b in zip(wide, narrow, strict=True):
        assert {k: v for k, v in a.items() if k not in ends} == {
            k: v for k, v in b.items() if k not in ends
        }
        for low, high in (("ci_low", "ci_high"), ("null_low", "null_high")):
            if a[low] is not None:
                assert a[low] <= b[low] <= b[high] <= a[high]
    assert any(a["null_low"] != b["null_low"] for a, b in zip(wide, narrow, strict=True))
    assert any(a["ci_low"] != b["ci_low"] for a, b in zip(wide, narrow, strict=True))


def test_study_without_a_z_leaves_out_what_needs_one():
    measured, _ = study({})
    assert {row["init"] for row in measured} == {"zeros", None}
    assert {row["basis"] for row in measured} == {"coordinates", "pca"}
    assert not any("overlap" in row["metric"] for row in measured)


def test_shuffled_weights_cover_a_random_z_in_its_own_basis():
    # A Z that means nothing must not stand out because the basis was made of it.
    outside = 0
    for seed in range(6):
        for row in study({8: random_space(32, 8, generator(seed))}, ["z"])[0]:
            if row["metric"] == "overlap" and row["null"] == "shuffled" and row["basis"] == "z":
                outside += not row["null_low"] <= row["value"] <= row["null_high"]
    assert outside <= 3  # of 12
