"""Readouts from weights: planted rules and heads, naive loops, the model itself, and gauges."""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N806

from __future__ import annotations

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from fake_tensor import gauges, head_rows, pattern_of, random_model, random_tokens, zero_model
from zscope.core.errors import DataError
from zscope.models.tensor_transformer import TensorConfig, TensorTransformer
from zscope.studies.toylang.readouts.direct import (
    direct_path,
    fit_direct,
    self_attention,
    token_logits,
)
from zscope.studies.toylang.readouts.induction import VirtualHead, induction_heads, most_hits
from zscope.studies.toylang.readouts.precision import precision_recall
from zscope.studies.toylang.readouts.rule_search import Scores, window_edge, window_profile
from zscope.studies.toylang.readouts.suppression import suppression
from zscope.studies.toylang.readouts.two_tokens import alone_logits, two_token_logits
from zscope.studies.toylang.readouts.weights import TensorWeights

EXACT = {"rtol": 0, "atol": 1e-10}
WINDOW = range(1, 9)


def with_filler(model):
    """Token 0 embeds to zero: it attends to nothing, is not attended to, and says nothing."""
    with torch.no_grad():
        model.tok_embed.weight[0] = 0
    return model


def last_logits(model, *tokens):
    with torch.no_grad():
        return model(torch.tensor([tokens]))[0, -1]


def qk_slice(weights, layer, head, offset, queries, keys):
    """A of a head between token embeddings, the key `offset` tokens before the query."""
    tokens = weights.E
    return weights.patterns(layer, offset, tokens[list(queries)], tokens[list(keys)])[head]


def ov_slice(weights, layer, head, keys, outputs):
    """Logits that a head writes of token embeddings, for a pattern of 1."""
    return weights.outputs(layer, weights.E[list(keys)])[head][:, list(outputs)]


def product_slice(weights, layer, head, offset, queries, keys, outputs):
    """A(q, k, offset) OV(k -> o): the logits that the head adds, free of gauge."""
    pattern = qk_slice(weights, layer, head, offset, queries, keys)
    return pattern.unsqueeze(-1) * ov_slice(weights, layer, head, keys, outputs)


def search(weights, offsets, n, rules=(), paths="one_head", among=None):
    """The first triples, and the ranks of `rules`."""
    scores = Scores.of(weights, offsets, paths)
    every = np.ones((weights.d_vocab, weights.d_vocab), dtype=bool)
    return scores.first(n, every if among is None else among), scores.ranks(rules)


def row_centred(x):
    """Less the mean of every row, which softmax does not see."""
    return x - x.mean(1, keepdim=True)


# --- the readouts are the model's own behaviour --------------------------------------------------


@pytest.mark.parametrize("residual", ["add", "lerp"])
def test_lerp_is_an_add_model_with_other_matrices(residual):
    model = random_model(n_layers=3, residual=residual, lerp=0.35)
    weights = TensorWeights.from_model(model)
    add = random_model(n_layers=3)
    with torch.no_grad():
        add.tok_embed.weight.copy_(weights.E)
        add.head.weight.copy_(weights.U.T)
        for layer, head in itertools.product(range(3), range(3)):
            for name in ("q1", "k1", "q2", "k2", "v"):
                head_rows(add, layer, head, name).copy_(getattr(weights, name)[layer, head].T)
            head_rows(add, layer, head, "o").copy_(weights.o[layer, head])
    tokens = random_tokens(model)
    torch.testing.assert_close(add(tokens), model(tokens), **EXACT)


