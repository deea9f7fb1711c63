"""What is exact of a decomposition: with everything in place it is the target, its gauge shows in
no table, and what is taken out of the weights is what a mask takes out."""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N806

from dataclasses import replace

import numpy as np
import pytest
import torch

from decomposed import SHAPES, decomposition_of, evaluation, run_of, small_model, tokens
from zscope.studies.components.decomposition import descriptions, selectivity
from zscope.studies.components.decomposition.attack import Shares, attack, random_shares
from zscope.studies.components.decomposition.losses import (
    LossSettings,
    decomposition_loss,
    faithfulness,
)
from zscope.studies.components.decomposition.masks import (
    Masked,
    everything,
    fixed_masks,
    random_masks,
)
from zscope.studies.components.decomposition.measured import Run
from zscope.studies.components.decomposition.rank_one import (
    LEAK,
    importance_in_masks,
    importance_in_penalty,
)
from zscope.studies.components.decomposition.targets import TransformerTarget, clean_run, exact
from zscope.studies.components.decomposition.training import importances

pytestmark = pytest.mark.numerics
EVERY_SHAPE = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


@EVERY_SHAPE
def test_with_all_components_and_delta_it_is_the_target(shape):
    model = small_model(**shape)
    decomposition, ids = decomposition_of(model), tokens()
    g = importances(decomposition, clean_run(decomposition.target, ids))
    assert 0.05 < float((g > 0).double().mean()) < 0.95
    want = model(ids)
    whole = decomposition.target.run(ids, everything(g).apply(decomposition))
    torch.testing.assert_close(whole, want, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        decomposition.target.run(ids, exact(decomposition.target)), want, rtol=1e-10, atol=1e-10
    )
    # The components alone are not, before any training.
    alone = decomposition.target.run(ids, fixed_masks("unmasked", g).apply(decomposition))
    assert (alone - want).abs().max() > 1e-3


@EVERY_SHAPE
def test_single_precision_gives_the_logits_to_a_hundred_thousandth(shape):
    model = small_model(dtype=torch.float32, **shape)
    decomposition, ids = decomposition_of(model), tokens()
    ones = torch.ones(1, 1, len(decomposition.matrices), decomposition.n)
    whole = decomposition.target.run(ids, everything(ones).apply(decomposition))
    assert (whole - model(ids)).abs().max() < 1e-5


