"""Logits along a patch are polynomials of the stated degrees, known from degree + 1 runs."""

# Matrices keep the capitals of the formulas.

from __future__ import annotations

import numpy as np
import pytest
import torch

from fake_tensor import pattern_of, random_model, random_tokens
from zscope.core.errors import DataError
from zscope.models.exact_patching import head_direction, patch_degrees, patch_polynomial

SEQ, AT = 6, 2
READ = range(SEQ)


def patched_at(model, positions, seed=3):
    """A direction at `positions` of every sequence, of the size of half an embedding."""
    generator = torch.Generator().manual_seed(seed)
    v = torch.zeros(3, SEQ, model.config.d_model, dtype=torch.float64)
    v[:, positions] = 0.5 * torch.randn(
        3, len(positions), v.shape[2], generator=generator, dtype=torch.float64
    )
    return v


def brute_force(model, tokens, layer, direction, t):
    with torch.no_grad():
        return model.resume(model.stream(tokens, layer) + t * direction, layer).numpy()


def difference(values, order):
    return np.diff(values, n=order, axis=0)


def test_degrees_of_the_two_layer_model():
    one = [False, False, True, False]
    assert patch_degrees(2, 2, one) == [0, 0, 1, 0]
    assert patch_degrees(2, 1, one) == [0, 0, 5, 3]
    assert patch_degrees(2, 0, one) == [0, 0, 25, 21]
    assert patch_degrees(2, 1, [True] * 4) == [5] * 4
    assert patch_degrees(2, 1, [True, False, True, False]) == [5, 3, 5, 3]


@pytest.mark.parametrize("residual", ["add", "lerp"])
@pytest.mark.parametrize("positions", [[AT], [0, 1, 2, 3, 4, 5], [1, 4]], ids=["one", "all", "two"])
@pytest.mark.parametrize("layer", [1, 2])
def test_differences_of_the_next_order_vanish_and_of_the_degree_do_not(layer, positions, residual):
    model = random_model(residual=residual, lerp=0.5)
    tokens, v = random_tokens(model), patched_at(model, positions)
    runs = np.stack([brute_force(model, tokens, layer, v, t) for t in np.linspace(-1, 1, 8)])
    degrees = patch_degrees(2, layer, [p in positions for p in range(SEQ)])
    for position, degree in enumerate(degrees):
        logits = runs[:, :, position]
        assert abs(difference(logits, degree + 1)).max() < 1e-10
        assert abs(difference(logits, degree)).max() > 1e-6


@pytest.mark.parametrize("positions", [[AT], list(READ)], ids=["one", "all"])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_few_runs_give_the_logits_at_every_strength(layer, positions):
    model = random_model()
    tokens, v = random_tokens(model), patched_at(model, positions)
    found = patch_polynomial(model, tokens, layer, v, READ)
    assert found.degree == {0: 25, 1: 5, 2: 1}[layer]
    for t in (-1.0, -0.31, 0.0, 0.123, 0.5, 0.77, 1.0):
        expected = brute_force(model, tokens, layer, v, t)
        np.testing.assert_allclose(found.at(t), expected, atol=1e-8)
    expected = brute_force(model, tokens, layer, v, 1) - brute_force(model, tokens, layer, v, 0)
    np.testing.assert_allclose(found.effect(), expected, atol=1e-8)
    assert abs(expected).max() > 0.1


def test_degree_five_holds_far_outside_too():
    model = random_model()
    tokens, v = random_tokens(model), patched_at(model, [AT])
    found = patch_polynomial(model, tokens, 1, v, READ)
    for t in (-3.0, 2.0):
        np.testing.assert_allclose(found.at(t), brute_force(model, tokens, 1, v, t), atol=1e-8)


def test_runs_are_one_more_than_the_degree(monkeypatch):
    model, runs = random_model(), []
    tokens, v = random_tokens(model), patched_at(model, [AT])
    resume = type(model).resume
    monkeypatch.setattr(type(model), "resume", lambda *a: runs.append(1) or resume(*a))
    for layer, read, expected in [(1, [AT], 6), (1, [5], 4), (2, [AT], 2), (1, [AT - 1], 1)]:
        runs.clear()
        found = patch_polynomial(model, tokens, layer, v, read)
        assert len(runs) == expected == found.degree + 1
        full = patch_polynomial(model, tokens, layer, v, READ)
        np.testing.assert_allclose(found.at(0.6), full.at(0.6)[:, read], atol=1e-10)


