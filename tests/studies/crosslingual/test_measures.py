"""Measurements without the model, against planted states, analytic chance and slow references."""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N803, N806

from __future__ import annotations

import runpy
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from snakemake.iocontainers import Namedlist

from plain_spaces import distance_ratio, ffn_overlap, language_energy, projector, update_ratio
from zscope.config.base import Bootstrap
from zscope.core.errors import ConfigError, DataError
from zscope.models.attention_kernels import kernel_spectra
from zscope.models.language_model import LanguageModel
from zscope.studies.crosslingual.config import (
    BridgeConfig,
    TinyShape,
    VerdictConfig,
    ZConfig,
)
from zscope.studies.crosslingual.declared import declared_cell
from zscope.studies.crosslingual.measures import (
    bridges,
    geometry,
    residual_updates,
    token_norms,
)
from zscope.studies.crosslingual.measures import nulls as null_spaces
from zscope.studies.crosslingual.measures.bridges import bridge_rows
from zscope.studies.crosslingual.measures.geometry import (
    distances,
    geometry_rows,
    make_pairs,
    resampled_separation,
    separation,
)
from zscope.studies.crosslingual.measures.intervals import Resamples, null_band, quantiles
from zscope.studies.crosslingual.measures.nulls import (
    POOLED,
    POSITION_0,
    EnergyNull,
    pooled,
    present,
    random_spaces,
    real_tokens,
    token_choices,
)
from zscope.studies.crosslingual.measures.residual_updates import (
    LayerRatio,
    ResidualUpdates,
    Updates,
    in_spaces,
    largest_rows,
    ratios,
    update_rows,
)
from zscope.studies.crosslingual.measures.space_file import (
    SpaceFile,
    key,
    layer_spaces,
    write_spaces,
)
from zscope.studies.crosslingual.measures.weights import (
    RANK_METRICS,
    FfnMoments,
    ffn_rows,
    rank_rows,
    similarity_rows,
)
from zscope.studies.crosslingual.problems.measured import measured_problems
from zscope.studies.crosslingual.problems.parallel import LANGUAGES
from zscope.studies.crosslingual.problems.problem_rows import problem_rows
from zscope.studies.crosslingual.sizes import Sizes, fitted_layers, read_sizes, size_rows
from zscope.studies.crosslingual.space.activations import States, extract, read_layer
from zscope.studies.crosslingual.space.ranks import RANKS, effective_ranks, gaussian_weights
from zscope.studies.crosslingual.space.subspaces import (
    chance_ratio,
    energy_matched_spaces,
    energy_share,
    energy_spectrum,
    random_space,
)
from zscope.studies.crosslingual.tables import (
    BRIDGE,
    GEOMETRY,
    PROBLEMS,
    SIZES,
    SUMMARY,
    UPDATES,
    WEIGHTS,
)
from zscope.studies.crosslingual.tiny_qwen import build_tiny_qwen, save_tiny_qwen
from zscope.tables.read import read_table
from zscope.tables.write import write_table

SCRIPTS = Path(__file__).parents[3] / "workflow" / "scripts" / "crosslingual"
BOOTSTRAP = Bootstrap(level=0.95, resamples=200, seed=0)
N, D, K = 30, 24, 6


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def make_states(x, lengths=None):
    """[n, seq, d], padded on the left where `lengths` are shorter, with poison on padding."""
    n, seq, _ = x.shape
    lengths = torch.full((n,), seq) if lengths is None else torch.as_tensor(lengths)
    mask = (torch.arange(seq) >= seq - lengths.unsqueeze(1)).long()
    x = x.masked_fill(mask.unsqueeze(-1) == 0, 1e9)
    return States(tuple(f"p{i}" for i in range(n)), x, mask)


def make_layer(seed=0, n=N, d=D, seq=5):
    lengths = 2 + torch.arange(n) % (seq - 1)
    return {
        language: make_states(randn(n, seq, d, seed=seed + i), lengths)
        for i, language in enumerate(LANGUAGES)
    }


def value(rows, metric, null=None, **equal):
    found = [
        r
        for r in rows
        if r["metric"] == metric
        and (null is None or r["null"] == null)
        and all(r[k] == v for k, v in equal.items())
    ]
    assert len(found) == 1, (metric, null, equal, len(found))
    return found[0]


def planted_pairs(seed=0):
    """Inside V translations coincide; outside they are as far apart as any two problems."""
    V = random_space(D, K, generator(seed))
    shared = randn(N, K, seed=seed + 1) @ V
    outside = [x - (x @ V.mT) @ V for x in (randn(N, D, seed=seed + s) for s in (2, 3))]
    return V, shared + outside[0], shared + outside[1]


# --- geometry -------------------------------------------------------------------------------------


def test_planted_translations_coincide_in_z_and_nowhere_else():
    V, zh, en = planted_pairs()
    random = random_spaces(D, K, 40, 0)
    rows = list(geometry_rows(make_pairs(zh, en), V, {"random": random}, Resamples(BOOTSTRAP, N)))
    inside, outside = value(rows, "ratio_z"), value(rows, "ratio_z_perp")
    assert inside["value"] < 1e-6
    assert outside["value"] == pytest.approx(1, abs=0.1)
    assert outside["ci_low"] < outside["value"] < outside["ci_high"]
    gap = value(rows, "ratio_difference")
    assert gap["ci_high"] < 0
    assert gap["value"] < gap["null_low"]
    # A random space sees the same share of the shared part inside and outside itself.
    assert gap["null_mean"] == pytest.approx(0, abs=0.05)


def test_ratios_and_language_energy_are_those_of_the_plain_functions():
    V, zh, en = planted_pairs()
    zh = zh + 100 + randn(D, seed=9)
    rows = list(geometry_rows(make_pairs(zh, en), V, {}, Resamples(BOOTSTRAP, N)))
    assert value(rows, "language_energy", "chance")["value"] == pytest.approx(
        language_energy(zh, en, V)
    )
    for space in (random_space(D, K, generator(5)), V):
        D_in, D_out = distances(make_pairs(zh, en), space.unsqueeze(0))
        expected = distance_ratio(zh, en, space)
        assert float(separation(D_in)) == pytest.approx(expected.inside, abs=1e-6)
        assert float(separation(D_out)) == pytest.approx(expected.perp, abs=1e-6)