@EVERY_SHAPE
def test_a_mask_of_0_is_the_model_without_these_components(shape):
    """`without` edits weights, masks edit activations: two ways to one thing."""
    run = run_of(small_model(**shape))
    names = run.decomposition.matrices
    lost = {(0, 3), (0, 4), (len(names) - 1, 2), (len(names) // 2, 0)}
    m = torch.ones(len(names), run.decomposition.n, dtype=torch.float64)
    for row, c in lost:
        m[row, c] = 0
    masks = Masked(m, torch.ones(len(names), dtype=torch.float64))
    ids = run.evaluation.tokens
    masked = run.decomposition.target.run(ids, masks.apply(run.decomposition))
    edited = selectivity.without(run, lost)(ids)
    torch.testing.assert_close(masked, edited, rtol=1e-9, atol=1e-9)
    assert (edited - run.model(ids)).abs().max() > 1e-3
    torch.testing.assert_close(selectivity.without(run, [])(ids), run.model(ids))


def rescaled(run: Run, seed: int) -> Run:
    """The same components with other scales and signs of (U, V)."""
    made = decomposition_of(run.model, run.decomposition.n)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for V, U in zip(made.V, made.U, strict=True):
            size = torch.empty(V.shape[0], 1, V.shape[2]).normal_(generator=draw).double()
            V.mul_(size)
            U.div_(size.mT)
    return Run(made, run.evaluation)


def test_scale_and_sign_of_a_component_change_no_table():
    run = run_of(small_model())
    other = rescaled(run, 5)
    assert (run.decomposition.V[0] - other.decomposition.V[0]).abs().max() > 0.1
    found, again = descriptions.oriented(run), descriptions.oriented(other)
    words = [str(i) for i in range(run.model.config.d_vocab)]
    for make in (
        lambda r, f: descriptions.component_rows(r, f),
        lambda r, f: descriptions.head_norm_rows(r, f),
        lambda r, f: descriptions.token_rows(r, f, words),
        lambda r, f: descriptions.importance_rows(r, {}),
    ):
        a, b = list(make(run, found)), list(make(other, again))
        assert len(a) > 20
        for x, y in zip(a, b, strict=True):
            for key, value in x.items():
                if isinstance(value, float):
                    # Mean activations are sums in single precision.
                    assert y[key] == pytest.approx(value, rel=1e-4, abs=1e-6), key
                else:
                    assert y[key] == value, key


def test_activations_are_turned_to_be_positive_where_a_component_fires():
    run = run_of(small_model())
    found = descriptions.oriented(run)
    clean = clean_run(run.decomposition.target, run.evaluation.tokens)
    row = found.index("1.v")
    inner = clean.reads[2] @ found.reads[row].mT
    fires = run.g[:, :, row] > descriptions.FIRES
    assert fires.any()
    for c in range(run.decomposition.n):
        if fires[:, :, c].any():
            mean = float(inner[:, :, c][fires[:, :, c]].mean())
            assert mean == pytest.approx(float(found.activation[row, c]), rel=1e-4)
            assert mean >= 0


def test_ablations_in_each_head_add_up_to_the_whole_in_that_heads_scores():
    """q of a head is its own rows of U alone, so what is lost in one head changes no other's."""
    run = run_of(small_model())
    c = run.model.config
    some = [(run.decomposition.matrices.index("1.q1"), 2)]
    whole = selectivity.without(run, some).blocks[1].attn.q1.weight
    at = run.model.blocks[1].attn.q1.weight
    parts = []
    for head in range(c.n_heads):
        model = selectivity.without(run, some, (1, head))
        ids = run.evaluation.tokens
        clean, edited = (
            m.blocks[1].attn.split(m.blocks[1].attn.project(m.blocks[1].read(m.stream(ids, 1))))
            for m in (run.model, model)
        )
        change = (edited[0] @ edited[1].mT - clean[0] @ clean[1].mT).abs().amax((0, 2, 3))
        assert change[head] > 1e-6
        assert torch.cat([change[:head], change[head + 1 :]]).max() == 0
        parts.append(model.blocks[1].attn.q1.weight - at)
    torch.testing.assert_close(sum(parts), whole - at)


def test_an_output_component_is_lost_by_the_slice_that_reads_the_head():
    """Parts of o add up to the whole, a part reads no other head's z, and other layers stay."""
    run = run_of(small_model())
    c = run.model.config
    some = [(run.decomposition.matrices.index(f"{layer}.o"), 1) for layer in (0, 1)]
    whole = selectivity.without(run, some)
    lost = []
    for head in range(c.n_heads):
        model = selectivity.without(run, some, (1, head))
        assert torch.equal(model.blocks[0].attn.o.weight, run.model.blocks[0].attn.o.weight)
        change = model.blocks[1].attn.o.weight - run.model.blocks[1].attn.o.weight
        by_head = change.unflatten(1, (c.n_heads, c.d_head)).abs().amax((0, 2))
        assert by_head[head] > 1e-6
        assert by_head.sum() == by_head[head]
        lost.append(change)
    change = whole.blocks[1].attn.o.weight - run.model.blocks[1].attn.o.weight
    torch.testing.assert_close(sum(lost), change)


def test_head_norms_are_of_the_rows_of_a_head():
    run = run_of(small_model())
    found, d = descriptions.oriented(run), run.decomposition
    norms = descriptions.head_norms(found, 2)
    u, v = d.U[0][1][3].detach(), d.V[0][1, :, 3].detach()  # 0.k1, component 3
    for head in range(2):
        want = float(u[8 * head : 8 * head + 8].norm() * v.norm())
        assert float(norms[1, 3, head]) == pytest.approx(want, rel=1e-6)
    u, v = d.U[1][0][3].detach(), d.V[1][0, :, 3].detach()  # 0.o reads the heads
    row = found.index("0.o")
    for head in range(2):
        want = float(v[8 * head : 8 * head + 8].norm() * u.norm())
        assert float(norms[row, 3, head]) == pytest.approx(want, rel=1e-6)


def test_spread_is_1_for_equal_heads_and_0_for_one():
    even, one = torch.ones(1, 4), torch.tensor([[0.0, 2.0, 0.0, 0.0]])
    assert float(descriptions.spread(even)) == pytest.approx(1)
    assert float(descriptions.spread(one)) == pytest.approx(0)
    assert float(descriptions.largest_share(one)) == 1


# --- masks and losses ---------------------------------------------------------------------------


def test_random_masks_never_take_away_what_is_important():
    g = torch.rand(40, 5, 6, 7, generator=torch.Generator().manual_seed(0))
    draw = torch.Generator().manual_seed(1)
    masks = random_masks(g, draw, subset=False)
    assert (masks.components >= g).all()
    assert (masks.components <= 1).all()
    # Uniform between g and 1.
    u = (masks.components - g) / (1 - g)
    assert float(u.mean()) == pytest.approx(0.5, abs=0.02)
    some = random_masks(g, draw, subset=True)
    exact_there = (some.components == 1).all(-1)
    assert (some.deltas[exact_there] == 1).all()
    masked = (~exact_there).sum(-1)
    assert int(masked.min()) == 1
    assert int(masked.max()) == 6
    counts = np.bincount(masked.flatten().numpy(), minlength=7)[1:]
    assert (np.abs(counts - counts.mean()) < 4 * np.sqrt(counts.mean())).all()


def test_importances_have_the_slopes_of_the_paper():
    h = torch.tensor([-0.5, -0.5, 0.4, 1.5], requires_grad=True)
    g = importance_in_masks(h)
    assert g.tolist() == pytest.approx([0, 0, 0.4, 1])
    g.backward(torch.tensor([2.0, -2.0, 3.0, 3.0]))
    # Below 0 only what raises g; descent goes against the gradient.
    assert h.grad.tolist() == pytest.approx([0, -2 * LEAK, 3, 0])
    h = torch.tensor([-0.5, 0.4, 1.5], requires_grad=True)
    importance_in_penalty(h).sum().backward()
    assert h.grad.tolist() == pytest.approx([0, 1, LEAK])


def test_p_falls_from_the_first_value_to_the_last_and_stays():
    settings = LossSettings(penalty=1.0, faithful_steps=10, steps=100, adversarial_steps=5)
    assert settings.p(10) == 2
    assert settings.p(40) == pytest.approx(1.25)
    assert settings.p(70) == pytest.approx(0.5)
    assert settings.p(114) == 0.5
    assert settings.total == 115


def test_faithful_components_have_no_delta():
    made = decomposition_of(small_model(), n=16)
    with torch.no_grad():
        for group, V, U in zip(made.target.groups, made.V, made.U, strict=True):
            # U V^T = W, with as many components as inputs: (V U)^T = W.
            U.copy_(torch.linalg.solve(V, group.weights.mT))
    assert float(faithfulness(made)) < 1e-20


def test_the_faithful_phase_sees_faithfulness_alone():
    made = decomposition_of(small_model()).requires_grad_(True)
    settings = LossSettings(penalty=1.0, faithful_steps=2, steps=4, adversarial_steps=2)
    ids = tokens()
    first = decomposition_loss(made, ids, 0, settings, 0)
    assert float(first.detach()) == pytest.approx(1000 * float(faithfulness(made).detach()))
    later = decomposition_loss(made, ids, 3, settings, 0)
    assert float(later.detach()) > float(first.detach())
    assert float(decomposition_loss(made, ids, 3, settings, 0)) == float(later)
    assert float(decomposition_loss(made, ids, 3, settings, 1)) != float(later)
    louder = replace(settings, penalty=2.0)
    assert float(decomposition_loss(made, ids, 3, louder, 0)) > float(later) + 1e-3
    attacked = decomposition_loss(made, ids, 6, settings, 0)
    unattacked = decomposition_loss(
        made, ids, 6, replace(settings, adversarial_steps=0, steps=9), 0
    )
    assert float(attacked) > float(unattacked)


def test_the_attack_finds_the_corner_of_a_linear_damage():
    start = random_shares(3, 4, torch.Generator().manual_seed(0))
    signs = torch.where(
        torch.rand(3, 4, generator=torch.Generator().manual_seed(1)) < 0.5, -1.0, 1.0
    )

    def damage(shares: Shares) -> torch.Tensor:
        return (signs * shares.components).sum() - shares.deltas.sum()

    seen = []
    worst = attack(
        start, damage, steps=12, size=0.1, visit=lambda i, s: seen.append(float(damage(s)))
    )
    assert torch.equal(worst.components, (signs > 0).float())
    assert torch.equal(worst.deltas, torch.zeros(3))
    assert len(seen) == 13
    assert seen == sorted(seen)


def test_shares_of_the_adversary_are_the_same_at_every_position():
    g = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    shares = random_shares(4, 5, torch.Generator().manual_seed(1))
    u = (shares.masks(g).components - g) / (1 - g)
    torch.testing.assert_close(u, shares.components.expand_as(u), rtol=1e-3, atol=1e-3)


def test_groups_are_the_matrices_of_the_model():
    model = small_model()
    target = TransformerTarget(model)
    names = [name for group in target.groups for name in group.matrices]
    assert names == [f"{i}.{n}" for i in range(2) for n in ("q1", "k1", "q2", "k2", "v", "o")]
    assert torch.equal(target.groups[2].weights[4], model.blocks[1].attn.v.weight)
    assert len(evaluation().masks) > 3
