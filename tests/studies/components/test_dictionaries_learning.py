"""Sparse dictionaries: variants against formulas, the training loop, planted truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from zscope.config.base import Bootstrap
from zscope.core.errors import TrainingError
from zscope.studies.components.dictionaries.config import PlantedConfig
from zscope.studies.components.dictionaries.flat_adam import FlatAdam
from zscope.studies.components.dictionaries.learning import Pool, Recipe, train
from zscope.studies.components.dictionaries.matching import match, random_matches
from zscope.studies.components.dictionaries.normalise import Normaliser
from zscope.studies.components.dictionaries.planted import Planted, PlantedSettings
from zscope.studies.components.dictionaries.planted_scores import one_latent_f1, planted_rows
from zscope.studies.components.dictionaries.reconstruction import reconstructions
from zscope.studies.components.dictionaries.stack import initial_stack, random_rows
from zscope.studies.components.dictionaries.tables import DICTIONARIES_MATCHES, DICTIONARIES_PLANTED
from zscope.studies.components.dictionaries.variants import batch_top_k, jump_relu, top_k
from zscope.studies.components.dictionaries.variants.registry import KINDS
from zscope.tables.write import write_table

pytestmark = pytest.mark.numerics
QUICK = Recipe(steps=12, batch=16, dead_after=3)
STRENGTHS = {"topk": 2.0, "batch_topk": 2.0}


def random_stack(variant, n=2, d=5, m=7, seed=0):
    """A stack in which nothing is 0 or equal."""
    kind = KINDS[variant]
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape):
        return 0.3 * torch.randn(*shape, generator=generator)

    start = initial_stack(d, m, [STRENGTHS.get(variant, 0.7)] * n, range(n), kind.own)
    return kind, replace(
        start,
        W_enc=start.W_enc + noise(n, d, m),
        b_enc=noise(n, m),
        b_dec=noise(n, d),
        own={name: (t + noise(n, m)).abs() for name, t in start.own.items()},
        cut=torch.full((n,), 0.5),
    )


def inputs(n=2, batch=9, d=5, seed=1):
    return torch.randn(n, batch, d, generator=torch.Generator().manual_seed(seed))


# --- what each variant computes ------------------------------------------------------------------


def plain_terms(variant, stack, i, x):
    """Codes and loss of one input, element by element as the papers write them."""
    W, b, D, c = (getattr(stack, n)[i].tolist() for n in ("W_enc", "b_enc", "W_dec", "b_dec"))
    d, m = len(W), len(b)
    lam = float(stack.strength[i])
    read = [sum((x[k] - c[k]) * W[k][j] for k in range(d)) for j in range(m)]
    pre = [read[j] + b[j] for j in range(m)]

    def back(codes):
        return [c[k] + sum(codes[j] * D[j][k] for j in range(m)) for k in range(d)]

    def error(codes):
        return sum((u - v) ** 2 for u, v in zip(x, back(codes), strict=True))

    if variant == "l1":
        codes = [max(p, 0) for p in pre]
        return codes, error(codes) + lam * sum(codes)
    if variant == "gated":
        r, size = (stack.own[n][i].tolist() for n in ("r_mag", "b_mag"))
        codes = [max(read[j] * np.exp(r[j]) + size[j], 0) if pre[j] > 0 else 0.0 for j in range(m)]
        open_ = [max(p, 0) for p in pre]
        return codes, error(codes) + lam * sum(open_) + error(open_)
    if variant.startswith("jump_relu"):
        theta = stack.own["theta"][i].tolist()
        codes = [p if p > t else 0.0 for p, t in zip(pre, theta, strict=True)]
        spent = (
            sum(np.tanh(4 * f) for f in codes)
            if variant == "jump_relu"
            else sum(f != 0 for f in codes)
        )
        return codes, error(codes) + lam * spent
    kept = sorted(range(m), key=lambda j: -pre[j])[: int(lam)]
    codes = [max(pre[j], 0) if j in kept else 0.0 for j in range(m)]
    return codes, error(codes)


@pytest.mark.parametrize("variant", ["l1", "topk", "gated", "jump_relu", "jump_relu_l0"])
def test_codes_and_loss_are_those_of_the_papers(variant):
    kind, stack = random_stack(variant)
    x = inputs()
    terms = kind.loss(stack, x, 1.0, torch.zeros(2, 7, dtype=torch.bool))
    for i in range(2):
        plain = [plain_terms(variant, stack, i, row) for row in x[i].tolist()]
        codes = torch.tensor([c for c, _ in plain], dtype=torch.float32)
        torch.testing.assert_close(terms.codes[i], codes, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(kind.encode(stack, x)[i], codes, rtol=1e-4, atol=1e-5)
        expected = np.mean([loss for _, loss in plain])
        assert float(terms.loss[i]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("variant", ["l1", "gated", "jump_relu", "jump_relu_l0"])
def test_the_penalty_alone_is_warmed_up(variant):
    kind, stack = random_stack(variant)
    dead = torch.zeros(2, 7, dtype=torch.bool)
    none, half, whole = (kind.loss(stack, inputs(), w, dead).loss for w in (0.0, 0.5, 1.0))
    torch.testing.assert_close(half, (none + whole) / 2)
    assert (whole > none + 0.1).all()


def test_topk_has_k_codes_and_may_differ_between_dictionaries():
    x = inputs(3, 40, 8).abs()
    k = torch.tensor([1.0, 3.0, 8.0])
    kept = top_k.keep_largest(x, k)
    assert (kept > 0).sum(-1).float().mean(-1).tolist() == [1, 3, 8]
    for i, count in enumerate((1, 3, 8)):
        values, at = x[i].topk(count, dim=-1)
        torch.testing.assert_close(kept[i], torch.zeros_like(x[i]).scatter(-1, at, values))


def test_batch_topk_has_k_codes_on_average_and_a_cut_for_the_test():
    kind, stack = random_stack("batch_topk", n=3, d=8, m=20)
    x = inputs(3, 100, 8)
    terms = kind.loss(stack, x, 1.0, torch.zeros(3, 20, dtype=torch.bool))
    counts = (terms.codes > 0).sum(-1).float()
    assert counts.mean(-1).tolist() == [2, 2, 2]
    assert counts.std(-1).min() > 0.3  # not k for each input
    # Cutting at the batch's smallest code loses that code alone.
    found = kind.encode(replace(stack, cut=terms.cut), x)
    assert ((found > 0).sum((1, 2)) == 199).all()
    flat = stack.pre(x).relu().flatten(1).sort(descending=True).values
    torch.testing.assert_close(
        batch_top_k.batch_cuts(stack.pre(x).relu(), stack.strength), flat[:, 199]
    )


def test_dead_latents_alone_move_to_explain_what_is_left():
    kind, stack = random_stack("topk")
    own = {
        n: getattr(stack, n).clone().requires_grad_() for n in ("W_enc", "W_dec", "b_enc", "b_dec")
    }
    live = replace(stack, **own)
    dead = torch.zeros(2, 7, dtype=torch.bool)
    dead[0, 4] = True
    x = inputs()
    with_, without = (kind.loss(live, x, 1.0, d).loss for d in (dead, torch.zeros_like(dead)))
    extra = with_ - without
    assert extra[0] > 0
    assert extra[1] == 0
    extra.sum().backward()
    for name, axis in (("W_dec", -1), ("W_enc", 1)):
        moved = own[name].grad.abs().sum(axis) > 1e-5
        assert moved.nonzero().tolist() == [[0, 4]]


# --- JumpReLU's gradients ------------------------------------------------------------------------


def test_the_thresholds_gradient_of_the_count_is_that_of_a_ramp():
    """Smoothed by a rectangle of width w, [p > theta] is a ramp: here its finite difference."""
    p = torch.linspace(-2, 3, 100_001, dtype=torch.float64)[None, :, None]
    theta = torch.tensor([[[0.6]]], dtype=torch.float64, requires_grad=True)
    jump_relu.Count.apply(p, theta, 1.0).mean().backward()

    def ramp(t):
        return ((p - t) / 1.0 + 0.5).clamp(0, 1).mean()

    expected = (ramp(0.6 + 1e-4) - ramp(0.6 - 1e-4)) / 2e-4
    assert float(theta.grad) == pytest.approx(float(expected), rel=1e-3)
    assert float(theta.grad) < -0.1


def test_the_thresholds_gradient_is_that_of_the_mean_loss_over_many_inputs():
    """Over a smooth density the mean loss has a slope in theta, which the rectangle estimates."""
    p = torch.linspace(0, 3, 300_001, dtype=torch.float64)[None, :, None]
    target = 0.3 + 0.5 * p

    def loss(theta, width=0.02):
        return (jump_relu.Jump.apply(p, theta, width) - target).square().mean()

    theta = torch.tensor([[[0.8]]], dtype=torch.float64, requires_grad=True)
    loss(theta).backward()
    up, down = (loss(torch.full((1, 1, 1), t, dtype=torch.float64)) for t in (0.81, 0.79))
    assert float(theta.grad) == pytest.approx(float(up - down) / 0.02, rel=0.02)


def test_p_gets_the_gradient_of_the_step_too():
    p = torch.tensor([[[0.2, 0.9, 1.6, -1.0]]], dtype=torch.float64, requires_grad=True)
    theta = torch.full((1, 1, 4), 0.5, dtype=torch.float64)
    jump_relu.Jump.apply(p, theta, 1.0).sum().backward()
    # Inside the rectangle theta/w more; above the threshold 1.
    assert p.grad.flatten().tolist() == [0.5, 1.5, 1.0, 0.0]


# --- training ------------------------------------------------------------------------------------


def test_adam_is_torchs():
    start = {"a": inputs(2, 3, 4), "b": inputs(1, 1, 6, seed=2)}
    ours = FlatAdam(start)
    theirs = {n: t.clone().requires_grad_() for n, t in start.items()}
    optimizer = torch.optim.Adam(theirs.values(), lr=0.05)

    def loss(p):
        return (p["a"].square().sum() - p["b"].sum() * p["a"].sum()).square().sqrt() + p[
            "b"
        ].exp().sum()

    for step in range(6):
        lr = 0.05 / (1 + step)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad()
        loss(theirs).backward()
        optimizer.step()
        ours.zero_grad()
        loss(ours.parameters).backward()
        ours.step(lr)
    for name, t in theirs.items():
        torch.testing.assert_close(ours.parameters[name], t, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("variant", list(KINDS))
def test_a_dictionary_learns_in_a_stack_what_it_learns_alone(variant):
    kind, n = KINDS[variant], 3
    x = inputs(2, 60, 6)
    strengths, seeds, source = [1.0, 2.0, 2.0], [4, 4, 9], torch.tensor([0, 1, 1])
    stack = initial_stack(6, 10, strengths, seeds, kind.own)
    together = train(kind, stack, Pool(x, source, tuple(seeds)), QUICK)
    for i in range(n):
        pool = Pool(x, source[i : i + 1], (seeds[i],))
        alone = train(kind, stack.take([i]), pool, QUICK)
        for name in ("W_enc", "W_dec", "b_enc", "b_dec"):
            found, expected = getattr(together, name)[i], getattr(alone, name)[0]
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(together.cut[i], alone.cut[0], equal_nan=True)
    assert (together.W_dec.norm(dim=-1) - 1).abs().max() < 1e-5
    assert not torch.equal(together.W_enc, stack.W_enc)
    for name in kind.nonnegative:
        assert (together.own[name] >= 0).all()
    assert (stack.W_dec - initial_stack(6, 10, strengths, seeds, kind.own).W_dec).abs().max() == 0


def test_a_loss_that_is_not_finite_is_an_error():
    kind = KINDS["l1"]
    stack = initial_stack(4, 6, [1.0], [0], kind.own)
    pool = Pool(torch.full((1, 8, 4), float("nan")), torch.zeros(1, dtype=torch.long), (0,))
    with pytest.raises(TrainingError, match="not finite"):
        train(kind, stack, pool, QUICK)


def test_the_schedule_warms_the_penalty_and_cools_the_rate():
    recipe = Recipe(steps=100, batch=8)
    assert [recipe.warm(s) for s in (0, 14, 29, 99)] == [1 / 30, 0.5, 1.0, 1.0]
    assert [recipe.lr_factor(s) for s in (0, 70, 85, 99)] == pytest.approx([1, 1, 0.5, 1 / 30])


def test_a_site_is_put_on_one_scale_and_back():
    x = 7 + 3 * inputs(1, 500, 6)[0]
    scale = Normaliser.of(x)
    normed = scale.forward(x)
    assert normed.mean(0).abs().max() < 1e-4
    assert float(normed.square().sum(-1).mean()) == pytest.approx(6, rel=1e-4)
    torch.testing.assert_close(scale.back(normed), x, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="vary"):
        Normaliser.of(torch.ones(3, 2))


# --- planted truth -------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"correlated": True}, {"zipf": 1.0}, {"noise": 0.2}])
def test_planted_inputs_are_what_the_settings_say(settings):
    truth = Planted.of(PlantedSettings(2, 16, 1.5, **settings), 3)
    x, active = truth.draw(20_000, "test")
    rates = truth.settings.rates()
    assert active.float().sum(-1).mean() == pytest.approx(1.5, rel=0.05)
    assert (active.float().mean(0) - rates).abs().max() < 4 * (0.25 / 20_000) ** 0.5
    if truth.settings.correlated:
        assert not (active[:, 16:] & ~active[:, :16]).any()  # a child never without its parent
        assert active[:, 16:].sum() == pytest.approx(0.5 * float(active[:, :16].sum()), rel=0.05)
    if truth.settings.zipf:
        assert float(rates[0] / rates[9]) == pytest.approx(10, rel=1e-4)
    sizes = torch.linalg.lstsq(truth.D[active[0]].T, x[0]).solution
    if truth.settings.noise:
        clean = Planted.of(PlantedSettings(2, 16, 1.5), 3).draw(20_000, "test")[0]
        assert float(clean.var(0).sum() / x.var(0).sum()) == pytest.approx(0.8, abs=0.01)
    else:
        assert ((sizes >= 0.499) & (sizes <= 1.501)).all()


@pytest.mark.parametrize("seed", range(5))
def test_the_truth_and_the_first_dictionary_of_one_seed_are_strangers(seed):
    """Drawn from one seed they would be the same numbers, and every variant would recover them."""
    truth = Planted.of(PlantedSettings(2, 16, 1.5), seed).D
    first = initial_stack(16, 64, [1.0], [seed], {}).W_dec[0]
    null = np.array([m.mean for m in random_matches(truth, 64, 40, 99)])
    assert abs(match(truth, first).mean - null.mean()) < 4 * null.std()
    assert match(truth, truth.roll(1, 0)).mean == pytest.approx(1)


@pytest.mark.parametrize(("variant", "strength"), [("l1", 3.0), ("batch_topk", 1.5)])
def test_orthogonal_features_are_recovered(variant, strength):
    """The random level before training, above 0.99 after it."""
    settings = PlantedSettings(1, 16, 1.5)
    D = torch.linalg.qr(random_rows(16, 16, 5)).Q.contiguous()
    truth = Planted(settings, 0, D)
    raw, _ = truth.draw(8192, "pool")
    test, active = truth.draw(2048, "test")
    scale, kind = Normaliser.of(raw), KINDS[variant]
    before = initial_stack(16, 24, [strength], [0], kind.own)
    null = [m.mean for m in random_matches(D, 24, 40, 0)]
    assert match(D, before.W_dec[0]).mean < max(null)
    pool = Pool(scale.forward(raw)[None], torch.zeros(1, dtype=torch.long), (0,))
    after = train(kind, before, pool, Recipe(steps=700, batch=128))
    assert match(D, after.W_dec[0]).mean > 0.99
    _, codes = reconstructions(kind, after, scale.forward(test)[None])
    assert np.nanmean(one_latent_f1(codes[0].numpy(), active.numpy())) > 0.99


@pytest.fixture(scope="module")
def small_study():
    config = PlantedConfig(
        d=16,
        ratios=[1],
        conditions=[],
        strengths={"topk": [2.0]},
        seeds=[0, 1],
        pool=4096,
        test=1024,
        recipe={"steps": 400, "batch": 128},
    )
    return planted_rows(config, 0, Bootstrap(resamples=200))


def test_a_planted_study_finds_its_truth_and_says_its_null(small_study, tmp_path):
    scores, matches = small_study
    write_table(scores, tmp_path / "p.parquet", DICTIONARIES_PLANTED, {})
    write_table(matches, tmp_path / "m.parquet", DICTIONARIES_MATCHES, {})
    of = {(r["metric"], r["seed"]): r for r in scores}
    for seed in (0, 1):
        mmcs, first = of["mmcs", seed], of["mmcs_initial", seed]
        assert mmcs["value"] > 0.97
        assert mmcs["value"] > mmcs["null_high"]
        assert mmcs["ci_low"] <= mmcs["value"] <= mmcs["ci_high"]
        # The untrained dictionary is one more draw of the null.
        spread = first["null_high"] - first["null_low"]
        assert abs(first["value"] - first["null"]) < 2 * spread
        assert of["l0", seed]["value"] <= 2
        assert (
            of["f1", seed]["null"] < of["f1", seed]["value"] <= of["f1_probe", seed]["value"] + 0.1
        )
    assert of["mmcs", 0]["value"] != of["mmcs", 1]["value"]


def test_histograms_hold_every_cosine(small_study):
    _, matches = small_study
    for direction in ("truth", "latent"):
        rows = [r for r in matches if r["direction"] == direction and r["seed"] == 0]
        assert sum(r["value"] for r in rows) == pytest.approx(1)
        assert sum(r["null"] for r in rows) == pytest.approx(1)
        top = [r for r in rows if r["cosine"] >= 0.9]
        assert sum(r["value"] for r in top) > 0.3
        assert sum(r["null"] for r in top) < 0.05