def test_nulls_of_the_geometry_are_centred_on_chance():
    zh, en = randn(N, D, seed=1), randn(N, D, seed=2)
    random = random_spaces(D, K, 400, 0)
    V = random_space(D, K, generator(7))
    rows = list(geometry_rows(make_pairs(zh, en), V, {"random": random}, Resamples(BOOTSTRAP, N)))
    energy = value(rows, "language_energy", "random")
    assert energy["null_mean"] == pytest.approx(K / D, abs=0.02)
    assert energy["null_low"] < K / D < energy["null_high"]
    assert value(rows, "language_energy", "chance")["null_mean"] == K / D
    assert value(rows, "ratio_z")["null_mean"] == pytest.approx(1, abs=0.05)


def test_the_order_of_the_problems_changes_no_value():
    V, zh, en = planted_pairs()
    order = torch.randperm(N, generator=generator())
    resamples = Resamples(BOOTSTRAP, N)
    a, b = (
        [r["value"] for r in geometry_rows(make_pairs(*x), V, {"random": V[None]}, resamples)]
        for x in ((zh, en), (zh[order], en[order]))
    )
    assert a == pytest.approx(b, abs=1e-9)


def test_a_resample_is_the_ratio_of_the_problems_it_drew():
    """By hand: a problem that was drawn twice is no pair of different problems."""
    _, zh, en = planted_pairs()
    D_in, _ = distances(make_pairs(zh, en), random_space(D, K, generator(5))[None])
    drawn = np.random.default_rng(0).integers(N, size=(3, N))
    drawn[2] = 4
    weights = np.stack([np.bincount(row, minlength=N) for row in drawn]) / N
    found = resampled_separation(D_in[0], weights)
    for row, ratio in zip(drawn[:2], found[:2], strict=True):
        same = np.mean([float(D_in[0, i, i]) for i in row])
        other = np.mean([float(D_in[0, i, j]) for i in row for j in row if i != j])
        assert ratio == pytest.approx(same / other)
    assert np.isnan(found[2])


def test_two_problems_are_needed_for_distances():
    with pytest.raises(DataError, match="2 or more problems"):
        make_pairs(randn(1, D), randn(1, D))


# --- nulls ----------------------------------------------------------------------------------------


def test_energy_matched_spaces_hold_the_energy_of_z():
    states = randn(60, D) * torch.logspace(1, -1, D)
    V = torch.eye(D, dtype=torch.float64)[2 : 2 + K]
    energy = EnergyNull(states, 10, 0)
    found = energy.spaces(V, "x")
    assert energy.share(V) == pytest.approx(energy_share(states, V))
    shares = [energy_share(states, W) for W in found]
    assert shares == pytest.approx([energy.share(V)] * 10, abs=1e-4)
    assert torch.equal(found, EnergyNull(states, 10, 0).spaces(V, "x"))
    assert not torch.equal(found, energy.spaces(V, "y"))


def test_a_null_that_does_not_exist_is_left_out(caplog):
    states = torch.ones(3, D, dtype=torch.float64)
    states[:, 1:] = 0
    with_all = torch.eye(D, dtype=torch.float64)[:1]
    spaces = EnergyNull(states, 4, 0).spaces(with_all, "one direction")
    assert spaces is not None  # it holds all of the energy, as Z does
    assert spaces[:, 0, 0].abs().min() > 0.9999
    assert present({"a": None, "b": spaces}) == {"b": spaces}


@pytest.mark.parametrize(("draws", "has_band"), [(3, False), (39, False), (40, True)])
def test_a_band_needs_forty_draws_and_says_how_many(draws, has_band):
    row = null_band("x", np.arange(draws), BOOTSTRAP, matched_on="something")
    assert row["draws"] == draws
    assert row["matched_on"] == "something"
    assert row["null_mean"] == pytest.approx((draws - 1) / 2)
    assert (row["null_low"] is not None) is (row["null_high"] is not None) is has_band
    # Several values of a draw are not as many draws.
    assert null_band("x", np.zeros((draws, 4)), BOOTSTRAP, draws=draws)["draws"] == draws


def uneven_layer(seed=0):
    """States whose energy lies elsewhere in tokens, means of prompts and last tokens."""
    layer = make_layer(seed)
    found = {}
    for i, (language, s) in enumerate(layer.items()):
        x = s.states * torch.logspace(1, -1, D).roll(5 * seed)
        x = x + 3 * randn(D, seed=seed + 50 + i).sign() * torch.logspace(-1, 1, D)
        x[:, -1] = x[:, -1] * torch.logspace(-1, 1, D).roll(7)
        found[language] = make_states(x, s.mask.sum(1))
    return found


def space_file(folder, n_layers, layers, draws=40):
    """Z of every layer, of K dimensions, without single heads."""
    z = ZConfig(layers=list(layers), k=[K], kinds=["qk"], draws=draws)
    sizes = Sizes(n_layers, D, 1, {str(x): x for x in layers}, {str(K): K})
    spaces = {key(i, K, "qk"): random_space(D, K, generator(90 + i)) for i in range(n_layers)}
    write_spaces(spaces, folder / "spaces", {})
    return SpaceFile(folder / "spaces", sizes, z)


def seen(monkeypatch, module, name):
    """The arguments of every call of a function of a module, which still does its work."""
    calls, original = [], getattr(module, name)

    def record(*args):
        calls.append(args)
        return original(*args)

    monkeypatch.setattr(module, name, record)
    return calls


