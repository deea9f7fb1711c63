"""Z from weights, spaces, updates and bridges, against slow references and planted answers."""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N803, N806

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from transformers import Qwen2Config, Qwen2ForCausalLM

from plain_spaces import (
    distance_ratio,
    energy_matched_space,
    ffn_overlap,
    language_energy,
    norm_ratio,
    projector,
    rank_null,
    similarity,
    split,
    update_against_null,
    update_ratio,
)
from zscope.core.errors import DataError
from zscope.models.architectures import ARCHITECTURES
from zscope.models.attention_kernels import (
    KINDS,
    AttentionWeights,
    kernel_spectra,
    rank_bound,
    stacked_right_space,
)
from zscope.studies.crosslingual.space import linear_map as b
from zscope.studies.crosslingual.space import subspaces
from zscope.studies.crosslingual.space.ranks import (
    RANKS,
    coefficient_of_variation,
    effective_ranks,
)
from zscope.studies.crosslingual.space.subspaces import (
    chance_ratio,
    chance_share,
    energy_matched_spaces,
    energy_share,
    energy_spectrum_of,
    random_space,
)
from zscope.studies.crosslingual.space.updates import positions_used, z_score
from zscope.verdicts import draw_test

EXACT = 1e-9


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def make_weights(n_heads=4, n_kv=2, d_head=3, d=16, seed=0):
    sizes = ((n_heads, 1), (n_kv, 2), (n_kv, 3), (n_heads, 4))
    drawn = [randn(n, d_head, d, seed=10 * seed + s) for n, s in sizes]
    return AttentionWeights(*drawn, gain=randn(d, seed=10 * seed + 5).exp())


def explicit_kernels(w: AttentionWeights, kind: str):
    """Every head's d x d kernel, as one would write it first."""
    out = []
    for h in range(w.n_heads):
        kv = h // (w.n_heads // w.n_kv)
        K = (w.W_q[h] * w.gain).T @ (w.W_k[kv] * w.gain) / math.sqrt(w.d_head)
        K = {"qk": K, "kq": K.T, "ov": w.W_o[h].T @ (w.W_v[kv] * w.gain)}[kind]
        out.append(K / K.norm())
    return torch.stack(out)


def same_space(V1, V2):
    return torch.allclose(projector(V1), projector(V2), atol=1e-8)


# --- Z from weights -------------------------------------------------------------------------------

