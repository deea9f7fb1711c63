"""Attribution patching against exhaustive patching: exactness, theorems, hand-made models."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import compiled
from zscope.core.errors import DataError
from zscope.models.attention_nodes import KINDS, Answers, NodeModel, Patch
from zscope.models.tensor_transformer import TensorConfig, TensorTransformer
from zscope.studies.components.attribution import estimates
from zscope.studies.components.attribution.degrees import z_by_degree
from zscope.studies.components.attribution.exhaustive import Nodes, exact_effects, live_nodes

pytestmark = pytest.mark.numerics
SIZE, SEQ = 11, 7
BILINEAR = {"attention": "bilinear"}
SOFTMAX = {"attention": "softmax", "rms_norm": True}
EVERY = pytest.mark.parametrize(
    "kind",
    [BILINEAR, SOFTMAX, {"attention": "softmax"}, {"attention": "bilinear", "residual": "lerp"}],
    ids=str,
)


def random_model(n_layers=2, seed=0, d_head=4, n_heads=3, **kind):
    config = TensorConfig(SIZE, 16, n_layers, n_heads, 12, d_head, **kind)
    model = TensorTransformer(config).double()
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            # Small enough that a polynomial of degree 25, or 125, stays of order 1.
            inner = 0.3 if n_layers < 3 else 0.2
            size = 1.0 if name in ("tok_embed.weight", "head.weight") else inner
            weight.copy_(torch.randn(weight.shape, generator=draws) * size)
    return model.eval().requires_grad_(False)


def prompts(n=4, seed=0, read=None):
    """Pairs that differ in one token; lengths differ unless `read` is given."""
    rng = np.random.default_rng(seed)
    clean = torch.from_numpy(rng.integers(SIZE, size=(n, SEQ)))
    corrupted = clean.clone()
    ends = (
        torch.full((n,), read)
        if read is not None
        else torch.from_numpy(rng.integers(3, SEQ, size=n))
    )
    edit = torch.from_numpy(rng.integers(0, 3, size=n))
    rows = torch.arange(n)
    corrupted[rows, edit] = (clean[rows, edit] + 1) % SIZE
    return clean, corrupted, Answers(ends, torch.from_numpy(rng.integers(SIZE, size=n))), edit


def runs_of(model, n=4, seed=0, **given):
    clean, corrupted, answers, edit = prompts(n, seed, **given)
    runs = estimates.pair_runs(NodeModel(model), clean, corrupted, answers)
    return runs, edit, clean


def every_node(runs):
    """All nodes of a batch, live or not."""
    model, (pairs, seq, _) = runs.model, runs.clean.streams[0].shape
    for layer in range(model.config.n_layers):
        for kind in KINDS:
            grid = torch.cartesian_prod(
                torch.arange(pairs), torch.arange(model.heads(kind)), torch.arange(seq)
            )
            yield Nodes(layer, kind, *grid.unbind(1))


def keys(nodes):
    return list(zip(*(x.tolist() for x in (nodes.pair, nodes.head, nodes.position)), strict=True))


def by_hand(runs, clean, nodes, i):
    """The effect of one node, by a run of its own from the tokens."""
    at = int(nodes.pair[i])
    source = runs.corrupted.layers[nodes.layer].of(nodes.kind)[..., at, :, :, :]
    value = source[..., nodes.head[i], nodes.position[i], :].unsqueeze(-2)
    patch = Patch(nodes.layer, nodes.kind, nodes.head[[i]], nodes.position[[i]], value)
    answers = runs.answers.take(torch.tensor([at]))
    x = runs.model.embed(clean[[at]])
    plain, patched = (
        runs.model.measure(runs.model.run(x, patch=p).streams[-1], answers) for p in (None, patch)
    )
    return float(patched - plain)


# --- the view


@EVERY
def test_its_logits_are_the_models(kind):
    model = random_model(3, **kind)
    tokens = prompts()[0]
    nodes = NodeModel(model)
    ours = nodes.logits(nodes.run(nodes.embed(tokens)).streams[-1])
    assert (ours - model(tokens)).abs().max() < 1e-12


@EVERY
def test_batched_patches_are_those_of_single_runs_and_no_other_node_has_an_effect(kind):
    runs, edit, clean = runs_of(random_model(3, **kind), n=2)
    live = {(n.layer, n.kind): n for n in live_nodes(runs.model, edit, runs.answers.read)}
    checked = 0
    for nodes in every_node(runs):
        some = live[nodes.layer, nodes.kind]
        batched = exact_effects(runs, some, rows=5).tolist()
        found = dict(zip(keys(some), batched, strict=True))
        for i, key in enumerate(keys(nodes)):
            if i % 7 and key not in found:
                continue
            single = by_hand(runs, clean, nodes, i)
            assert single == pytest.approx(found.get(key, 0.0), abs=1e-10), (nodes.layer, key)
            checked += key in found
    assert checked > 60


def test_grouped_queries_one_key_value_head_is_its_query_heads_together():
    model = random_model(2, n_heads=4)
    with torch.no_grad():
        for block in model.blocks:
            for name in ("k1", "k2", "v"):
                w = block.attn.weight(name)
                w[1], w[3] = w[0], w[2]
    clean, corrupted, answers, edit = prompts()
    plain, grouped = (
        estimates.pair_runs(NodeModel(model, n), clean, corrupted, answers) for n in (None, 2)
    )
    for name in ("atp", "atp_qk", "integrated"):
        of_heads, of_groups = (getattr(estimates, name)(runs) for runs in (plain, grouped))
        for layer in range(2):
            for kind in ("k", "v"):
                summed = of_heads[layer][kind].unflatten(1, (2, 2)).sum(2)
                assert (summed - of_groups[layer][kind]).abs().max() < 1e-10
            assert (of_heads[layer]["q"] - of_groups[layer]["q"]).abs().max() < 1e-10
    nodes = {(n.layer, n.kind): n for n in live_nodes(grouped.model, edit, answers.read)}
    for layer, kind in ((0, "k"), (0, "v"), (1, "k"), (1, "v")):
        some = nodes[layer, kind]
        effect = exact_effects(grouped, some)
        for i in range(0, len(some), 7):
            together = patch_of_two_heads(plain, some, i, clean)
            assert float(effect[i]) == pytest.approx(together, abs=1e-10)
    with pytest.raises(DataError, match="different k1 matrices"):
        NodeModel(random_model(1, n_heads=4), 2)
    with pytest.raises(DataError, match="do not divide"):
        NodeModel(model, 3)


def patch_of_two_heads(runs, nodes, i, clean):
    """Both query heads of a group patched in one run of the ungrouped model."""
    at, group, position = int(nodes.pair[i]), int(nodes.head[i]), int(nodes.position[i])
    model, answers = runs.model, runs.answers.take(nodes.pair[[i]])
    x = runs.clean.streams[nodes.layer][[at]]
    source = runs.corrupted.layers[nodes.layer].of(nodes.kind)
    before = model.nodes(nodes.layer, x)
    for head in (2 * group, 2 * group + 1):
        value = source[..., [at], head, position, :]
        patch = Patch(nodes.layer, nodes.kind, torch.tensor([head]), nodes.position[[i]], value)
        before = model.attend(before, nodes.layer, patch)
    x = model.config.kept * x + model.write(nodes.layer, before.z)
    after = model.measure(model.run(x, nodes.layer + 1).streams[-1], answers)
    clean_value = model.measure(runs.clean.streams[-1], runs.answers)[at]
    return float(after - clean_value)


# --- theorems


def compared(runs, edit, method):
    """(exact, estimate) by layer and kind, of live nodes."""
    found = getattr(estimates, method)(runs)
    return {
        (n.layer, n.kind): (exact_effects(runs, n), n.values(found))
        for n in live_nodes(runs.model, edit, runs.answers.read)
    }


def worst(exact, estimate):
    """The largest difference, relative to effects above 1."""
    return float((exact - estimate).abs().max() / exact.abs().max().clamp(min=1))


@pytest.mark.parametrize("attention", ["bilinear", "softmax"])
def test_where_the_rest_is_linear_atp_is_exact_and_so_is_the_qk_fix(attention):
    """Without norms the logits are linear in v and z of the last layer, and in its pattern."""
    for layers in (1, 2):
        runs, edit, _ = runs_of(random_model(layers, attention=attention))
        plain, fixed = (compared(runs, edit, m) for m in ("atp", "atp_qk"))
        last = layers - 1
        for kind in KINDS[layers == 1 :]:  # of one layer the last query is the same in both runs
            assert plain[last, kind][0].abs().max() > 0.01
            if kind in ("v", "z"):
                assert worst(*plain[last, kind]) < 1e-12
            else:
                assert worst(*plain[last, kind]) > 1e-3
            assert worst(*fixed[last, kind]) < 1e-12


def test_before_the_last_layer_neither_is_exact():
    runs, edit, _ = runs_of(random_model(2, **BILINEAR))
    for kind, found in compared(runs, edit, "atp_qk").items():
        assert (worst(*found) > 1e-3) == (kind[0] == 0)


@pytest.mark.parametrize("attention", ["bilinear", "softmax"])
def test_the_closed_form_of_the_key_is_the_loop(attention):
    runs, _, _ = runs_of(random_model(2, attention=attention))
    for before, after, of_layer in zip(
        runs.clean.layers, runs.corrupted.layers, estimates.clean_gradients(runs), strict=True
    ):
        g, k = of_layer["pattern"], after.k
        looped = torch.zeros(k.shape[1:-1], dtype=torch.float64)
        for s in range(k.shape[-2]):
            one = before.k.clone()
            one[..., s, :] = k[..., s, :]
            rows = runs.model.pattern_of(runs.model.scores(before.q, one))
            looped[..., s] = ((rows - before.pattern) * g).sum((-1, -2))
        closed = estimates.key_fix(runs.model, before, k, g)
        assert (closed - looped).abs().max() < 1e-12
        assert looped.abs().max() > 0.1


def test_atp_of_z_is_degree_1_of_the_polynomial_and_all_degrees_are_the_effect():
    model = random_model(2, **BILINEAR)
    runs, edit, clean = runs_of(model)
    first = estimates.atp(runs)
    for nodes in live_nodes(runs.model, edit, runs.answers.read):
        if nodes.kind != "z":
            continue
        exact, atp = exact_effects(runs, nodes), nodes.values(first)
        for at in range(4):
            mine = nodes.pair == at
            degrees = z_by_degree(model, runs, clean, nodes, at)
            assert degrees[0] == pytest.approx(atp[mine].numpy(), abs=1e-9)
            assert degrees.sum(0) == pytest.approx(exact[mine].numpy(), abs=1e-9)
            assert (np.abs(degrees[1:]).max(initial=0) > 1e-3) == (nodes.layer == 0)
    with pytest.raises(DataError, match="bilinear attention without norms"):
        z_by_degree(random_model(2, **SOFTMAX), runs, clean, nodes, 0)


@EVERY
def test_identical_prompts_have_no_effect_by_any_method(kind):
    model = random_model(2, **kind)
    clean, _, answers, _ = prompts()
    runs = estimates.pair_runs(NodeModel(model), clean, clean, answers)
    found = estimates.all_estimates(runs)
    assert set(found) == {"atp", "atp_qk", "graddrop", "graddrop_all", "ig"}
    for estimate in found.values():
        assert all(x.abs().max() == 0 for of_layer in estimate for x in of_layer.values())


# --- GradDrop and integrated gradients


def test_graddrop_cuts_what_it_says():
    runs, _, _ = runs_of(random_model(3, **BILINEAR))
    terms, whole = estimates.dropped(runs), estimates.atp_qk(runs)
    for cut, term in enumerate(terms):
        for layer in range(3):
            for kind in KINDS:
                if layer == cut:
                    assert term[layer][kind].abs().max() == 0
                else:
                    assert term[layer][kind].abs().max() > 0
                if layer > cut:  # nothing on the way is cut
                    assert (term[layer][kind] - whole[layer][kind]).abs().max() < 1e-12
    published, with_undropped = estimates.graddrop(runs), estimates.graddrop_all(runs)
    sizes = [sum(t[0]["v"].abs() for t in terms), whole[0]["v"].abs()]
    assert (published[0]["v"] - sizes[0] / 2).abs().max() < 1e-12
    assert (with_undropped[0]["v"] - (sizes[0] + sizes[1]) / 3).abs().max() < 1e-12
    assert (with_undropped[2]["z"] - whole[2]["z"].abs()).abs().max() < 1e-12


def test_as_published_it_misses_what_acts_through_the_only_other_layer():
    """In the induction model everything that layer 0 does acts through layer 1."""
    _, runs, edit, _ = compiled_runs(compiled.induction(), [0, 2, 4, 1, 0], 0, 1, answer=2)
    for nodes in live_nodes(runs.model, edit, runs.answers.read):
        if nodes.layer == 0 and nodes.kind in ("v", "z"):
            exact = exact_effects(runs, nodes)
            assert exact.abs().max() > 1
            assert nodes.values(estimates.graddrop(runs)).abs().max() < 1e-12
            assert nodes.values(estimates.graddrop_all(runs)).abs().max() > 0.4


def test_graddrop_of_one_layer_is_refused_and_left_out():
    runs, _, _ = runs_of(random_model(1, **BILINEAR))
    with pytest.raises(DataError, match="GradDrop of one layer"):
        estimates.graddrop(runs)
    assert set(estimates.all_estimates(runs)) == {"atp", "atp_qk", "ig"}


def test_integrated_gradients_converge_to_the_whole_effect_of_the_embedding():
    """Completeness (Sundararajan et al. 2017) for the stream before layer 0: a node that all paths
    pass. z of all heads and the direct path do not, so it is asked of the gradient itself."""
    model = random_model(2, **BILINEAR)
    runs, _, _ = runs_of(model, read=SEQ - 1)
    first, last = runs.clean.streams[0], runs.corrupted.streams[0]
    whole = runs.model.measure(runs.corrupted.streams[-1], runs.answers) - runs.model.measure(
        runs.clean.streams[-1], runs.answers
    )
    total = torch.zeros_like(whole)
    for step in range(60):
        x = torch.lerp(first, last, (step + 0.5) / 60).requires_grad_()
        measured = runs.model.measure(runs.model.run(x).streams[-1], runs.answers)
        (gradient,) = torch.autograd.grad(measured.sum(), x)
        total += ((last - first) * gradient).sum((1, 2)) / 60
    assert (total - whole).abs().max() < 0.02 * whole.abs().max()
    # The estimate with one midpoint is that of the gradients there.
    middle = torch.lerp(first, last, 0.5).requires_grad_()
    gradients = runs.model.gradients(runs.model.run(middle), runs.answers)
    expected = estimates.atp_qk(runs, gradients)
    one = estimates.integrated(runs, 1)
    for layer in range(2):
        for kind in KINDS:
            assert (one[layer][kind] - expected[layer][kind]).abs().max() < 1e-12


def test_the_gradient_of_kl_vanishes_at_the_clean_run():
    model = random_model(2, **SOFTMAX)
    clean = prompts()[0]
    nodes = NodeModel(model)
    x = nodes.embed(clean).requires_grad_()
    run = nodes.run(x)
    after = nodes.logits(run.streams[-1][:, -1]).log_softmax(-1)
    before = after.detach()
    kl = (before.exp() * (before - after)).sum()
    (gradient,) = torch.autograd.grad(kl, run.layers[0].z, retain_graph=True)
    answer = after[:, 0].sum()
    (of_logit,) = torch.autograd.grad(answer, run.layers[0].z)
    assert gradient.abs().max() < 1e-14
    assert of_logit.abs().max() > 1e-2


# --- hand-made models


def compiled_runs(model, prompt, edit, token, answer):
    clean = torch.tensor([prompt])
    corrupted = clean.clone()
    corrupted[0, edit] = token
    answers = Answers(torch.tensor([len(prompt) - 1]), torch.tensor([answer]))
    runs = estimates.pair_runs(NodeModel(model), clean, corrupted, answers)
    return model, runs, torch.tensor([edit]), clean


def effects(runs, edit, method):
    """{(kind, layer, position): (exact, estimate)} of nodes with either, in units of the answer's
    logit: the metric subtracts the mean, which is the same share of every copied token's."""
    found = getattr(estimates, method)(runs)
    out = {}
    for nodes in live_nodes(runs.model, edit, runs.answers.read):
        columns = exact_effects(runs, nodes), nodes.values(found), nodes.position
        for exact, estimate, position in zip(*(c.tolist() for c in columns), strict=True):
            if abs(exact) + abs(estimate) > 1e-9:
                out[nodes.kind, nodes.layer, position] = (exact, estimate)
    return out


