"""Pairs of components, firings together, the build-up and induction, each against a plain
computation."""

import numpy as np
import pytest
import torch

from decomposed import (
    BOOTSTRAP,
    LANGUAGE,
    SHAPES,
    decomposition_of,
    evaluation,
    run_of,
    small_model,
)
from zscope.studies.components.decomposition import induction
from zscope.studies.components.decomposition.buildup import buildup_rows, counts, kept, logit_rows
from zscope.studies.components.decomposition.coactivation import coactivation_rows, phi
from zscope.studies.components.decomposition.coactivation import partner_rows as values_of_keys
from zscope.studies.components.decomposition.descriptions import FIRES, oriented
from zscope.studies.components.decomposition.measured import Run
from zscope.studies.components.decomposition.score_pairs import (
    divisor,
    factors,
    pair_rows,
    pair_weights,
    partner_rows,
)
from zscope.studies.components.decomposition.targets import clean_run

# Matrices keep the capitals of the formulas.
# ruff: noqa: N806

pytestmark = pytest.mark.numerics


def with_delta(d, matrix):
    """Writes and reads of a matrix' components, and of Delta as one component per input."""
    row = d.matrices.index(matrix)
    group = next(i for i, g in enumerate(d.target.groups) if matrix in g.matrices)
    at = d.target.groups[group].matrices.index(matrix)
    V, U, delta = d.V[group][at], d.U[group][at], d.deltas()[group][at]
    reads = torch.cat([V.mT, torch.eye(len(V), dtype=V.dtype)])
    return group, row, reads, torch.cat([U, delta.mT])


@pytest.mark.parametrize("shape", ["bilinear", "softmax"])
def test_pairs_and_deltas_row_and_column_are_the_true_scores(shape):
    model = small_model(**SHAPES[shape])
    d, ids = decomposition_of(model), evaluation(2).tokens
    clean, c = clean_run(d.target, ids), model.config
    for layer, block in enumerate(model.blocks):
        parts = block.attn.split(block.attn.project(block.read(model.stream(ids, layer))))
        for f, (query, key) in enumerate(factors(c)):
            group, _, read_q, write_q = with_delta(d, f"{layer}.{query}")
            _, _, read_k, write_k = with_delta(d, f"{layer}.{key}")
            x = clean.reads[group]
            a, b = x @ read_q.mT, x @ read_k.mT
            # Softmax divides in the kernel, and the bilinear q1 by both factors' divisors.
            true = parts[2 * f] @ parts[2 * f + 1].mT
            true = true / divisor(c) if shape == "softmax" else true * divisor(c) ** (1, -1)[f]
            w = pair_weights(write_q, write_k, range(16), c)
            components_alone = w[:, :, : d.n, : d.n]
            for t, s in ((5, 2), (9, 9), (15, 0)):
                found = torch.einsum("na,hab,nb->nh", a[:, t], w[t - s], b[:, s])
                torch.testing.assert_close(found, true[:, :, t, s], rtol=1e-9, atol=1e-12)
                short = torch.einsum(
                    "na,hab,nb->nh", a[:, t, : d.n], components_alone[t - s], b[:, s, : d.n]
                )
                assert (short - found).abs().max() > 1e-4  # Delta counts


def test_the_pairs_that_are_shown_are_the_largest_and_the_sum_is_of_heads():
    run = run_of(small_model())
    found = oriented(run)
    rows = list(pair_rows(run, found, 3, 2, ["bigram"]))
    c = run.model.config
    whole = pair_weights(
        found.writes[0] * found.activation[0][:, None],
        found.writes[1] * found.activation[1][:, None],
        range(4),
        c,
    )
    of = [r for r in rows if (r["layer"], r["factor"], r["chosen_on"]) == (0, 1, "all")]
    first = [r for r in of if r["head"] == 0 and r["rank"] == 0]
    assert [r["offset"] for r in first] == [0, 1, 2, 3]
    alive = (run.mean_by_primitive["all"] > 0.01).numpy()
    big = whole[:, 0].abs().amax(0).detach().numpy() * np.outer(alive[0], alive[1])
    assert max(abs(r["value"]) for r in first) == pytest.approx(big.max(), rel=1e-5)
    total = next(r for r in of if r["head"] == -1 and r["rank"] == 0 and r["offset"] == 2)
    want = whole[2, :, total["query"], total["key"]].sum()
    assert total["value"] == pytest.approx(float(want), rel=1e-5)
    assert {r["chosen_on"] for r in rows} == {"all", "bigram"}