def test_nulls_of_the_geometry_hold_zs_share_of_what_is_measured(tmp_path, monkeypatch):
    states, file = uneven_layer(), space_file(tmp_path, 1, [0])
    calls = seen(monkeypatch, geometry, "geometry_rows")
    random = {K: random_spaces(D, K, 40, 0)}
    rows = list(geometry.layer_rows(states, 0, file, random, Resamples(BOOTSTRAP, N)))
    shares = set()
    for pairs, V, nulls, _, matched_on in calls:
        pooling = {words: name for name, words in POOLED.items()}[matched_on["energy"]]
        measured = [
            torch.cat([pooled(s, pooling, position_0) for s in states.values()])
            for position_0 in ("include", "exclude")
        ]
        # The pairs are these vectors, centred.
        vectors = next(x for x in measured if torch.allclose(pairs.en, (x - x.mean(0))[:N]))
        wanted = energy_share(vectors, V)
        assert [energy_share(vectors, W) for W in nulls["energy"]] == pytest.approx(
            [wanted] * 40, abs=1e-4
        )
        shares.add(round(wanted, 3))
    assert len(shares) == 3  # the last token is the same with and without the first one
    words = {(r["pooling"], r["null"]): r["matched_on"] for r in rows}
    assert words["mean", "energy"] == "mean-pooled vectors"
    assert words["last", "energy"] == "last tokens"
    assert words["mean", "random"] is words["mean", "chance"] is None
    assert {r["draws"] for r in rows if r["null"] != "chance"} == {40}
    assert {r["draws"] for r in rows if r["null"] == "chance"} == {None}


def test_pooling_leaves_out_padding_and_the_first_token():
    x = randn(2, 4, D)
    states = make_states(x, [4, 2])
    torch.testing.assert_close(pooled(states, "mean", "include")[1], x[1, 2:].mean(0))
    torch.testing.assert_close(pooled(states, "mean", "exclude")[1], x[1, 3])
    torch.testing.assert_close(pooled(states, "last", "exclude"), x[:, -1])