def test_the_and_head_attends_with_exactly_1_to_whole_matches_and_0_to_half_ones():
    model = compiled.and_head()
    token = lambda a, b: a * compiled.N_B + b  # noqa: E731
    prompt = torch.tensor([[token(0, 1), token(0, 2), token(1, 1), compiled.WITHOUT, token(0, 1)]])
    nodes = NodeModel(model)
    pattern = nodes.run(nodes.embed(prompt)).layers[0].pattern[0, 0]
    assert pattern[-1].tolist() == pytest.approx([1, 0, 0, 0, 1], abs=1e-12)
    assert pattern[3].abs().max() < 1e-12
    for beta, half in ((4, 1e-2), (8, 2e-4), (16, 7e-8)):
        soft = NodeModel(compiled.and_head("softmax", beta))
        rows = soft.run(soft.embed(prompt)).layers[0].pattern[0, 0, -1]
        assert rows.sum() == pytest.approx(1)
        assert half / 3 < rows[1] < half * 3
        assert rows[0] == pytest.approx(rows[-1])  # two equal matches share


def test_atp_errs_on_the_and_head_where_both_factors_change_and_the_fix_is_exact():
    """From a whole match to none the query loses two keys, itself among them: -2, and AtP says -4.
    From a match with itself alone to one with the key it gains 1, and AtP says 0: it is missed."""
    size = compiled.WITHOUT + 1  # a copied token raises its logit by 1, and the mean by 1 / size
    other = 2 * compiled.N_B + 2  # shares neither a nor b with token 0
    lost = -2 * (1 - 1 / size)
    for before, after, exact, atp in ((0, other, lost, 2 * lost), (other, 0, 1.0, 2 / size)):
        _, runs, edit, _ = compiled_runs(
            compiled.and_head(), [0, compiled.WITHOUT, before], 2, after, answer=0
        )
        plain, fixed = (effects(runs, edit, m) for m in ("atp", "atp_qk"))
        assert fixed["q", 0, 2] == pytest.approx((exact, exact))
        assert plain["q", 0, 2] == pytest.approx((exact, atp))