@pytest.mark.parametrize("residual", ["add", "lerp"])
def test_one_layer_is_read_completely(residual):
    """A one-layer model on "key filler ... query" says what the readouts say, at every distance."""
    model = with_filler(random_model(n_layers=1, residual=residual, n_ctx=12))
    weights = TensorWeights.from_model(model)
    own = token_logits(weights)
    for query, key in itertools.product((1, 4), (2, 4)):
        torch.testing.assert_close(last_logits(model, query), own[query], **EXACT)
        for offset in (1, 5):
            boost = sum(
                product_slice(weights, 0, head, offset, [query], [key], range(7))[0, 0]
                for head in range(3)
            )
            said = last_logits(model, key, *([0] * (offset - 1)), query)
            torch.testing.assert_close(said, own[query] + boost, **EXACT)
            profile = window_profile(weights, [(query, key, 3)], [2, offset])
            assert profile[0, 1] == pytest.approx(float(boost[3] - boost.mean()), abs=1e-10)


def test_qk_slice_is_the_pattern_of_the_model():
    model = with_filler(random_model())
    weights = TensorWeights.from_model(model)
    pattern = pattern_of(model.blocks[0].attn, model.tok_embed(torch.tensor([[3, 0, 0, 5]])))
    for head in range(3):
        slice_ = qk_slice(weights, 0, head, 3, [2, 5], [3])
        torch.testing.assert_close(slice_[1, 0], pattern[0, head, 3, 0], **EXACT)
        ov = ov_slice(weights, 0, head, [3], [1, 6])
        W = head_rows(model, 0, head, "v").T @ head_rows(model, 0, head, "o")
        expected = model.tok_embed.weight[3] @ W @ model.head.weight.T
        torch.testing.assert_close(ov[0], expected[[1, 6]], **EXACT)


def test_softmax_and_norms_are_refused():
    for change in ({"attention": "softmax"}, {"rms_norm": True}):
        with pytest.raises(DataError, match="bilinear attention without norms"):
            TensorWeights.from_model(random_model(**change))


# --- gauges --------------------------------------------------------------------------------------


def everything(model):
    """The numbers of every readout that is a logit or a probability."""
    weights = TensorWeights.from_model(model)
    pairs = induction_heads(weights, [0, 1, 2], [3, 4], WINDOW)
    suppressed = suppression(weights, 0, [1, 2], [[3, 4], [5, 6]], WINDOW)
    table = search(weights, WINDOW, 20)[0]
    yield "direct", direct_path(weights)
    yield "self", self_attention(weights)
    yield "product", product_slice(weights, 1, 2, 3, [1, 2], [3, 4], [5, 6])
    yield "rules", torch.tensor(np.stack([table.boost, table.d_prob]))
    yield "triples", torch.tensor(table.triples)
    yield "ranks", torch.tensor(search(weights, WINDOW, 1, [(1, 2, 3), (4, 4, 4)])[1])
    yield "window", torch.tensor(window_profile(weights, [(1, 2, 3)], WINDOW))
    yield "pairs", torch.tensor([[*p.heads[0], p.heads[1][1], p.hits] for p in pairs])
    yield "induction", torch.stack([pair.matrix for pair in pairs])
    yield "suppression", torch.stack([suppressed.without, suppressed.with_trigger])


@pytest.mark.parametrize("gauge", gauges(TensorConfig()))
def test_gauges_change_no_readout(gauge):
    model = random_model()
    changed = copy.deepcopy(model)
    gauges(model.config)[gauge](changed)
    for (name, before), (_, after) in zip(everything(model), everything(changed), strict=True):
        torch.testing.assert_close(after, before, **EXACT, msg=f"{name} changed")


def test_qk_and_ov_alone_are_gauge_their_product_is_not():
    model = random_model()
    changed = copy.deepcopy(model)
    gauges(model.config)["sign of q1 and v"](changed)
    slices = []
    for m in (model, changed):
        weights = TensorWeights.from_model(m)
        qk, ov = qk_slice(weights, 0, 0, 2, [1], [2]), ov_slice(weights, 0, 0, [2], [3])
        slices.append((qk, ov))
    (qk, ov), (other_qk, other_ov) = slices
    torch.testing.assert_close(other_qk, -qk)
    torch.testing.assert_close(other_ov, -ov)