def test_partners_are_the_keys_with_the_largest_pairs_and_the_values_that_fire_along():
    run = run_of(small_model())
    found = oriented(run)
    rows = list(partner_rows(run, found, 3, 2))
    (first,) = [r for r in rows if (r["matrix"], r["component"], r["rank"]) == ("0.q1", 1, 0)]
    w = pair_weights(
        found.writes[0][1:2] * found.activation[0][1],
        found.writes[1] * found.activation[1][:, None],
        range(4),
        run.model.config,
    ).sum(1)[:, 0]
    assert abs(first["value"]) == pytest.approx(float(w.abs().max()), rel=1e-5)
    at = (first["offset"], first["partner"])
    assert first["value"] == pytest.approx(float(w[at]), rel=1e-5)
    assert first["partner_matrix"] == "0.k1"
    pairs = [
        {"layer": 0, "key_matrix": "k1", "key": 2, "value_component": v, "phi": p, "null_high": 0.3}
        for v, p in enumerate((0.2, 0.9, 0.5))
    ]
    of_key = list(values_of_keys(pairs, 3))
    assert [(r["partner"], r["rank"]) for r in of_key] == [(1, 0), (2, 1)]


def test_phi_is_the_correlation_of_firings():
    rng = np.random.default_rng(0)
    k, v = rng.random((200, 3)) < 0.3, rng.random((200, 2)) < 0.5
    v[:, 0] = k[:, 1]
    found = phi((k.T.astype(float) @ v), k.sum(0), v.sum(0), 200)
    want = np.corrcoef(np.hstack([k, v]).T)[:3, 3:]
    np.testing.assert_allclose(found, want)
    assert found[1, 0] == pytest.approx(1)
    assert phi(np.zeros((1, 1)), np.array([0]), np.array([5]), 10)[0, 0] == 0


def test_what_position_alone_explains_is_in_the_null():
    """Key 0 and value 0 fire at one position; key 1 and value 1 in the same sequences."""
    run = Run(decomposition_of(small_model(dtype=torch.float32)), evaluation(24))
    names = run.decomposition.matrices
    g = torch.zeros_like(run.g)
    k, v = names.index("0.k1"), names.index("0.v")
    g[:, 4, k, 0] = g[:, 4, v, 0] = 1
    g[::2, :12, k, 1] = g[::2, :12, v, 1] = 1
    run.__dict__["g"] = g
    rows = list(coactivation_rows(run, 5, 40, (0.025, 0.975), np.random.default_rng(0)))
    of = {(r["key"], r["value_component"]): r for r in rows}
    assert set(of) == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert of[0, 0]["phi"] == of[1, 1]["phi"] == pytest.approx(1)
    assert of[0, 0]["null_high"] == pytest.approx(1)
    assert of[1, 1]["null_high"] < 0.7
    assert of[0, 0]["together"] == 24
    assert of[0, 0]["jaccard"] == 1
    both = of[0, 1]
    assert both["value_given_key"] == 0.5
    assert both["key_given_value"] == pytest.approx(12 / 144)
    assert FIRES == 0.1


def test_the_largest_importances_are_kept_at_every_position():
    g = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    m = kept(g, 7)
    assert (m.sum((-2, -1)) == 7).all()
    for i in range(2):
        for t in range(3):
            assert g[i, t][m[i, t] > 0].min() > g[i, t][m[i, t] == 0].max()
    assert kept(g, 0).sum() == 0
    assert counts(20) == [0, 1, 2, 4, 8, 16, 20]


def test_the_build_up_ends_with_all_components_whatever_the_order():
    run = run_of(small_model(dtype=torch.float32), sequences=4)
    rows = [r for r in buildup_rows(run, 0) if r["primitive"] == "all"]
    n = len(run.decomposition.matrices) * run.decomposition.n
    ends = [r["value"] for r in rows if r["components"] == n]
    assert ends[0] == pytest.approx(ends[1], rel=1e-5)
    starts = [r["value"] for r in rows if r["components"] == 0]
    assert starts[0] == pytest.approx(starts[1], rel=1e-5)
    assert {r["order"] for r in rows} == {"importance", "random"}
    samples = list(logit_rows(run, 5, 0))
    assert [s["sample"] for s in samples] == [0, 1, 2, 3, 4]