SHAPES = [(4, 2, 3, 16), (4, 4, 3, 16), (6, 2, 2, 9), (4, 1, 5, 12), (2, 2, 8, 6)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_factored_space_and_spectra_are_those_of_the_explicit_kernels(shape, kind):
    w = make_weights(*shape)
    kernels = explicit_kernels(w, kind)
    _, s, Vh = torch.linalg.svd(kernels.flatten(0, 1), full_matrices=False)
    bound = rank_bound(w, kind)
    for k in range(1, bound + 1):
        V = stacked_right_space(w, k, kind)
        torch.testing.assert_close(V @ V.T, torch.eye(k).double(), atol=EXACT, rtol=0)
        assert same_space(V, Vh[:k])
    spectra = kernel_spectra(w, kind)
    torch.testing.assert_close(spectra.stack, s[:bound])
    assert not (s[bound:] > EXACT).any()
    per_head = torch.linalg.svdvals(kernels)
    torch.testing.assert_close(spectra.heads, per_head[:, : min(w.d_head, w.d)])
    for head in range(w.n_heads):
        k = min(2, rank_bound(w, kind, head))
        alone = torch.linalg.svd(kernels[head]).Vh[:k]
        assert same_space(stacked_right_space(w, k, kind, head), alone)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shrink", [0.0, 1e-9, 1e-4])
def test_the_spectra_of_collapsed_heads_are_those_of_the_explicit_kernels(shrink, kind):
    """All rows of some matrices alike but for `shrink`, so that their Gram matrices are singular,
    or nearly so."""
    w = make_weights(4, 2, 5, 12)

    def collapse(W, heads):
        W = W.clone()
        W[heads] = W[heads, :1] + shrink * W[heads]
        return W

    low = replace(
        w, W_q=collapse(w.W_q, [1, 2]), W_v=collapse(w.W_v, [0]), W_o=collapse(w.W_o, [0])
    )
    kernels = explicit_kernels(low, kind)
    spectra = kernel_spectra(low, kind)
    per_head = torch.linalg.svdvals(kernels)[:, :5]
    torch.testing.assert_close(spectra.heads, per_head, atol=1e-7, rtol=0)
    stack = torch.linalg.svdvals(kernels.flatten(0, 1))[: len(spectra.stack)]
    torch.testing.assert_close(spectra.stack, stack, atol=1e-7, rtol=0)
    # Only the ranks that count small values see the rounding of the roots.
    found, expected = effective_ranks(spectra.heads), effective_ranks(per_head)
    for name in RANKS:
        torch.testing.assert_close(found[name], expected[name], atol=0, rtol=1e-5)


def test_no_spectrum_of_a_head_that_is_zero_or_not_finite():
    w = make_weights()
    for damaged in (0 * w.W_v, w.W_v / 0):
        with pytest.raises(DataError, match="zero or not finite"):
            kernel_spectra(replace(w, W_v=damaged), "ov")


@pytest.mark.parametrize(("kind", "name"), [("qk", "W_k"), ("kq", "W_q"), ("ov", "W_v")])
def test_z_lies_in_the_row_space_of_the_matrix_on_the_right(kind, name):
    w = make_weights(4, 2, 3, 20)
    rows = (getattr(w, name) * w.gain).flatten(0, 1)
    Q = torch.linalg.qr(rows.T).Q
    V = stacked_right_space(w, rank_bound(w, kind), kind)
    torch.testing.assert_close(V @ Q @ Q.T, V, atol=EXACT, rtol=0)
    assert len(V) == len(rows)


def test_z_does_not_depend_on_the_size_of_a_head_but_on_the_gain():
    w = make_weights()
    V = stacked_right_space(w, 3)
    scales = torch.tensor([1.0, 100.0, 0.01, 7.0]).double()[:, None, None]
    assert same_space(V, stacked_right_space(replace(w, W_q=w.W_q * scales), 3))
    assert not same_space(V, stacked_right_space(replace(w, gain=torch.ones(16).double()), 3))


def test_a_k_past_the_rank_is_refused_with_its_numbers():
    w = make_weights(4, 2, 3, 16)
    with pytest.raises(DataError, match=r"k = 7 is not in 1..6.*2 x 3"):
        stacked_right_space(w, 7)
    with pytest.raises(DataError, match=r"1..3.*1 x 3"):
        stacked_right_space(w, 4, head=0)
    with pytest.raises(DataError, match=r"1..12.*4 x 3"):
        stacked_right_space(w, 13, "kq")
    with pytest.raises(DataError, match="k = 0"):
        stacked_right_space(w, 0)
    low = replace(w, W_k=w.W_k[:1].repeat(2, 1, 1))
    stacked_right_space(low, 3)
    with pytest.raises(DataError, match="k = 4 is more than 3"):
        stacked_right_space(low, 4)
    with pytest.raises(DataError, match="zero or not finite"):
        stacked_right_space(replace(w, W_k=0 * w.W_k), 1)
    with pytest.raises(ValueError, match="no kind"):
        stacked_right_space(w, 1, "vo")
    with pytest.raises(ValueError, match="W_v is"):
        replace(w, W_v=w.W_v[:1])


def test_weights_of_a_qwen2_layer_give_its_projections():
    config = Qwen2Config(
        vocab_size=11, hidden_size=24, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=6, num_key_value_heads=2, max_position_embeddings=8,
    )  # fmt: skip
    layer = Qwen2ForCausalLM(config).model.layers[0].double()
    layer.input_layernorm.weight.data = randn(24)
    w = ARCHITECTURES["Qwen2ForCausalLM"].attention_weights(layer)
    assert (w.n_heads, w.n_kv, w.d_head, w.d) == (6, 2, 4, 24)
    x, attention = randn(5, 24), layer.self_attn
    for W, projection in [(w.W_q, "q"), (w.W_k, "k"), (w.W_v, "v")]:
        linear = getattr(attention, f"{projection}_proj")
        expected = (linear(x) - linear.bias).unflatten(-1, (-1, 4))
        torch.testing.assert_close(torch.einsum("hed,td->the", W, x), expected)
    z = randn(5, 6, 4, seed=1)
    written = torch.einsum("hed,the->td", w.W_o, z)
    torch.testing.assert_close(written, attention.o_proj(z.flatten(1)))
    assert torch.equal(w.gain, layer.input_layernorm.weight)
    w.gain.zero_()
    assert layer.input_layernorm.weight.abs().sum() > 0


# --- effective ranks ------------------------------------------------------------------------------


@given(st.integers(1, 9), st.integers(0, 5), st.floats(1e-3, 1e3))
def test_r_equal_singular_values_have_rank_r_by_every_definition(r, zeros, scale):
    s = torch.cat([torch.full((r,), scale), torch.zeros(zeros)])
    for name, rank in effective_ranks(s).items():
        assert float(rank) == pytest.approx(r), name


def test_effective_ranks_are_what_they_are_called():
    s = torch.tensor([2.0, 1.0])
    ranks = {name: float(v) for name, v in effective_ranks(s).items()}
    entropy = -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))
    energy = -(0.8 * math.log(0.8) + 0.2 * math.log(0.2))
    assert ranks == pytest.approx(
        {"entropy": math.exp(entropy), "energy": math.exp(energy), "participation": 25 / 17,
         "stable": 1.25}
    )  # fmt: skip
    with pytest.raises(DataError):
        effective_ranks(torch.zeros(2))