# --- two tokens ----------------------------------------------------------------------------------


@pytest.mark.parametrize("residual", ["add", "lerp"])
@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_all_paths_over_two_tokens_are_the_model_with_nothing_else(n_layers, residual):
    model = with_filler(random_model(n_layers=n_layers, residual=residual))
    weights = TensorWeights.from_model(model)
    alone = alone_logits(weights)
    for offset in (1, 3, 8):
        logits = two_token_logits(weights, [offset])
        for query, key in ((1, 2), (4, 4), (6, 3)):
            tokens = (key, *[0] * (offset - 1), query)
            expected = last_logits(model, *tokens)
            torch.testing.assert_close(logits[query, key], expected, **EXACT)
            torch.testing.assert_close(alone[query], last_logits(model, 0, query), **EXACT)
    both = two_token_logits(weights, [2, 5])
    mean = (two_token_logits(weights, [2]) + two_token_logits(weights, [5])) / 2
    torch.testing.assert_close(both, mean, **EXACT)
    with pytest.raises(DataError, match="no offset"):
        two_token_logits(weights, [])


def test_with_one_layer_all_paths_are_those_through_one_head():
    weights = TensorWeights.from_model(random_model(n_layers=1))
    one, all_paths = (search(weights, WINDOW, 50, [(1, 2, 3)], p) for p in ("one_head", "all"))
    assert one[0].triples == all_paths[0].triples
    np.testing.assert_allclose(one[0].d_prob, all_paths[0].d_prob, atol=1e-10)
    assert one[1] == all_paths[1]


def marked_model():
    """2 .. 5 -> 4, where the first layer writes a mark at 5 and the second reads the mark alone."""
    model = ruled_model(n_layers=2)
    mark = 0
    with_filler(model)  # token 0 itself is not marked
    with torch.no_grad():
        for name in ("q1", "q2"):
            head_rows(model, 1, 1, name)[:, mark] = head_rows(model, 0, 1, name)[:, 5]
        for name in ("k1", "k2", "v", "o"):
            head_rows(model, 1, 1, name).copy_(head_rows(model, 0, 1, name))
        for name in ("q1", "q2", "k1", "k2", "v", "o"):
            head_rows(model, 0, 1, name).zero_()
        for name in ("q1", "q2", "k1", "k2", "v"):
            head_rows(model, 0, 0, name)[-1, 5] = 2
        head_rows(model, 0, 0, "o")[-1, mark] = 2
        model.head.weight[:, mark] = 0
    return model


def test_all_paths_find_a_rule_that_needs_two_heads():
    """The first layer marks the query; the second answers to the mark alone."""
    weights = TensorWeights.from_model(marked_model())
    table, ranks = search(weights, WINDOW, 3, [(5, 2, 4)], "all")
    assert table.triples[0] == (5, 2, 4)
    assert table.d_prob[0] > 0.5
    assert ranks == [1]
    assert search(weights, WINDOW, 3, [(5, 2, 4)])[1][0] > 10


# --- rules ---------------------------------------------------------------------------------------


def ruled_model(sign=1.0, noise=0.0, frequency=-1, **changes):
    """One layer that knows one rule: 2 .. 5 -> 4.

    The scores use the pair of elements that RoPE turns with `frequency` (-1: the slowest).
    """
    model = zero_model(**{"n_layers": 1, "n_heads": 2, "d_head": 8, **changes})
    half = model.config.d_head // 2
    element = frequency % half
    with torch.no_grad():
        for p in model.layers.parameters():
            p.copy_(
                noise * torch.randn(p.shape, generator=torch.Generator().manual_seed(0)).double()
            )
        model.head.weight.fill_diagonal_(1.0)
        head_rows(model, 0, 1, "q1")[element, 5] += 8 * sign
        head_rows(model, 0, 1, "k1")[element, 2] += 1
        head_rows(model, 0, 1, "q2")[element, 5] += 8
        head_rows(model, 0, 1, "k2")[element, 2] += 1
        head_rows(model, 0, 1, "v")[0, 2] += sign
        head_rows(model, 0, 1, "o")[0, 4] += 6
    return model