# --- induction ----------------------------------------------------------------------------------


def test_induction_targets_are_after_earlier_occurrences():
    ids = np.array([[7, 3, 5, 7, 4, 7, 9]])
    governed = np.zeros((1, 6), dtype=bool)
    governed[0, 5] = True
    found = induction.targets(ids, governed)
    assert np.argwhere(found).tolist() == [[0, 5, 1], [0, 5, 4]]
    assert not induction.targets(ids, np.zeros((1, 6), dtype=bool)).any()


def test_a_query_is_never_its_own_target():
    """The key after the token before it is the query itself only where a token repeats at once."""
    ids = np.array([[7, 7, 2]])
    governed = np.ones((1, 2), dtype=bool)
    assert np.argwhere(induction.targets(ids, governed)).tolist() == [[0, 1, 1]]


@pytest.mark.parametrize("shape", ["bilinear", "softmax"])
def test_patterns_are_the_models_own(shape):
    model = small_model(**SHAPES[shape])
    ids = evaluation(3).tokens
    pattern = induction.patterns(model, ids, 1)
    block = model.blocks[1]
    projected = block.attn.project(block.read(model.stream(ids, 1)))
    v = block.attn.split(projected)[-1]
    z = (pattern @ v).transpose(1, 2).flatten(-2)
    torch.testing.assert_close(z, block.attn.z(projected), rtol=1e-9, atol=1e-12)
    if shape == "softmax":
        torch.testing.assert_close(pattern.sum(-1), torch.ones_like(pattern[..., 0]))


def test_the_induction_score_is_the_share_of_attention_on_targets():
    model = small_model()
    ids = evaluation(6).tokens
    where = torch.from_numpy(induction.targets(ids.numpy(), np.ones((6, 15), dtype=bool)))
    assert where.any()
    found = induction.scores(model, ids, where, 1)
    size, shares = induction.patterns(model, ids, 1).abs(), []
    for n, t in np.argwhere(where.any(-1).numpy()):
        shares.append((size[n, :, t] * where[n, t]).sum(-1) / size[n, :, t].sum(-1))
    np.testing.assert_allclose(found, torch.stack(shares).mean(0).numpy(), rtol=1e-9)


def test_ablations_of_induction_are_of_each_component_and_head():
    run = run_of(small_model(dtype=torch.float32), sequences=60)
    rows = list(induction.component_rows(run, 2))
    if not run.on("induction").any():
        pytest.skip("no induction among the sequences")
    nothing = [r for r in rows if r["matrix"] == "none"]
    assert [r["drop"] for r in nothing] == [0, 0]
    others = [r for r in rows if r["matrix"] != "none"]
    assert len(others) == 6 * 2 * 2
    of_value = [r for r in others if r["matrix"] == "0.v"]
    assert any(abs(r["drop"]) > 0 for r in of_value)
    for r in others:
        clean = next(x["score"] for x in nothing if x["head"] == r["head"])
        assert r["drop"] == pytest.approx(clean - r["score"], abs=1e-9)


def test_attention_before_and_after_is_of_one_query_and_readouts_of_its_logits():
    run = run_of(small_model(dtype=torch.float32), sequences=8)
    words = list(LANGUAGE.vocabulary.tokens)
    # A query component of the last layer: it changes one row of a pattern, and nothing before.
    chosen = {"category": {(run.decomposition.matrices.index("1.q1"), 0)}, "bigram": set()}
    attention, readouts = induction.attention_rows(run, chosen, words)
    assert {r["chosen_for"] for r in attention} == {"category"}
    query = attention[0]["query"]
    assert len(attention) == 2 * (query + 1)
    assert any(abs(r["before"] - r["after"]) > 1e-6 for r in attention)
    by_where = {w: [r for r in readouts if r["where"] == w] for w in ("everywhere", "query")}
    assert len(by_where["everywhere"]) == len(by_where["query"]) == 10
    # In the last layer, left out everywhere and left out at the query are the same there.
    for a, b in zip(by_where["everywhere"], by_where["query"], strict=True):
        assert a["token"] == b["token"]
        assert a["change"] == pytest.approx(b["change"], abs=1e-4)
    up = [r["change"] for r in by_where["query"] if r["side"] == "up"]
    assert up == sorted(up, reverse=True)
    assert BOOTSTRAP.resamples == 50