def test_gaussian_heads_lie_in_their_null_and_a_collapsed_one_below_it():
    w = make_weights(4, 2, 8, 64)
    null = rank_null(w, 40, generator())
    found = effective_ranks(kernel_spectra(w).heads)
    collapsed = w.W_q.clone()
    collapsed[1] = collapsed[1, :1] + 1e-3 * collapsed[1]
    below = effective_ranks(kernel_spectra(replace(w, W_q=collapsed)).heads)
    for name in RANKS:
        assert null[name].shape == (40, 4)
        assert abs(float(found[name].mean() - null[name].mean())) < 4 * float(null[name].std())
        assert float(below[name][1]) < 1.1 < float(null[name].min())
    assert all(1 <= float(r) <= 16 for r in effective_ranks(kernel_spectra(w).stack).values())


def test_gaussian_weights_in_single_precision_have_the_ranks_of_unrounded_ones():
    w = make_weights(4, 2, 16, 64)
    rounded = replace(w, W_q=w.W_q.float(), W_k=w.W_k.float())
    for exact, found in zip(kernel_spectra(w), kernel_spectra(rounded), strict=True):
        ranks = effective_ranks(found)
        for name, expected in effective_ranks(exact).items():
            torch.testing.assert_close(ranks[name], expected, atol=0, rtol=1e-6)


def test_coefficient_of_variation_divides_by_the_number_of_heads():
    values = [3.0, 5.0, 10.0]
    found = float(coefficient_of_variation(torch.tensor(values)))
    assert found == pytest.approx(np.std(values) / np.mean(values))


# --- spaces ---------------------------------------------------------------------------------------


@given(st.integers(2, 12), st.data())
def test_projectors_are_symmetric_idempotent_and_split_in_two_orthogonal_parts(d, data):
    k = data.draw(st.integers(1, d))
    V = random_space(d, k, generator(data.draw(st.integers(0, 99))))
    P = projector(V)
    torch.testing.assert_close(P, P.T)
    torch.testing.assert_close(P @ P, P, atol=EXACT, rtol=0)
    assert float(P.trace()) == pytest.approx(k)
    x = randn(3, 2, d)
    inside, perp = split(x, V)
    torch.testing.assert_close(inside, x @ P, atol=EXACT, rtol=0)
    torch.testing.assert_close(inside + perp, x)
    torch.testing.assert_close(perp @ P, torch.zeros_like(x), atol=EXACT, rtol=0)


def test_nulls_are_the_means_over_random_spaces():
    d, k, draws = 40, 6, 400
    g = generator()
    spaces = [random_space(d, k, g) for _ in range(draws)]
    x = randn(d, seed=7)
    shares = torch.tensor([energy_share(x, V) for V in spaces])
    alike = torch.tensor([similarity(spaces[0], V) for V in spaces[1:]])
    ratios = torch.stack([norm_ratio(x, V) for V in spaces])
    for values, null in [(shares, k / d), (alike, chance_share(k, d))]:
        assert abs(float(values.mean()) - null) < 4 * float(values.std()) / draws**0.5
    # The norms' ratio is that of the mean energies, which its own mean is close to.
    assert float(ratios.mean()) == pytest.approx(chance_ratio(k, d), rel=0.03)
    assert chance_ratio(50, 2048) == pytest.approx(0.158, abs=5e-4)