@pytest.mark.parametrize("sign", [1, -1])
def test_a_planted_rule_is_first_whatever_the_signs_of_its_factors(sign):
    weights = TensorWeights.from_model(ruled_model(sign, noise=0.1))
    table = search(weights, WINDOW, 5)[0]
    assert table.triples[0] == (5, 2, 4)
    assert table.d_prob[0] > 0.5 > 5 * abs(table.d_prob[1])
    assert math.copysign(1, qk_slice(weights, 0, 1, 1, [5], [2])[0, 0]) == sign
    assert search(weights, WINDOW, 1, [(5, 2, 4)])[1][0] == 1


def test_every_rule_of_an_untrained_model_is_tied():
    model = TensorTransformer(TensorConfig(d_vocab=5, d_model=8, d_head=4)).init_weights(0)
    weights = TensorWeights.from_model(model)
    assert search(weights, WINDOW, 1, [(0, 1, 2), (4, 4, 4)])[1].tolist() == [63, 63]
    assert search(weights, WINDOW, 3)[0].triples == [(0, 0, 0), (0, 0, 1), (0, 0, 2)]
    assert not fit_direct(direct_path(weights), torch.rand(5, 5).log()).top1


def search_by_loops(model, offsets):
    """{triple: (T, dP)} with every A and OV written out."""
    c, V = model.config, model.config.d_vocab
    E, U = model.tok_embed.weight.detach(), model.head.weight.detach()

    def pattern(layer, head, q, k, offset):
        product = 1.0
        for n in "12":
            x = head_rows(model, layer, head, f"q{n}").detach() @ E[q]
            y = head_rows(model, layer, head, f"k{n}").detach() @ E[k]
            half = c.d_head // 2
            for_pair = 0.0
            for i in range(half):
                angle = offset * c.rope_base ** (-2 * i / c.d_head)
                a = complex(x[i], x[i + half]) * complex(math.cos(angle), math.sin(angle))
                for_pair += (a * complex(y[i], -y[i + half])).real
            product *= for_pair / c.d_head
        return product

    def output(layer, head, k):
        v = head_rows(model, layer, head, "v").detach() @ E[k]
        return U @ (v @ head_rows(model, layer, head, "o").detach())

    heads = list(itertools.product(range(c.n_layers), range(c.n_heads)))
    found = {}
    for q in range(V):
        base = U @ E[q] + sum(pattern(*head, q, q, 0) * output(*head, q) for head in heads)
        for k in range(V):
            T = sum(
                sum(pattern(*head, q, k, delta) for delta in offsets)
                / len(offsets)
                * output(*head, k)
                for head in heads
            )
            dP = (base + T).softmax(0) - base.softmax(0)
            for o in range(V):
                found[q, k, o] = (float(T[o]), float(dP[o]))
    return found


def test_search_is_that_of_naive_loops():
    model = random_model(d_vocab=5, n_heads=2)
    expected = search_by_loops(model, [1, 2, 3])
    order = sorted(expected, key=lambda triple: -expected[triple][1])
    weights = TensorWeights.from_model(model)
    for n in (1, 7, 125, 1000):
        table = search(weights, [1, 2, 3], n)[0]
        assert table.triples == order[:n]
        values = np.array([expected[triple] for triple in order[:n]])
        np.testing.assert_allclose(table.boost, values[:, 0], atol=1e-10)
        np.testing.assert_allclose(table.d_prob, values[:, 1], atol=1e-10)
    some = [order[0], order[40], order[-1]]
    assert search(weights, [1, 2, 3], 1, some)[1].tolist() == [1, 41, 125]