def test_a_massive_token_is_left_out_wherever_the_first_one_is_and_counted():
    """As a second sink in the middle of a prompt, which leaving out position 0 does not touch."""
    x = randn(3, 5, D)
    x[1, 3] *= 1e4
    x[2, 0] = 1e9  # padding, which has no part in the median
    en = make_states(x, [5, 5, 3])
    norms = [float(row.norm()) for i, n in enumerate((5, 5, 3)) for row in x[i, 5 - n :]]
    median = sorted(norms)[len(norms) // 2]
    assert sum(norm > 10 * median for norm in norms) == 1
    torch.testing.assert_close(pooled(en, "mean", "exclude")[1], x[1, [1, 2, 4]].mean(0).double())
    torch.testing.assert_close(pooled(en, "mean", "include")[1], x[1].mean(0).double())
    zh = make_states(x * 2, [5, 5, 3])
    rows = {r["language"]: r for r in token_norms.layer_rows({"zh": zh, "en": en}, 4)}
    assert {r["massive"] for r in rows.values()} == {1}, "the limit is of each language"
    assert {r["n"] for r in rows.values()} == {13}
    assert rows["en"]["median_norm"] == pytest.approx(median, rel=1e-5)
    assert rows["en"]["largest_norm"] == pytest.approx(max(norms), rel=1e-5)
    # A layer that makes a token massive adds to it what no other token gets.
    before = make_states(randn(3, 5, D), [5, 5, 3])
    used = Updates.between(before, en, "exclude")
    assert used.prompt.tolist() == [0] * 4 + [1] * 3 + [2] * 2
    assert len(Updates.between(before, en, "include").prompt) == 13


def test_choices_that_take_the_same_tokens_are_measured_once_and_written_twice():
    """Behind examples, without a massive token, both choices are all tokens of the query."""
    x = randn(3, 5, D)
    plain = make_states(x, [5, 5, 3])
    behind = replace(plain, first=7)
    massive = x.clone()
    massive[0, 2] *= 1e4
    assert token_choices({"en": behind, "zh": behind}) == {"exclude": ("exclude", "include")}
    apart = {"exclude": ("exclude",), "include": ("include",)}
    assert token_choices({"en": behind, "zh": plain}) == apart
    other = replace(behind, states=massive)
    assert token_choices({"en": behind}, {"en": other}) == apart


def test_a_prompt_of_massive_tokens_alone_is_refused():
    x = randn(3, 4, D)
    x[1] *= 1e4
    with pytest.raises(DataError, match="no tokens left"):
        pooled(make_states(x, [4, 4, 4]), "mean", "exclude")


def test_quantiles_leave_out_what_is_undefined():
    values = np.array([np.nan, *range(101)], dtype=float)
    level = Bootstrap(level=0.9)
    assert quantiles(values, level) == pytest.approx((5, 95))
    assert quantiles(np.array([np.nan]), level) == (None, None)


# --- updates --------------------------------------------------------------------------------------


def rows_of_updates(before, after, V, nulls, n=N):
    updates = {x: Updates.between(before[x], after[x], "exclude") for x in LANGUAGES}
    found = in_spaces(updates, {"z": V[None], **nulls})
    return list(update_rows(found, chance_ratio(K, D), Resamples(BOOTSTRAP, n)))


def shifted(layer, dh):
    return {
        k: States(s.problems, s.states + dh[k] * (s.mask.unsqueeze(-1) == 1), s.mask)
        for k, s in layer.items()
    }


def test_r_is_that_of_the_plain_function_for_both_settings_of_position_0():
    before, after = make_layer(0), make_layer(10)
    V = random_space(D, K, generator())
    for position_0 in ("exclude", "include"):
        b, a = before["zh"], after["zh"]
        skip = position_0 == "exclude"
        expected = update_ratio(a.states - b.states, b.mask, V, skip)
        updates = Updates.between(b, a, position_0)
        torch.testing.assert_close(ratios(updates, V[None], "mean")[:, 0], expected.pooled)
        by_prompt = expected.tokens.nanmean(1)
        torch.testing.assert_close(ratios(updates, V[None], "token")[:, 0], by_prompt)


def test_the_null_of_r_is_sqrt_k_over_d_minus_k_and_not_one():
    before, after = make_layer(0, n=60), make_layer(10, n=60)
    random = random_spaces(D, K, 200, 0)
    V = random_space(D, K, generator(99))
    rows = rows_of_updates(before, after, V, {"random": random}, 60)
    for pooling in ("mean", "token"):
        about = {"language": "both", "pooling": pooling}
        null = value(rows, "ratio", "random", **about)["null_mean"]
        assert null == pytest.approx(chance_ratio(K, D), rel=0.05)
        chance = value(rows, "ratio", "chance", **about)
        over = value(rows, "ratio_over_null", **about)
        assert over["value"] == pytest.approx(chance["value"] / chance_ratio(K, D))
        assert over["null_mean"] == 1
        assert abs(value(rows, "ratio", "random", **about)["z"]) < 4
        gap = value(rows, "asymmetry", "random", **about)
        zh, en = (
            value(rows, "ratio", "chance", language=x, pooling=pooling)["value"]
            for x in ("zh", "en")
        )
        assert gap["value"] == pytest.approx(zh - en)
        assert chance["value"] == pytest.approx((zh + en) / 2)


def test_a_layer_that_writes_into_z_in_one_language_is_seen():
    layer = make_layer(0)
    V = random_space(D, K, generator(3))
    into_z = randn(1, 1, K, seed=4) @ V * 10
    small = randn(1, 1, D, seed=5)
    after = shifted(layer, {"zh": into_z + small, "en": small})
    nulls = {"random": random_spaces(D, K, 20, 0)}
    rows = rows_of_updates(layer, after, V, nulls)
    zh = value(rows, "ratio", "random", language="zh", pooling="mean")
    assert zh["value"] > 5
    assert zh["z"] > 4
    assert zh["p"] == pytest.approx(1 / 21)
    gap = value(rows, "asymmetry", "random", pooling="mean")
    assert gap["ci_low"] > 0


def test_the_three_nulls_of_b_hold_zs_share_of_their_own_states(tmp_path, monkeypatch):
    states = [uneven_layer(seed) for seed in (0, 10, 20, 30)]
    file, random = space_file(tmp_path, 3, [1]), {K: random_spaces(D, K, 40, 0)}
    calls = seen(monkeypatch, residual_updates, "in_spaces")
    updates = ResidualUpdates(file, random, Resamples(BOOTSTRAP, N), states.__getitem__)
    rows = [
        {"at": layer, **row}
        for layer in range(3)
        for row in updates.of_layer(states[layer], states[layer + 1], layer)
    ]
    by_z = [s for _, s in calls if torch.equal(s["z"][0], file.load(1, K, "qk"))]
    assert len(by_z) == 6  # 3 layers, with and without the first token
    for i, spaces in enumerate(by_z):
        layer, position_0 = i // 2, POSITION_0[i % 2]
        for name, at in (("energy_input", layer), ("energy_output", layer + 1), ("energy_own", 1)):
            tokens = real_tokens(states[at], position_0)
            share = energy_share(tokens, spaces["z"][0])
            assert [energy_share(tokens, W) for W in spaces[name]] == pytest.approx(
                [share] * 40, abs=1e-4
            )
        assert torch.equal(spaces["energy_own"], by_z[i % 2]["energy_own"])
        same = torch.equal(spaces["energy_own"], spaces["energy_input"])
        assert same is (layer == 1)
        assert not torch.equal(spaces["energy_input"], spaces["energy_output"])
    for null, words in residual_updates.MATCHED_ON.items():
        assert {r["matched_on"] for r in rows if r["null"] == null} == {words}
    assert {r["draws"] for r in rows if r["null"] not in ("chance", None)} == {40}
    of = {"at": 2, "basis_layer": 1, "language": "both", "pooling": "mean"}
    means = {
        null: value(rows, "ratio", null, position_0="exclude", **of)["null_mean"]
        for null in ("random", *residual_updates.MATCHED_ON)
    }
    assert len(set(means.values())) == 4


def test_spaces_that_are_matched_on_an_output_serve_for_the_next_input(tmp_path, monkeypatch):
    """The rows are those of layers that know nothing of each other, from fewer searches."""
    states = [uneven_layer(seed) for seed in (0, 10, 20, 30)]
    file, random = space_file(tmp_path, 3, [1]), {K: random_spaces(D, K, 40, 0)}
    calls = seen(monkeypatch, null_spaces, "energy_matched_spaces")

    def measured(befores):
        del calls[:]
        updates = ResidualUpdates(file, random, Resamples(BOOTSTRAP, N), states.__getitem__)
        pairs = enumerate(zip(befores, states[1:], strict=True))
        rows = [row for i, both in pairs for row in updates.of_layer(*both, i)]
        return [*rows, *updates.largest()], len(calls)

    together, few = measured(states[:-1])
    alone, many = measured([dict(layer) for layer in states[:-1]])
    assert together == alone
    # Two choices of tokens, in Z of layer 1 and of the layer itself.
    assert (few, many) == (22 - 2 * 2, 22)


def test_the_largest_ratio_is_compared_with_each_draws_own_largest(tmp_path):
    states = [make_layer(seed) for seed in (0, 10, 20, 30)]
    file, random = space_file(tmp_path, 3, [1]), {K: random_spaces(D, K, 40, 0)}
    resamples = Resamples(BOOTSTRAP, N)
    updates = ResidualUpdates(file, random, resamples, states.__getitem__)
    by_layer = [[*updates.of_layer(states[layer], states[layer + 1], layer)] for layer in range(3)]
    rows = list(updates.largest())
    assert {r["layer"] for r in rows} == {None}
    assert {(r["basis_layer"], r["language"], r["pooling"]) for r in rows} == {(1, "both", "mean")}
    V = file.load(1, K, "qk")

    def of_layer(layer, space):
        parts = []
        for language in LANGUAGES:
            before, after = states[layer][language], states[layer + 1][language]
            dh = after.states - before.states
            parts.append(update_ratio(dh, before.mask, space, skip_first=True).pooled)
        return (parts[0] + parts[1]) / 2

    own = [of_layer(layer, V) for layer in range(3)]
    drawn = [max(float(of_layer(i, W).mean()) for i in range(3)) for W in random[K]]
    row = value(rows, "largest_ratio", "random", position_0="exclude")
    best = max(own, key=lambda x: float(x.mean()))
    assert row["value"] == pytest.approx(float(best.mean()))
    assert row["p"] == pytest.approx((1 + sum(x >= row["value"] for x in drawn)) / 41)
    assert row["null_mean"] == pytest.approx(np.mean(drawn))
    assert (row["null_low"], row["null_high"]) == pytest.approx(np.quantile(drawn, [0.025, 0.975]))
    interval = resamples.of_mean(best.numpy())
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(tuple(interval.values()))
    at = {"basis_layer": 1, "language": "both", "pooling": "mean", "position_0": "exclude"}
    of = [value(found, "ratio", "chance", **at)["value"] for found in by_layer]
    assert row["value"] == pytest.approx(max(of))
    assert {r["null"] for r in rows} == {"random", *residual_updates.MATCHED_ON}


def test_the_largest_ratio_of_a_z_like_the_draws_is_rarely_special():
    """Z is one of 41 spaces of the same energy: its p is uniform on 1/41, 2/41, ..."""
    n, layers, found = 8, 3, []
    spectrum = energy_spectrum(torch.diag(torch.logspace(1, -1, D).double()))
    for seed in range(200):
        spaces = energy_matched_spaces(spectrum, K, 0.5, 41, generator(seed))
        by_layer = []
        for layer in range(layers):
            dh = randn(n, D, seed=1000 + layers * seed + layer) * torch.logspace(0.5, -0.5, D)
            inside = (dh @ spaces.flatten(0, 1).mT).square().unflatten(1, (41, K)).sum(-1)
            R = (inside / (dh.square().sum(1, keepdim=True) - inside)).sqrt()
            by_layer.append(LayerRatio(R[:, 0], {"energy_own": R[:, 1:].mean(0)}))
        (row,) = largest_rows(by_layer, Resamples(BOOTSTRAP, n))
        found.append(row["p"])
    p = np.array(found)
    assert np.mean(p) == pytest.approx(21 / 41, abs=4 * 0.29 / 200**0.5)
    assert np.mean(p < 0.05) < 0.1
    assert np.mean(p > 0.95) > 0.005
    assert p.min() >= 1 / 41


def test_an_undefined_ratio_has_no_place_among_the_draws():
    layer = make_layer()
    V, nulls = random_space(D, K, generator(3)), {"random": random_spaces(D, K, 40, 0)}
    row = value(
        rows_of_updates(layer, layer, V, nulls), "ratio", "random", language="both", pooling="mean"
    )
    assert row["value"] is row["p"] is row["z"] is None
    assert row["draws"] == 40
    own = torch.full((N,), torch.nan, dtype=torch.float64)
    empty = [LayerRatio(own, {"random": torch.zeros(40)})]
    assert list(largest_rows(empty, Resamples(BOOTSTRAP, N))) == []


def test_a_null_that_one_layer_lacks_is_no_null_of_the_largest():
    own, draws = randn(N).exp(), randn(40).exp()
    by_layer = [LayerRatio(own, {"random": draws, "energy_own": draws}), LayerRatio(own, {})]
    by_layer[1] = by_layer[1]._replace(nulls={"random": draws})
    found = [r["null"] for r in largest_rows(by_layer, Resamples(BOOTSTRAP, N))]
    assert found == ["random"]


def test_layers_of_other_prompts_are_refused():
    one, other = make_layer(n=4)["zh"], make_layer(n=5)["zh"]
    with pytest.raises(DataError, match="other prompts"):
        Updates.between(one, other, "include")


# --- bridge ---------------------------------------------------------------------------------------


def bridge_of(x, y, V, **others):
    categories = np.arange(len(x)) % 5
    return list(bridge_rows(x, y, V, others, categories, 40, generator(), BOOTSTRAP))


def test_a_planted_rotation_is_found_and_beats_its_shuffles():
    V = random_space(D, K, generator())
    rotation = torch.linalg.qr(randn(K, K, seed=1)).Q
    x = randn(N, K, seed=2)
    rows = bridge_of(x @ V, x @ rotation @ V, V, random=random_spaces(D, K, 40, 0))
    for metric in ("procrustes_r2", "ols_r2", "loo_r2", "ridge_loo_r2", "protocol_r2"):
        assert value(rows, metric, space="z")["value"] == pytest.approx(1, abs=1e-6)
    assert value(rows, "orthogonality_error", space="z")["value"] < 1e-9
    assert value(rows, "procrustes_r2", space="z")["p"] == pytest.approx(1 / 41)
    assert value(rows, "loo_r2", space="z")["null_high"] < 0.8
    spectrum = [r["value"] for r in rows if r["metric"] == "singular_value" and r["space"] == "z"]
    assert spectrum == pytest.approx([1] * K)
    drawn = value(rows, "procrustes_r2", space="random")
    assert drawn["ci_low"] <= drawn["value"] <= drawn["ci_high"]
    assert drawn["value"] < 0.9


def test_nulls_of_the_bridge_hold_zs_share_of_what_is_mapped(tmp_path, monkeypatch):
    states, file = uneven_layer(), space_file(tmp_path, 1, [0])
    calls = seen(monkeypatch, bridges, "bridge_rows")
    rows = list(
        bridges.layer_rows(
            states,
            0,
            file,
            {K: random_spaces(D, K, 40, 0)},
            np.arange(N) % 3,
            BridgeConfig(permutations=40),
            BOOTSTRAP,
        )
    )
    assert len(calls) == 4
    for x, y, V, others, *_ in calls:
        vectors = torch.cat([x, y])
        wanted = energy_share(vectors, V)
        assert [energy_share(vectors, W) for W in others["energy"]] == pytest.approx(
            [wanted] * 40, abs=1e-4
        )
    for space, words in (("energy", {"mean-pooled vectors", "last tokens"}), ("random", {None})):
        of = [r for r in rows if r["space"] == space]
        assert {r["matched_on"] for r in of} == words
        assert {r["draws"] for r in of} == {40}
    assert {r["draws"] for r in rows if r["null"] == "permutation"} == {40}


def test_few_draws_of_a_bridge_have_no_interval():
    rows = bridge_of(randn(N, D), randn(N, D, seed=1), torch.eye(D).double()[:K], few=few_spaces())
    row = value(rows, "loo_r2", space="few")
    assert row["ci_low"] is row["ci_high"] is None
    assert row["draws"] == 39


def few_spaces():
    return random_spaces(D, K, 39, 0)


def test_what_the_category_explains_is_no_bridge():
    """Both languages hold the category and noise, so that pairs within one are worth no more."""
    categories = np.arange(N) % 3
    centres = randn(3, D, seed=1)[torch.from_numpy(categories)] * 3
    x, y = centres + randn(N, D, seed=2), centres + randn(N, D, seed=3)
    V = torch.eye(D, dtype=torch.float64)[:2]
    loo, free = (
        value(bridge_rows(x, y, V, {}, labels, 100, generator(), BOOTSTRAP), "loo_r2")
        for labels in (categories, np.zeros(N))
    )
    assert loo["value"] > 0.5
    assert loo["p"] > 0.05
    assert free["p"] < 0.02


def test_ols_is_perfect_on_noise_with_as_many_dimensions_as_pairs():
    n, V = K + 1, torch.eye(D, dtype=torch.float64)[:K]
    rows = list(
        bridge_rows(
            randn(n, D, seed=1), randn(n, D, seed=2), V, {}, np.zeros(n), 20, generator(), BOOTSTRAP
        )
    )
    assert value(rows, "ols_r2")["value"] == pytest.approx(1, abs=1e-9)
    assert value(rows, "ols_r2")["p"] > 0.05
    assert value(rows, "loo_r2")["value"] < 0


# --- weights, on a real decoder layer -------------------------------------------------------------


@pytest.fixture(scope="module")
def lm():
    model, tokenizer = build_tiny_qwen(TinyShape(n_layers=3), 0)
    return LanguageModel(model.eval().requires_grad_(False), tokenizer, "tiny")


def sizes_of(lm, path, z):
    rows = size_rows(shape_of(lm), z)
    write_table([{"model": "m", **row} for row in rows], path, SIZES, {})
    return read_sizes(path)


def shape_of(lm):
    shape = {"n_layers": lm.n_layers, "d_model": lm.d_model, "n_heads": lm.n_heads}
    return shape | {"n_kv_heads": lm.n_kv, "d_head": lm.d_head}


def test_sizes_are_whole_numbers_without_repeats(lm, tmp_path):
    z = ZConfig(layers=[0.5, 1, 0.75], k=[0.5, 16, 0.195])
    found = sizes_of(lm, tmp_path / "sizes", z)
    assert (found.layers, found.ks, found.d_model, found.n_heads) == ((1, 2), (16, 6), 64, 4)
    assert found.layer_of == {"0.5": 1, "1": 1, "0.75": 2}
    assert found.k_of == {"0.5": 16, "16": 16, "0.195": 6}
    with pytest.raises(ConfigError, match="3 layers"):
        sizes_of(lm, tmp_path / "sizes", ZConfig(layers=[3]))
    with pytest.raises(ConfigError, match="32 dimensions"):
        sizes_of(lm, tmp_path / "sizes", ZConfig(k=[33]))


def test_ard_may_fit_the_state_after_the_last_layer_and_z_has_none_there(lm, tmp_path):
    sizes = sizes_of(lm, tmp_path / "sizes", ZConfig())
    assert fitted_layers([3, 0.5, 1], sizes) == (3, 1)
    assert fitted_layers(None, sizes) == sizes.layers
    with pytest.raises(ConfigError, match="3 layers"):
        fitted_layers([4], sizes)


def test_the_declared_cell_is_of_the_models_own_layer_and_k(lm, tmp_path):
    z = ZConfig()
    sizes = sizes_of(lm, tmp_path / "sizes", z)
    cell = declared_cell(VerdictConfig(layer=0.75, k=0.195), z, sizes)
    assert (cell.layer, cell.k, cell.kind, cell.position_0) == (2, 6, "qk", "exclude")
    with pytest.raises(ConfigError, match=r"no layer in z.layers 0.9; there are 0.5, 0.75"):
        declared_cell(VerdictConfig(layer=0.9), z, sizes)


def test_spaces_that_a_kernel_cannot_have_are_noted(lm, tmp_path):
    z = ZConfig(layers=[1], k=[32, 6], kinds=["qk", "kq"])
    sizes = sizes_of(lm, tmp_path / "sizes", z)
    found, notes = layer_spaces(lm.attention_weights(0), 0, z, sizes)
    assert set(found) == {
        *(key(0, k, kind) for k in (32, 6) for kind in ("qk", "kq")),
        *(key(0, 6, "qk", head) for head in range(4)),  # of other kinds at z's layers alone
    }
    assert len(notes) == 4  # 32 dimensions of one head
    assert all("16 dimensions" in note for note in notes)
    for V in found.values():
        torch.testing.assert_close(V @ V.mT, torch.eye(len(V), dtype=V.dtype))
    torch.testing.assert_close(found[key(0, 6, "qk")], found[key(0, 32, "qk")][:6])
    assert key(1, 6, "kq", 2) in layer_spaces(lm.attention_weights(1), 1, z, sizes)[0]


@pytest.mark.parametrize(
    ("kinds", "drawn"),
    [(["qk"], "qk"), (["kq", "qk"], "qk"), (["ov"], "vo"), (["qk", "kq", "ov"], "qkvo")],
)
def test_only_matrices_of_the_kernels_are_drawn_in_a_fixed_order(lm, kinds, drawn):
    weights = lm.attention_weights(0)
    found = gaussian_weights(weights, torch.Generator().manual_seed(3), kinds)
    generator = torch.Generator().manual_seed(3)
    for letter in "qkvo":
        own, made = (getattr(w, f"W_{letter}") for w in (weights, found))
        if letter in drawn:
            own = torch.randn(own.shape, generator=generator)
        assert torch.equal(made, own)


def test_ranks_of_gaussian_weights_lie_inside_their_null(lm):
    """The embedded model is drawn from a Gaussian, and not trained here."""
    rows = list(rank_rows(lm.attention_weights(0), 0, ["qk"], 40, generator(), BOOTSTRAP))
    for metric in ("entropy_rank", "energy_rank", "participation_ratio", "stable_rank"):
        heads = [r for r in rows if r["metric"] == metric and r["head"] is not None]
        assert [r["head"] for r in heads] == [0, 1, 2, 3]
        mean = np.mean([r["value"] for r in heads])
        null = heads[0]
        assert null["null_low"] < mean < null["null_high"]
        assert null["null_mean"] == pytest.approx(mean, rel=0.15)
        cv = value(rows, f"{metric}_cv")
        assert cv["value"] == pytest.approx(np.std([r["value"] for r in heads]) / mean)
        assert value(rows, metric, head=None)["value"] > mean  # the stack has more directions


def test_the_rank_of_a_stack_has_as_many_draws_as_that_of_a_head(lm):
    weights = lm.attention_weights(0)
    rows = list(rank_rows(weights, 0, ["kq"], 40, generator(), BOOTSTRAP))
    g = generator()
    drawn = [
        effective_ranks(kernel_spectra(gaussian_weights(weights, g, ["kq"]), "kq").stack)
        for _ in range(40)
    ]
    for name in RANKS:
        row = value(rows, RANK_METRICS[name], head=None)
        ends = np.quantile([float(ranks[name]) for ranks in drawn], [0.025, 0.975])
        assert (row["null_low"], row["null_high"]) == pytest.approx(ends)
    assert {r["draws"] for r in rows} == {40}


def test_ffn_shares_are_those_of_the_plain_function(lm):
    layer = lm.layer(1)
    layer.post_attention_layernorm.weight.copy_(torch.linspace(0.5, 2, 64))
    V = random_space(64, 16, generator())
    spaces, random = {("qk", 16): V}, {16: random_spaces(64, 16, 100, 0)}
    rows = list(ffn_rows(FfnMoments.of(lm.ffn_weights(1)), spaces, random, 1, BOOTSTRAP))
    write = layer.mlp.down_proj.weight.T.double()
    gain = layer.post_attention_layernorm.weight.double()
    read = torch.cat([layer.mlp.gate_proj.weight, layer.mlp.up_proj.weight]).double() * gain
    for metric, W, rank in (
        ("ffn_write_share", write, None),
        ("ffn_read_share", read, None),
        ("ffn_write_span", write, 16),
    ):
        row = value(rows, metric)
        assert row["value"] == pytest.approx(ffn_overlap(W, V, rank).share)
        assert row["null_mean"] == 16 / 64
        # The random spaces in the basis of the eigenvectors of what is measured, one by one.
        basis = torch.linalg.svd(W, full_matrices=False).Vh
        shares = [ffn_overlap(W, drawn @ basis, rank).share for drawn in random[16]]
        ends = np.quantile(shares, [0.025, 0.975])
        assert (row["null_low"], row["null_high"]) == pytest.approx(ends)


def test_a_random_space_holds_as_much_in_one_basis_as_in_another(lm):
    """Means and spreads of shares over draws: of the spaces as they are drawn, and of the band."""
    ffn = FfnMoments.of(lm.ffn_weights(1))
    n, random = 4000, random_spaces(64, 16, 4000, 0)
    rows = list(ffn_rows(ffn, {("qk", 16): random[0]}, {16: random}, 1, BOOTSTRAP))
    for metric, moments in (("ffn_write_share", ffn.write), ("ffn_read_share", ffn.read)):
        row = value(rows, metric)
        plain = ((random @ moments) * random).sum((1, 2)) / moments.trace()
        low, high = np.quantile(plain, [0.025, 0.975])
        # An end of 4000 draws has a standard error of about .04 standard deviations.
        tolerance = 5 * 0.06 * float(plain.std())
        assert row["null_low"] == pytest.approx(low, abs=tolerance)
        assert row["null_high"] == pytest.approx(high, abs=tolerance)
        assert row["draws"] == n


def test_similarity_is_one_with_itself_and_k_over_d_by_chance():
    V = random_space(D, K, generator())
    spaces = {0: V, 1: torch.linalg.qr(randn(K, K)).Q @ V, 2: random_space(D, K, generator(1))}
    rows = list(similarity_rows(spaces, random_spaces(D, K, 40, 0), "qk", BOOTSTRAP))
    assert [(r["layer"], r["layer_2"]) for r in rows] == [(0, 1), (0, 2), (1, 2)]
    assert rows[0]["value"] == pytest.approx(1)
    assert rows[1]["value"] == pytest.approx(rows[2]["value"])
    assert rows[1]["null_low"] < K / D < rows[1]["null_high"]
    assert rows[1]["null_mean"] == K / D
    random = random_spaces(D, K, 40, 0)
    pairs = [float(projector(a).mul(projector(b)).sum()) / K for a, b in combinations(random, 2)]
    ends = np.quantile(pairs, [0.025, 0.975])
    assert (rows[1]["null_low"], rows[1]["null_high"]) == pytest.approx(ends)
    assert rows[1]["draws"] == 40  # spaces, of which there are 780 pairs


# --- the file of spaces, and the scripts from weights to rows -------------------------------------


def test_spaces_come_back_and_a_missing_one_is_named(lm, tmp_path):
    z = ZConfig(k=[6])
    sizes_of(lm, tmp_path / "sizes", z)
    V = random_space(64, 6, generator())
    write_spaces({key(2, 6, "qk"): V}, tmp_path / "spaces.safetensors", {})
    file = SpaceFile.open(tmp_path / "spaces.safetensors", tmp_path / "sizes", z.model_dump())
    torch.testing.assert_close(file.load(2, 6, "qk"), V, atol=1e-6, rtol=0)
    assert file.has(2, 6, "qk")
    assert not file.has(2, 6, "qk", head=1)
    assert set(file.of_layer(2)) == {6}
    assert file.of_layer(1) == {}
    with pytest.raises(DataError, match="no space L02/k6/ov"):
        file.load(2, 6, "ov")


def run_script(name, inputs, outputs, **slice_):
    """Run a workflow script as Snakemake does: with its paths, and its part of the config."""
    job = SimpleNamespace(
        rule=name,
        input=Namedlist(fromdict={k: str(path) for k, path in inputs.items()}),
        output=Namedlist(fromdict={k: str(path) for k, path in outputs.items()}),
        wildcards=Namedlist(fromdict={"model": "tiny-s0"}),
        params=SimpleNamespace(tracked={"code": "", "slice": slice_}),
        threads=1,
        log=[],
    )
    runpy.run_path(str(SCRIPTS / f"{name}.py"), {"snakemake": job}, "__main__")


def run_scripts(folder, inputs, bootstrap):
    """From weights to a summary, in `folder`, whose files are named for the scripts' inputs."""
    z = ZConfig(kinds=["qk", "ov"])
    dumped, level = z.model_dump(), bootstrap.model_dump()
    loaded = {"weights": inputs["model"]}
    subject = {"trained": True, "dtype": "float32", "device": "cpu"}

    def made(*names):
        return {name: folder / name for name in names}

    run_script(
        "describe_model", loaded, made("model", "sizes"), trained=True, dtype="float32", z=dumped
    )
    run_script(
        "make_spaces", loaded | made("sizes"), made("spaces"), z={"kinds": z.kinds}, subject=subject
    )
    run_script(
        "measure_weights",
        loaded | made("sizes", "spaces"),
        made("weights"),
        z=dumped,
        bootstrap=level,
        subject=subject,
    )
    states = {"activations": inputs["activations"]} | made("sizes", "spaces")
    measured = made("geometry", "updates", "token_norms")
    run_script("measure_states", states, measured, z=dumped, bootstrap=level)
    run_script(
        "fit_bridge",
        states | {"problems": inputs["problems"]},
        made("bridge"),
        z=dumped,
        bridge=BridgeConfig(permutations=40).model_dump(),
        bootstrap=level,
    )
    run_script(
        "summarise_model",
        made("sizes", "weights", "geometry", "updates", "bridge"),
        made("summary", "csv"),
        verdict=VerdictConfig().model_dump(),
        z=dumped,
        level=bootstrap.level,
    )
    return SpaceFile(folder / "spaces", read_sizes(folder / "sizes"), z)


@pytest.mark.slow
def test_scripts_lead_from_weights_to_a_summary_and_repeat_exactly(lm, tmp_path):
    problems = measured_problems(12, 0)
    inputs = {name: tmp_path / name for name in ("model", "activations", "problems")}
    save_tiny_qwen(lm.model, lm.tokenizer, inputs["model"])
    extract(lm, problems, LANGUAGES, inputs["activations"])
    write_table(problem_rows(problems), inputs["problems"], PROBLEMS, {})
    bootstrap = Bootstrap(level=0.9, resamples=20, seed=0)
    for again in ("a", "b"):
        (tmp_path / again).mkdir()
        spaces = run_scripts(tmp_path / again, inputs, bootstrap)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name
    tables = (WEIGHTS, GEOMETRY, UPDATES, BRIDGE, SUMMARY)
    found = {t.short: read_table(tmp_path / "a" / t.short, t) for t in tables}
    assert set(found["geometry"]["layer"]) == {0, 1, 2, 3}
    assert set(found["geometry"]["null"]) == {"random", "energy", "chance"}
    assert set(found["updates"]["layer"].dropna()) == {0, 1, 2}
    assert set(found["updates"]["null"]) == {"chance", "random", *residual_updates.MATCHED_ON}
    largest = found["updates"]["metric"] == "largest_ratio"
    assert (found["updates"]["layer"].isna() == largest).all()
    assert set(found["updates"].loc[largest, "basis_layer"]) == {1, 2}
    for table in ("weights", "geometry", "updates"):
        drawn = found[table].query("null != 'chance'")
        assert set(drawn["draws"]) == {40}
    own = (found["updates"]["layer"] == found["updates"]["basis_layer"]).fillna(False)
    assert set(found["updates"].loc[own, "layer"]) == {0, 1, 2}
    assert set(found["updates"].loc[~own, "basis_layer"]) == {1, 2}
    assert set(found["bridge"]["space"]) == {"z", "random", "energy"}
    assert found["geometry"].groupby("layer")["kind"].nunique().to_dict() == {
        0: 1,
        1: 2,
        2: 2,
        3: 1,
    }
    answers = found["summary"].set_index("question")["controlled_verdict"]
    assert answers.str.fullmatch("cannot be told").any()  # nothing was patched
    assert not answers.str.fullmatch("cannot be told").all()

    # One value from the files by hand: R of layer 2 in its own Z.
    V = spaces.load(2, 16, "qk")
    before, after = (read_layer(inputs["activations"], i)["zh"] for i in (2, 3))
    dh = after.states.double() - before.states.double()
    expected = float(update_ratio(dh, before.mask, V, skip_first=True).pooled.mean())
    rows = found["updates"].query(
        "layer == 2 and basis_layer == 2 and k == 16 and language == 'zh' and pooling == 'mean' "
        "and position_0 == 'exclude' and metric == 'ratio' and null == 'chance'"
    )
    assert rows["value"].item() == pytest.approx(expected)

    # Another level: the same values, and narrower intervals.
    (tmp_path / "c").mkdir()
    run_scripts(tmp_path / "c", inputs, Bootstrap(level=0.5, resamples=20, seed=0))
    for table in (WEIGHTS, GEOMETRY, UPDATES, BRIDGE):
        narrow, wide = read_table(tmp_path / "c" / table.short, table), found[table.short]
        assert narrow["value"].equals(wide["value"])
        ends = [c for c in ("ci_low", "null_low") if c in wide]
        assert any((narrow[c] > wide[c]).any() for c in ends)
        assert not any((narrow[c] < wide[c]).any() for c in ends)