def test_in_the_bigram_model_no_node_matters():
    _, runs, edit, _ = compiled_runs(compiled.bigram(), [4, 4, 0], 2, 1, answer=2)
    whole = runs.model.measure(runs.corrupted.streams[-1], runs.answers) - runs.model.measure(
        runs.clean.streams[-1], runs.answers
    )
    assert whole.item() == pytest.approx(-2)
    for method in ("atp", "atp_qk", "graddrop", "integrated")[:2]:
        assert effects(runs, edit, method) == {}


def test_in_the_skip_rule_the_key_or_the_value_of_the_anchor_carries_all():
    unit = 3 * (1 - 1 / compiled.SIZE)
    _, runs, edit, _ = compiled_runs(compiled.skip_rule(), [0, 4, 1], 0, 4, answer=2)
    for method in ("atp", "atp_qk"):
        found = effects(runs, edit, method)
        assert set(found) == {("k", 0, 0), ("v", 0, 0), ("z", 0, 2)}
        assert all(pair == pytest.approx((-unit, -unit)) for pair in found.values())


def test_the_induction_model_predicts_the_colour_and_every_estimate_is_exact():
    """thing 0, colour 0, other, thing 1, thing 0 -> colour 0. Edited: the colour, the first thing,
    and the last one; each is one match that is lost or one value that changes, so all is linear."""
    unit = 4 * (1 - 1 / compiled.SIZE)
    model = compiled.induction()
    prompt = [0, 2, 4, 1, 0]
    logits = model(torch.tensor([prompt]))[0, -1]
    assert logits.tolist() == pytest.approx([0, 0, 4, 0, 0], abs=1e-9)
    nodes = NodeModel(model)
    first, second = nodes.run(nodes.embed(torch.tensor([prompt]))).layers
    expected = torch.diag(torch.ones(4, dtype=torch.float64), -1)
    assert (first.pattern[0, 0] - expected).abs().max() < 1e-9
    assert second.pattern[0, 0, -1].tolist() == pytest.approx([0, 1, 0, 0, 0], abs=1e-9)
    for edit_at, token, nodes_that_matter in (
        (1, 3, {("v", 1, 1), ("z", 1, 4)}),
        (0, 1, {("v", 0, 0), ("z", 0, 1), ("k", 1, 1), ("z", 1, 4)}),
        (4, 4, {("q", 1, 4), ("z", 1, 4)}),
    ):
        _, runs, edit, _ = compiled_runs(model, prompt, edit_at, token, answer=2)
        for method in ("atp", "atp_qk"):
            found = effects(runs, edit, method)
            assert set(found) == nodes_that_matter
            for exact, estimate in found.values():
                assert exact == pytest.approx(estimate, abs=1e-9)
                assert exact < -unit + 1e-6