def test_window_is_read_off_the_profile():
    """With one RoPE frequency w the boost is cos^2(w delta), half of it at 45 degrees."""
    d_head = 8
    frequency = 1
    w = 1e4 ** (-2 * frequency / d_head)
    model = ruled_model(frequency=frequency, d_head=d_head)
    weights = TensorWeights.from_model(model)
    offsets = list(range(1, 16))
    profile = window_profile(weights, [(5, 2, 4)], offsets)[0]
    np.testing.assert_allclose(
        profile / profile[0],
        [math.cos(w * offset) ** 2 / math.cos(w) ** 2 for offset in offsets],
        atol=1e-10,
    )
    half = math.cos(w) ** 2 / 2
    assert window_edge(profile, offsets) == max(
        offset for offset in offsets if math.cos(w * offset) ** 2 >= half
    )
    with pytest.raises(DataError, match="no such rule"):
        window_edge(-profile, offsets)


def test_triples_are_listed_among_given_pairs_and_ranked_among_all():
    weights = TensorWeights.from_model(random_model())
    V = weights.d_vocab
    among = np.random.default_rng(0).random((V, V)) < 0.3
    whole, ranks = search(weights, WINDOW, V**3, [(1, 2, 3), (3, 2, 1)])
    some, ranks_again = search(weights, WINDOW, 40, [(1, 2, 3), (3, 2, 1)], among=among)
    assert some.triples == [t for t in whole.triples if among[t[:2]]][:40]
    assert list(ranks) == list(ranks_again)
    few = np.zeros((V, V), dtype=bool)
    few[4, 5] = True
    assert len(search(weights, WINDOW, 40, among=few)[0].triples) == min(40, V)


def test_no_offset_is_refused():
    with pytest.raises(DataError, match="no offset"):
        search(TensorWeights.from_model(random_model()), [], 3)[0]


# --- induction and suppression -------------------------------------------------------------------

OBJECTS, COLOURS = [1, 2, 3], [4, 5, 6]


def induction_model(noise=0.0):
    """Head 0.2 writes the object before a colour into its position; head 1.1 looks for it there.

    Stream: elements 0-6 are tokens, 7-9 the object before, 10-12 the colour to say.
    """
    model = zero_model(d_model=13, d_head=8, n_ctx=12)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        for p in model.layers.parameters():
            p.copy_(noise * torch.randn(p.shape, generator=generator, dtype=torch.float64))
        for n in "12":
            # The slowest planes of RoPE, elements 2 and 3 with 6 and 7, hardly turn.
            head_rows(model, 0, 2, f"q{n}")[3, COLOURS] += 3
            head_rows(model, 0, 2, f"k{n}")[3, OBJECTS] += 3
            for i, (element, object_) in enumerate(zip((2, 3, 6), OBJECTS, strict=True)):
                head_rows(model, 1, 1, f"q{n}")[element, object_] += 4
                head_rows(model, 1, 1, f"k{n}")[element, 7 + i] += 4
        for i in range(3):
            head_rows(model, 0, 2, "v")[i, OBJECTS[i]] += 1
            head_rows(model, 0, 2, "o")[i, 7 + i] += 1
            head_rows(model, 1, 1, "v")[i, COLOURS[i]] += 1
            head_rows(model, 1, 1, "o")[i, 10 + i] += 1
            model.head.weight[COLOURS[i], 10 + i] += 1
    return model


def test_the_induction_pair_is_named():
    pairs = induction_heads(
        TensorWeights.from_model(induction_model(noise=0.05)), OBJECTS, COLOURS, WINDOW
    )
    assert len(pairs) == 9
    best, second = pairs[:2]
    assert best.heads == ((0, 2), (1, 1))
    assert best.hits == 3
    assert best.contrast > 20 * abs(second.contrast)