def test_derivatives_are_those_of_autograd():
    model = random_model()
    tokens, v = random_tokens(model), patched_at(model, [1, 4])
    found = patch_polynomial(model, tokens, 1, v, READ)
    A = [block.attn for block in model.blocks]

    def logits(t):  # differentiable any number of times
        x = model.stream(tokens, 1) + t * v
        values = torch.einsum("bkd,hed->bhke", x, A[1].weight("v"))
        return model.unembed(
            x + torch.einsum("bhqe,hed->bqd", pattern_of(A[1], x) @ values, A[1].weight("o"))
        )

    for at in (0.0, 0.4):
        t = torch.tensor(at, dtype=torch.float64, requires_grad=True)
        for index in [(0, 2, 1), (2, 5, 6), (1, 1, 3)]:
            value = logits(t)[index]
            np.testing.assert_allclose(found.at(at)[index], value.item(), atol=1e-9)
            for order in range(1, 6):
                (value,) = torch.autograd.grad(value, t, create_graph=True, allow_unused=True)
                actual = found.derivative(at, order)[index]
                np.testing.assert_allclose(actual, value.item(), atol=1e-8)
                if not value.requires_grad:
                    break
    assert not found.derivative(0.3, 6).any()


def test_one_backward_pass_through_the_model_gives_attribution():
    model = random_model()
    tokens, v = random_tokens(model), patched_at(model, [AT])
    t = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    logit = model.resume(model.stream(tokens, 1) + t * v, 1)[0, 5, 2]
    (slope,) = torch.autograd.grad(logit, t)
    found = patch_polynomial(model, tokens, 1, v, [5])
    assert found.derivative(0.0)[0, 0, 2] == pytest.approx(slope.item(), abs=1e-9)


def test_the_effect_splits_by_degree():
    model = random_model()
    tokens, v = random_tokens(model), patched_at(model, [AT])
    found = patch_polynomial(model, tokens, 1, v, READ)
    parts = found.by_degree()
    assert len(parts) == 6
    np.testing.assert_allclose(parts[0], found.at(0.0), atol=1e-10)
    np.testing.assert_allclose(parts[1:].sum(0), found.effect(), atol=1e-9)
    for t in (0.2, -0.9):
        powers = np.array([t**k for k in range(6)])
        np.testing.assert_allclose(np.tensordot(powers, parts, 1), found.at(t), atol=1e-9)
    assert not np.allclose(parts[5][:, AT], 0, atol=1e-6)
    np.testing.assert_allclose(parts[4:, :, AT + 1 :], 0, atol=1e-9)  # keys alone: degree 3
    np.testing.assert_allclose(parts[1:, :, :AT], 0, atol=1e-9)  # before the patch: none


def test_replacing_a_token_is_a_patch_of_the_embedding():
    model = random_model()
    tokens = random_tokens(model)
    other = tokens.clone()
    other[:, AT] = (tokens[:, AT] + 1) % 7
    v = (model.tok_embed(other) - model.tok_embed(tokens)).detach()
    found = patch_polynomial(model, tokens, 0, v, READ)
    with torch.no_grad():
        np.testing.assert_allclose(found.at(0.0), model(tokens).numpy(), atol=1e-8)
        np.testing.assert_allclose(found.at(1.0), model(other).numpy(), atol=1e-8)


@pytest.mark.parametrize("residual", ["add", "lerp"])
@pytest.mark.parametrize("layer", [0, 1])
def test_a_heads_output_is_patched_as_through_transformerlens(layer, residual):
    from zscope.models.wrapped_tensor import wrap

    model = random_model(residual=residual, lerp=0.3)
    tokens, head = random_tokens(model), 1
    change = torch.randn(3, SEQ, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    v = head_direction(model, layer, head, change)
    found = patch_polynomial(model, tokens, layer + 1, v, READ)
    assert found.degree == (5 if layer == 0 else 1)

    def add(z, hook):
        z = z.clone()
        z[:, :, head] += 0.7 * change
        return z

    hooks = [(f"blocks.{layer}.attn.hook_z", add)]
    with torch.no_grad():
        expected = wrap(model).run_with_hooks(tokens, fwd_hooks=hooks).numpy()
    np.testing.assert_allclose(found.at(0.7), expected, atol=1e-8)


def test_the_model_given_is_left_as_it_was():
    model = random_model().float()
    before = {name: p.clone() for name, p in model.state_dict().items()}
    tokens, v = random_tokens(model), patched_at(model, [AT]).float()
    found = patch_polynomial(model, tokens, 1, v, READ)
    assert found.coefficients.dtype == np.float64
    for name, p in model.state_dict().items():
        assert p.dtype == torch.float32
        assert torch.equal(p, before[name])


def test_what_cannot_be_exact_is_refused():
    model = random_model()
    tokens, v = random_tokens(model), patched_at(model, [AT])
    for change in ({"attention": "softmax"}, {"rms_norm": True}):
        with pytest.raises(DataError, match="bilinear attention without norms"):
            patch_polynomial(random_model(**change), tokens, 1, v, READ)
    for layer, direction, read, message in [
        (3, v, [0], "layer 3"),
        (1, v[:, :2], [0], r"direction \(3, 2, 8\)"),
        (1, v, [6], r"positions in 0 \.\.\. 5"),
        (1, v, [], "name positions"),
    ]:
        with pytest.raises(DataError, match=message):
            patch_polynomial(model, tokens, layer, direction, read)