def test_random_spaces_are_uniform_down_to_the_basis():
    rows = torch.stack([random_space(3, 3, generator(seed)) for seed in range(600)])
    assert rows.mean(0).abs().max() < 0.1
    torch.testing.assert_close(
        (rows**2).mean(0), torch.full((3, 3), 1 / 3).double(), atol=0.05, rtol=0
    )
    with pytest.raises(DataError, match="1 to 3"):
        random_space(3, 4, generator())


@pytest.mark.parametrize("decay", [0.0, 0.3, 3.0])
@pytest.mark.parametrize("n", [8, 12, 200])
def test_a_share_found_without_the_spaces_leads_to_the_same_spaces(n, decay, monkeypatch):
    """Of Gram matrices where that is accurate, and of QR alone; steep spectra need QR."""
    d, k = 24, 7
    scale = torch.exp(-decay * torch.arange(d, dtype=torch.float64))
    spectrum = energy_spectrum_of(torch.randn(n, d, generator=generator()).double() * scale)
    target = float(spectrum.energy[:k].sum()) * 0.6
    used = []
    share_of_span = subspaces._share_of_span

    def counted(*parts):
        share = share_of_span(*parts)
        used.append(share is not None)
        return share

    monkeypatch.setattr(subspaces, "_share_of_span", counted)
    found = energy_matched_spaces(spectrum, k, target, 5, generator())
    monkeypatch.setattr(subspaces, "_share_of_span", lambda *parts: None)
    exact = energy_matched_spaces(spectrum, k, target, 5, generator())
    torch.testing.assert_close(found.mT @ found, exact.mT @ exact, rtol=0, atol=1e-6)
    assert any(used) or decay == 3.0


@pytest.mark.parametrize("n", [8, 12, 200])  # states: far fewer than dimensions, fewer, and more
@pytest.mark.parametrize("part", [0.2, 0.8])
def test_an_energy_matched_space_is_a_gaussian_one_that_is_tilted(n, part):
    """orth(C^(a/2) G) in the stream's coordinates, with the one a that gives the space's share."""
    d, k, draws = 24, 7, 3
    X = torch.randn(n, d, generator=generator()).double() * 0.9 ** torch.arange(d)
    spectrum = energy_spectrum_of(X)
    target = part * float(spectrum.energy[:k].sum())
    found = energy_matched_spaces(spectrum, k, target, draws, generator())
    gaussian = torch.randn(draws, d, k, generator=generator(), dtype=torch.float64)
    for V, G in zip(found, gaussian, strict=True):
        share = energy_share(X, V)
        assert share == pytest.approx(target, abs=1e-5)
        expected = tilted_to(share, X, G, steepest=1.5 if n < d else 8)
        torch.testing.assert_close(projector(V), projector(expected), atol=1e-7, rtol=0)
        torch.testing.assert_close(V @ V.mT, torch.eye(k).double(), atol=EXACT, rtol=0)


def tilted_to(share, X, G, steepest):
    """orth(C^(a/2) G) with this share, by QR of the d columns and a root search."""
    values, U = torch.linalg.eigh(X.mT @ X)
    values = (values / values.max()).clamp(min=subspaces.LEAST_RATIO)

    def tilted(a):
        return torch.linalg.qr((U * values ** (a / 2)) @ U.mT @ G).Q.mT

    def excess(a):
        return energy_share(X, tilted(a)) - share

    return tilted(brentq(excess, -0.8, steepest, xtol=1e-14))


@pytest.mark.parametrize("target", [0.02, 0.1, 0.35, 0.8, 0.97])
@pytest.mark.parametrize("decay", [0.5, 2.0])
def test_energy_matched_spaces_hold_the_energy_asked_for(target, decay):
    d, k = 60, 6
    basis = random_space(d, d, generator(3))
    x = randn(500, d) * torch.arange(1, d + 1).double() ** -decay @ basis
    cov = x.T @ x / len(x)
    values = torch.linalg.eigvalsh(cov)
    if not values[:k].sum() / values.sum() <= target <= values[-k:].sum() / values.sum():
        with pytest.raises(DataError, match="hold"):
            energy_matched_space(cov, k, target, generator())
        return
    V1, V2 = (energy_matched_space(cov, k, target, generator(s)) for s in (1, 2))
    for V in (V1, V2):
        torch.testing.assert_close(V @ V.T, torch.eye(k).double(), atol=EXACT, rtol=0)
        assert energy_share(x, V) == pytest.approx(target, abs=1e-4)
    assert similarity(V1, V2) < 0.999