def test_its_matrix_is_what_the_model_says():
    """M is the logit of the colour against the others on "object colour filler ... object"."""
    model = induction_model()
    (best, *_) = induction_heads(TensorWeights.from_model(model), OBJECTS, COLOURS, [3, 5])
    with_filler(model)
    said = torch.zeros(3, 3, dtype=torch.float64)
    for (i, query), (j, first) in itertools.product(enumerate(OBJECTS), enumerate(OBJECTS)):
        for colour, offset in itertools.product(COLOURS, (3, 5)):
            fillers = [0] * (offset - 1)
            logits = last_logits(model, first, colour, *fillers, query)
            others = [logits[other] for other in COLOURS if other != colour]
            said[i, j] += (logits[colour] - sum(others) / 2) / 6
    torch.testing.assert_close(best.matrix, said, **EXACT)
    assert said.diagonal().min() > 10 * abs(said.fill_diagonal_(0)).max()


def pair_of(matched, contrast):
    """A pair whose object i matches object matched[i], or none for None."""
    matrix = torch.zeros(len(matched), len(matched), dtype=torch.float64)
    for row, column in enumerate(matched):
        if column is not None:
            matrix[row, column] = contrast
    return VirtualHead((0, 1), matrix, ((0, 0), (1, int(contrast))))


def test_some_pair_is_the_one_with_the_most_hits_not_with_the_largest_contrast():
    five, six = pair_of([0, 1, 2, 3, 4, 4], 9.0), pair_of(range(6), 1.0)
    assert five.contrast > six.contrast
    found = most_hits([five, six])
    assert (found.pair, found.pair.hits, found.permutations) == (six, 6, 720)
    assert found.p == 1 / 720  # the true order alone
    larger = pair_of(range(6), 2.0)
    assert most_hits([five, six, larger]).pair is larger


def test_the_null_is_of_the_maximum_over_pairs():
    """A pair that matches the objects in another order is as good: every such pair adds to p."""
    true, turned = pair_of(range(6), 1.0), pair_of([1, 2, 3, 4, 5, 0], 3.0)
    assert most_hits([true, turned]).p == 2 / 720
    swapped = pair_of([1, 0, 2, 3, 4, 5], 3.0)
    assert most_hits([true, turned, swapped]).p == 3 / 720
    nothing = pair_of([None] * 6, 0.0)
    assert (most_hits([nothing]).pair.hits, most_hits([nothing]).p) == (0, 1)
    three = most_hits([pair_of(range(3), 1.0)])
    assert three.p == 1 / three.permutations == 1 / 6
    nine = most_hits([pair_of(range(9), 1.0)])  # too many orders to take them all
    assert nine.p == 1 / nine.permutations == 1 / 5000


def test_pairs_drawn_at_random_pass_the_null_of_the_maximum_no_more_often_than_they_may():
    rng = np.random.default_rng(0)
    p = []
    for _ in range(300):
        matrices = torch.from_numpy(rng.standard_normal((16, 4, 4)))
        p.append(most_hits([VirtualHead((0, 1), matrix) for matrix in matrices]).p)
    assert np.mean(np.array(p) < 0.05) <= 0.05
    assert np.mean(np.array(p) < 0.5) <= 0.55


def test_no_pair_is_found_without_composition():
    model = induction_model()
    with torch.no_grad():
        head_rows(model, 0, 2, "o").zero_()
    pairs = induction_heads(TensorWeights.from_model(model), OBJECTS, COLOURS, WINDOW)
    assert all(pair.hits == 0 and pair.contrast == 0 for pair in pairs)
    one_layer = TensorWeights.from_model(random_model(n_layers=1))
    assert induction_heads(one_layer, OBJECTS, COLOURS, WINDOW) == []
    with pytest.raises(DataError, match="1 objects"):
        induction_heads(one_layer, OBJECTS[:1], COLOURS, WINDOW)