@pytest.mark.parametrize(("n", "k"), [(8, 5), (8, 25), (27, 5), (60, 5)])
def test_states_that_are_fewer_than_dimensions_have_matched_spaces_too(n, k):
    """By the definition orth(C^(a/2) G) in all d dimensions, the empty ones weighted alike."""
    d = 30
    x = randn(n, d, seed=7) * torch.logspace(1, -1, d).double()
    share = 0.6 if k < 20 else 0.95
    spectrum = energy_spectrum_of(x)
    found = energy_matched_spaces(spectrum, k, share, 3, generator())
    values, vectors = torch.linalg.eigh(x.T @ x)
    weights = (values / values[-1]).clamp(min=1e-12).log()
    for V, G in zip(found, randn(3, d, k), strict=True):
        torch.testing.assert_close(V @ V.T, torch.eye(k).double(), atol=EXACT, rtol=0)
        assert energy_share(x, V) == pytest.approx(share, abs=1e-4)

        def space(a, G=G):
            return torch.linalg.qr(vectors @ ((a / 2 * weights).exp()[:, None] * (vectors.T @ G))).Q

        low, high = -8.0, 8.0
        for _ in range(60):
            a = (low + high) / 2
            low, high = (a, high) if energy_share(x, space(a).T) < share else (low, a)
        P, Q = projector(V), projector(space(low).T.contiguous())
        torch.testing.assert_close(P, Q, atol=5e-3, rtol=0)
    with pytest.raises(DataError, match="all 0"):
        energy_spectrum_of(torch.zeros(3, d))


def test_similarity_runs_from_orthogonal_to_equal():
    V = random_space(10, 4, generator())
    turned = random_space(4, 4, generator(1)) @ V
    assert similarity(V, turned) == pytest.approx(1)
    basis = random_space(10, 10, generator(2))
    assert similarity(basis[:4], basis[4:8]) == pytest.approx(0, abs=EXACT)
    assert similarity(basis[:4], basis[2:6]) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="other sizes"):
        similarity(V, V[:3])


def test_ffn_overlap_is_chance_for_random_vectors_and_counts_planted_ones():
    d, k = 32, 8
    basis = random_space(d, d, generator())
    V = basis[:k]
    assert ffn_overlap(randn(5000, d), V).ratio == pytest.approx(1, abs=0.03)
    assert ffn_overlap(randn(50, d - k) @ basis[k:], V).share == pytest.approx(0, abs=EXACT)
    W = torch.cat([2 * basis[:3], basis[20:24]])
    assert ffn_overlap(W, V).share == pytest.approx(12 / 16)
    assert ffn_overlap(W, V, rank=4) == pytest.approx((3 / 4, 1 / 4, 3))
    with pytest.raises(DataError):
        energy_share(torch.zeros(3, d), V)


# --- updates and languages ------------------------------------------------------------------------


def test_update_ratios_leave_out_padding_and_position_0():
    d, V = 12, random_space(12, 3, generator())
    dh, mask = randn(2, 5, d), torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    dh[0, :2] = torch.nan
    for skip in (False, True):
        found = update_ratio(dh, mask, V, skip)
        starts = (2 + skip, int(skip))
        for i, start in enumerate(starts):
            tokens = dh[i, start:]
            inside, perp = split(tokens.mean(0), V)
            assert float(found.pooled[i]) == pytest.approx(float(inside.norm() / perp.norm()))
            for t in range(5):
                inside, perp = split(dh[i, t], V)
                expected = float(inside.norm() / perp.norm()) if t >= start else math.nan
                assert float(found.tokens[i, t]) == pytest.approx(expected, nan_ok=True)
    with pytest.raises(DataError, match="no tokens"):
        positions_used(torch.tensor([[0, 1]]), skip_first=True)


def test_updates_stand_out_where_they_were_planted_only():
    d, k, g = 40, 4, generator()
    V = random_space(d, k, g)
    dh, mask = randn(30, 6, d, seed=5), torch.ones(30, 6, dtype=torch.int64)
    spaces = [random_space(d, k, g) for _ in range(20)]
    plain = update_against_null(dh, mask, V, spaces)
    inside, perp = split(dh, V)
    planted = update_against_null(2 * inside + perp, mask, V, spaces)
    assert planted.ratio == pytest.approx(2 * plain.ratio)
    assert plain.over_null == pytest.approx(1, abs=0.15)
    assert abs(plain.z) < 4 < 10 < planted.z
    assert planted.ratio < 1  # below the protocol's threshold, though far above its null
    assert planted.null == chance_ratio(k, d)
    with pytest.raises(DataError, match="2 or more draws"):
        update_against_null(dh, mask, V, [])
    assert z_score(4.0, torch.tensor([1.0, 3.0])) == pytest.approx(2 / math.sqrt(2))


def test_distances_and_language_energy_find_shared_content_in_z():
    n, d, k = 12, 20, 4
    basis = random_space(d, d, generator())
    V, outside = basis[:k], basis[k:]
    content = randn(n, k) @ V
    language = outside[0]
    zh, en = (
        content + sign * language + 0.1 * randn(n, d - k, seed=s) @ outside
        for sign, s in ((1, 1), (-1, 2))
    )
    found = distance_ratio(zh, en, V)
    assert found.inside == pytest.approx(0, abs=EXACT)
    assert found.perp == pytest.approx(1, abs=0.05)
    assert language_energy(zh, en, V) == pytest.approx(0, abs=EXACT)
    assert language_energy(zh, en, outside[:1]) > 0.95

    P = projector(V)
    zh, en = randn(n, d, seed=3) + 1000, randn(n, d, seed=4) + 1000
    for part, Q in zip(distance_ratio(zh, en, V), (P, torch.eye(d).double() - P), strict=True):
        D = [[float(((a - e) @ Q).norm()) for e in en] for a in zh]
        same = np.mean([D[i][i] for i in range(n)])
        other = np.mean([D[i][j] for i in range(n) for j in range(n) if i != j])
        assert part == pytest.approx(same / other)
    with pytest.raises(DataError, match="2 or more"):
        distance_ratio(zh[:1], en[:1], V)


# --- bridge ---------------------------------------------------------------------------------------


def loo_by_sklearn(x, y):
    """Predictions of left-out rows; least squares there are of least norm."""
    return torch.from_numpy(cross_val_predict(LinearRegression(), x, y, cv=LeaveOneOut()))


@pytest.mark.parametrize(("n", "k"), [(30, 4), (12, 11), (11, 11), (8, 11), (20, 1)])
def test_left_out_least_squares_is_that_of_scikit_learn(n, k):
    x, y = randn(n, k) + 5, randn(n, k, seed=1)
    expected = loo_by_sklearn(x.numpy(), y.numpy())
    found = y - b.loo_residual_map(x) @ y
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=1e-7)
    assert float(b.loo_r2(x, y)) == pytest.approx(float(b.r_squared(y, expected)))
    fitted = LinearRegression().fit(x, y)
    assert float(b.ols_r2(x, y)) == pytest.approx(
        float(b.r_squared(y, torch.from_numpy(fitted.predict(x)))), abs=1e-9
    )


def test_a_row_that_alone_holds_a_direction_is_left_out_too():
    x, y = randn(10, 3), randn(10, 3, seed=1)
    x[:, 2] = 0
    x[4, 2] = 3
    expected = loo_by_sklearn(x.numpy(), y.numpy())
    torch.testing.assert_close(y - b.loo_residual_map(x) @ y, expected)


@pytest.mark.parametrize(("n", "k"), [(25, 4), (10, 12)])
def test_nested_ridge_is_that_of_scikit_learn(n, k):
    x = randn(n, k) + 3
    y = x @ randn(k, k, seed=2) + 4 * randn(n, k, seed=1)
    alphas = [0.01, 0.3, 1.0, 10.0, 100.0]
    expected = torch.empty_like(y)
    chosen = set()
    for train, test in LeaveOneOut().split(x):
        ridge = RidgeCV(alphas).fit(x[train].numpy(), y[train].numpy())
        expected[test] = torch.from_numpy(ridge.predict(x[test].numpy()))
        chosen.add(ridge.alpha_)
    torch.testing.assert_close(b.ridge_loo_predictions(x, y, alphas), expected)
    both = torch.stack([y, y.flip(0)])
    alone = [b.ridge_loo_r2(x, part, alphas) for part in both]
    torch.testing.assert_close(b.ridge_loo_r2(x, both, alphas), torch.stack(alone))
    assert chosen <= set(alphas)