def test_suppression_is_read():
    """Token 2 is the trigger, 5 the name, 4 its top verb, 3 and 6 its others."""
    model = ruled_model(sign=1)
    with torch.no_grad():
        head_rows(model, 0, 1, "o").mul_(-1)
        for verb, logit in ((4, 3.0), (3, 2.0), (6, 1.0)):
            model.head.weight[verb, 5] = logit
    read = suppression(TensorWeights.from_model(model), 2, [5, 1], [[4, 3, 6], [4, 3, 6]], [1, 2])
    torch.testing.assert_close(read.without[0], torch.tensor([3.0, 2.0, 1.0]).double(), **EXACT)
    said = (last_logits(model, 2, 5) + last_logits(with_filler(model), 2, 0, 5)) / 2
    torch.testing.assert_close(read.with_trigger[0], said[[4, 3, 6]], **EXACT)
    assert read.below.tolist() == [True, False]
    assert read.drop[0] > 5
    assert read.drop[1] == 0


# --- the direct path and precision ---------------------------------------------------------------


def test_direct_path_is_a_product_and_centring_leaves_probabilities():
    model = random_model()
    weights = TensorWeights.from_model(model)
    square = direct_path(weights)
    torch.testing.assert_close(square, model.tok_embed.weight @ model.head.weight.T, **EXACT)
    torch.testing.assert_close(row_centred(square).softmax(1), square.softmax(1), **EXACT)
    assert row_centred(square).mean(1).abs().max() < 1e-12


def test_fit_of_a_perfect_a_shifted_and_a_random_table():
    generator = torch.Generator().manual_seed(0)
    p = torch.rand(6, 5, generator=generator).double()
    p[2, 1] = p[4, 0] = 0
    truth = (p / p.sum(1, keepdim=True)).log()
    shift = torch.randn(6, 1, generator=generator)
    perfect = fit_direct(truth.clamp_min(-30) * 2 + shift, truth)
    assert perfect.pearson_r == pytest.approx(1)
    assert (perfect.top1, perfect.rows, perfect.cells) == (6, 6, 28)
    wrong = fit_direct(-truth.clamp_min(-30), truth)
    assert wrong.pearson_r == pytest.approx(-1)
    assert wrong.top1 == 0
    logits = torch.randn(6, 5, generator=generator).double()
    fit = fit_direct(logits, truth)
    kept = truth.isfinite()
    centred = [
        np.concatenate([x[i][kept[i]] - x[i][kept[i]].mean() for i in range(6)])
        for x in (logits, truth)
    ]
    assert fit.pearson_r == pytest.approx(np.corrcoef(*centred)[0, 1])
    assert math.isnan(fit_direct(torch.zeros(6, 5), truth).pearson_r)


def test_tables_that_do_not_compare_are_refused():
    with pytest.raises(DataError, match="same cells"):
        fit_direct(torch.zeros(2, 3), torch.zeros(2, 2))
    with pytest.raises(DataError, match="row 1"):
        fit_direct(torch.zeros(2, 2), torch.tensor([[0.0, 1.0], [-math.inf, -math.inf]]))


def test_precision_and_recall():
    found = precision_recall(["a", "x", "b", "y"], {"a", "b", "c"})
    np.testing.assert_allclose(found.precision, [1, 1 / 2, 2 / 3, 1 / 2])
    np.testing.assert_allclose(found.recall, [1 / 3, 1 / 3, 2 / 3, 2 / 3])
    assert found.average_precision == pytest.approx((1 + 2 / 3) / 3)
    rng = np.random.default_rng(0)
    truth = {i for i in range(50) if rng.random() < 0.3}
    order = rng.permutation(50).tolist()
    expected = average_precision_score([i in truth for i in order], -np.arange(50))
    assert precision_recall(order, truth).average_precision == pytest.approx(expected)
    with pytest.raises(DataError, match="no true rule"):
        precision_recall(["a"], [])
    with pytest.raises(DataError, match="twice"):
        precision_recall(["a", "a"], ["a"])