@pytest.mark.parametrize(("n", "k"), [(20, 20), (20, 50)])
def test_the_protocol_s_score_is_perfect_on_noise_and_left_out_ones_are_not(n, k):
    for seed in range(5):
        found = b.bridge(randn(n, k, seed=seed), randn(n, k, seed=1000 + seed))
        assert found.protocol_r2 == pytest.approx(1)
        assert found.ols_r2 == pytest.approx(1)
        assert found.loo_r2 < 0
        assert found.ridge_loo_r2 < 0.05


def test_a_planted_rotation_is_recovered_and_its_shuffles_are_not():
    n, k = 60, 5
    Q = random_space(k, k, generator(4))
    x = randn(n, k) * 3 + 10
    y = 0.7 * x @ Q + 2 + 0.1 * randn(n, k, seed=1)
    found = b.bridge(x, y)
    for name in ("ols_r2", "loo_r2", "ridge_loo_r2", "procrustes_r2"):
        assert getattr(found, name) > 0.99, name
    assert found.procrustes_scale == pytest.approx(0.7, abs=0.01)
    centred = b.bridge(x - x.mean(0), y - y.mean(0))
    torch.testing.assert_close(
        centred.singular_values, torch.full((k,), 0.7).double(), atol=0.02, rtol=0
    )
    assert centred.orthogonality_error == pytest.approx(0.51 / math.sqrt(k), abs=0.02)
    assert found.loo_r2 < found.ols_r2
    null = b.permutation_null(x, y, np.repeat(["a", "b"], n // 2), 30, generator())
    for name, values in null._asdict().items():
        assert values.shape == (30,)
        assert float(values.max()) < 0.5, name
        assert draw_test(getattr(found, name), values.numpy()).p == pytest.approx(1 / 31)


def test_procrustes_leaves_the_shear_of_a_map_to_least_squares():
    x = randn(200, 2)
    y = x @ torch.tensor([[5.0, 0.0], [0.0, 0.1]]).double()
    found = b.bridge(x, y)
    assert found.ols_r2 == pytest.approx(1)
    assert found.procrustes_r2 < 0.7
    x0, y0 = x - x.mean(0), y - y.mean(0)
    U, s, Vh = torch.linalg.svd(x0.T @ y0)
    c = s.sum() / x0.square().sum()
    assert found.procrustes_r2 == pytest.approx(float(b.r_squared(y0, c * x0 @ U @ Vh)))


def test_the_null_keeps_what_the_categories_explain():
    names = np.repeat(np.arange(5), 20)
    centres = 10 * randn(5, 3)
    x, y = (centres[names] + randn(100, 3, seed=s) for s in (1, 2))
    found = b.bridge(x, y).loo_r2
    null = b.permutation_null(x, y, names, 40, generator()).loo_r2
    assert null.min() > 0.8
    assert draw_test(found, null.numpy()).p > 0.02
    order = b.shuffle_within(names, generator())
    assert (names[order.numpy()] == names).all()
    assert sorted(order.tolist()) == list(range(100))
    assert order.tolist() != list(range(100))


def test_bridges_that_cannot_be_measured_are_refused():
    x = randn(6, 2)
    for bad in (torch.zeros(6, 2), torch.full((6, 2), torch.nan)):
        with pytest.raises(DataError, match="no R2"):
            b.bridge(x, bad)
    with pytest.raises(DataError, match="4 or more"):
        b.bridge(x[:3], x[:3])
    with pytest.raises(ValueError, match="shapes"):
        b.bridge(x, x[:, :1])
    with pytest.raises(DataError, match="two pairs"):
        b.permutation_null(x, x, np.arange(6), 2, generator())
    with pytest.raises(DataError, match="1 or more draws"):
        b.permutation_null(x, x, np.zeros(6), 0, generator())
