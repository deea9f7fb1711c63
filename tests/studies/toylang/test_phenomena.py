"""The three experiments: prefixes against the program, planted heads, slow references."""

# Matrices keep the capitals of the formulas.
# ruff: noqa: E741, N806

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from fake_tensor import head_rows, random_model, random_tokens, zero_model
from zscope.config.base import Bootstrap
from zscope.models.tensor_heads import ReplacedHeads, head_z, mean_z
from zscope.models.tensor_transformer import TensorConfig, TensorTransformer
from zscope.studies.toylang.phenomena.error_correction import error_rows, find_repeats, repair_rows
from zscope.studies.toylang.phenomena.experiments import phenomena_rows
from zscope.studies.toylang.phenomena.prefixes import first_layer_change, probabilities
from zscope.studies.toylang.phenomena.reuse import _served, cut_logits, reuse_rows
from zscope.studies.toylang.phenomena.suppression import find_pairs, suppression_rows
from zscope.studies.toylang.readouts.suppression import head_drops
from zscope.studies.toylang.readouts.weights import TensorWeights
from zscope.studies.toylang.tables import PHENOMENA
from zscope.toy_language.config import LanguageConfig, VocabularyConfig
from zscope.toy_language.excess import ToyEvaluation
from zscope.toy_language.language import ToyLanguage

BOOTSTRAP = Bootstrap(resamples=50)
CPU = torch.device("cpu")
EXACT = {"rtol": 0, "atol": 1e-10}
KINDS = [
    {},
    {"residual": "lerp", "lerp": 0.3},
    {"attention": "softmax", "rms_norm": True},
    {"n_layers": 3},
]


@pytest.fixture(scope="module")
def language():
    return ToyLanguage(LanguageConfig())


@pytest.fixture(scope="module")
def sampled(language):
    return language.sample(1500, np.random.default_rng(0)).tokens


def rng():
    return np.random.default_rng(1)


def by(rows, **columns):
    """The one row with these columns."""
    (row,) = [row for row in rows if all(row[k] == v for k, v in columns.items())]
    return row


class Program(nn.Module):
    """A model that says what the program does, or `said(tokens, p)` of it."""

    def __init__(self, language, said=lambda tokens, p: p):
        super().__init__()
        self.language, self.said = language, said
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, tokens):
        rows = self.language.rows(tokens.numpy())
        p = self.said(tokens.numpy(), self.language.distributions.p[np.roll(rows, -1, 1)])
        return torch.from_numpy(p).clamp_min(1e-300).log()


# --- suppression: the prefixes -------------------------------------------------------------------


def test_pairs_differ_in_never_alone_and_are_possible(language, sampled):
    pairs = find_pairs(language, sampled, rng())
    never, window = language.vocabulary.ids["never"], language.config.suppress.window
    each = np.arange(len(pairs.distance))
    place = pairs.with_never.last - pairs.distance
    assert len(each) > 200
    for prefixes in (pairs.with_never, pairs.without, pairs.placebo):
        assert prefixes.possible.all()
        differs = prefixes.tokens != pairs.with_never.tokens
        differs[each, place] = False
        assert not differs.any()
    tokens = pairs.with_never.tokens
    for i, last in enumerate(pairs.with_never.last):
        assert tokens[i, :last].tolist().count(never) == 1
        assert never not in pairs.without.tokens[i, :last]
    assert (tokens[each, place] == never).all()
    assert (pairs.without.tokens[each, place] != pairs.placebo.tokens[each, place]).all()
    assert set(pairs.distance) == set(range(1, 2 * window + 1))
    assert len({row.tobytes() for row in tokens}) == len(tokens)  # one of a sequence


def test_truth_is_what_the_config_says(language, sampled):
    pairs = find_pairs(language, sampled, rng())
    with_never = pairs.with_never.truth(pairs.top)
    np.testing.assert_array_equal(with_never[pairs.within], 0)
    np.testing.assert_allclose(with_never[~pairs.within], 0.7)
    np.testing.assert_allclose(pairs.without.truth(pairs.top), 0.7)
    model = Program(language)
    for prefixes in (pairs.with_never, pairs.without):
        said = probabilities(model, prefixes, CPU)[np.arange(len(pairs.top)), pairs.top]
        np.testing.assert_allclose(said, prefixes.truth(pairs.top), atol=1e-12)


@pytest.mark.parametrize("places", [1, 2])
def test_a_pair_needs_two_replacements(places):
    """Here `never` can be replaced by a place alone."""
    row = {"never": 1, "place": 1}
    language = ToyLanguage(
        LanguageConfig(
            length=4,
            primitives=["suppress", "bigram"],
            vocabulary=VocabularyConfig(place=places),
            transitions={"topic": row, "never": {"name": 1}, "place": {"name": 1}},
        )
    )
    pairs = find_pairs(language, language.sample(50, rng()).tokens, rng())
    assert (pairs is None) == (places == 1)
    if pairs is not None:
        used = np.sort([pairs.without.tokens[:, 1], pairs.placebo.tokens[:, 1]], axis=0)
        np.testing.assert_array_equal(used.T, [language.vocabulary.members["place"]] * len(used.T))


# --- suppression: heads --------------------------------------------------------------------------


def planted_suppression():
    """Head 1.1 goes from the one name to `never`, however far, and lowers the top verb."""
    language = ToyLanguage(LanguageConfig(vocabulary=VocabularyConfig(name=1)))
    V = len(language.vocabulary)
    ids, verbs = language.vocabulary.ids, language.vocabulary.members["verb_t"]
    model = zero_model(d_vocab=V, d_model=V, n_ctx=64, d_head=8)
    name = language.vocabulary.members["name"][0]
    with torch.no_grad():
        model.head.weight[:, name] = -20
        model.head.weight[verbs[:3], name] = torch.tensor([0.7, 0.2, 0.1]).log().double()
        for n in "12":
            head_rows(model, 1, 1, f"q{n}")[3, name] = 8  # the plane of RoPE that hardly turns
            head_rows(model, 1, 1, f"k{n}")[3, ids["never"]] = 1
        head_rows(model, 1, 1, "v")[0, ids["never"]] = 10
        spare = ids["recall"]  # an element of the stream to write into
        head_rows(model, 1, 1, "o")[0, spare] = 1
        model.head.weight[verbs[0], spare] = -1
    return language, model.float()


def test_the_planted_head_is_named_and_its_loss_ends_suppression():
    language, model = planted_suppression()
    weights = TensorWeights.from_model(model)
    by_head = head_drops(weights, language).mean(-1).numpy()
    assert by_head[1, 1] == pytest.approx(10, abs=0.1)  # A is 8 x 8 / d_head^2 = 1
    by_head[1, 1] = 0
    assert np.abs(by_head).max() < 1e-12
    rows = suppression_rows(model, language, weights, BOOTSTRAP, rng())
    for x in range(1, 7):
        row = by(rows, case="with never", x=float(x))
        assert row["truth"] == 0
        assert row["value"] < 1e-3
        assert by(rows, case="without never", x=float(x))["value"] == pytest.approx(0.7, abs=1e-6)
    within = by(rows, case="within window", metric="drop")
    assert within["value"] == pytest.approx(within["truth"], abs=1e-3) == 0.7
    # It reaches too far, which the control shows; and an edit alone does nothing.
    beyond = by(rows, case="beyond window", metric="drop")
    assert (beyond["truth"], round(beyond["value"], 2)) == (0, 0.7)
    assert by(rows, case="placebo", metric="drop")["value"] == pytest.approx(0, abs=1e-6)
    # Without it `never` does nothing; the mean that is left lowers the verb everywhere.
    assert by(rows, case="named L1H1 ablated", metric="drop")["value"] == pytest.approx(0, abs=1e-6)
    change = by(rows, case="L1H1 ablated", metric="change")["value"]
    assert change == pytest.approx(-0.7, abs=1e-3)
    others = [r for r in rows if r["metric"] == "change" and "L1H1" not in r["case"]]
    assert len(others) == 5
    assert all(row["value"] == pytest.approx(0, abs=1e-6) for row in others)


def writes(model, tokens):
    """What each head adds to the stream: layer, head, batch, seq, d."""
    O = torch.stack([block.attn.weight("o") for block in model.blocks])
    return model.config.written * torch.einsum("lbshe,lhed->lhbsd", head_z(model, tokens), O)


@pytest.mark.parametrize("changes", KINDS)
def test_the_change_is_that_of_a_replaced_head(changes):
    model = random_model(**changes)
    tokens = random_tokens(model, 5)
    mean = mean_z(model, tokens)[0, 1]
    with torch.no_grad():
        change = first_layer_change(model, tokens, 1, mean)
        found = model.resume(model.stream(tokens, 1) + change, 1)
        torch.testing.assert_close(found, ReplacedHeads(model, {(0, 1): mean})(tokens), **EXACT)


# --- error correction ----------------------------------------------------------------------------


@pytest.mark.parametrize("occurrence", [3, 4])
def test_repeats_are_wrong_as_often_as_they_say(language, sampled, occurrence):
    repeats = find_repeats(language, sampled, occurrence, rng())
    assert len(repeats.prefixes) == occurrence - 1
    assert (repeats.first != repeats.wrong).all()
    colours = set(language.vocabulary.members["colour"].tolist())
    assert set(repeats.wrong) == colours
    for x, prefixes in enumerate(repeats.prefixes):
        assert prefixes.possible.all()
        for i, last in enumerate(prefixes.last):
            row = prefixes.tokens[i].tolist()
            said = [row[t + 1] for t in range(last) if row[t] == row[last]]
            first, wrong = int(repeats.first[i]), int(repeats.wrong[i])
            assert said == [first] * (occurrence - 1 - x) + [wrong] * x
        np.testing.assert_allclose(prefixes.truth(repeats.first), 0.9 + 0.1 / 6)
        np.testing.assert_allclose(prefixes.truth(repeats.wrong), 0.1 / 6)


def test_the_program_corrects_every_error(language):
    rows = error_rows(Program(language), language, BOOTSTRAP, rng())
    assert len(rows) == 3 + 4 + 3 + 4 + 4
    for row in rows:
        assert row["value"] == pytest.approx(row["truth"], abs=1e-12)
    assert by(rows, case="fourth occurrence", metric="corrects", x=2.0)["value"] == 1
    assert by(rows, case="fourth occurrence", metric="corrects", x=2.0)["ci_low"] < 1


def test_a_model_that_copies_the_latest_is_found_out(language):
    colours = language.vocabulary.members["colour"]

    def latest(tokens, p):
        p = p.copy()
        for i, row in enumerate(tokens):
            said = {}
            for t, token in enumerate(row[:-1]):
                if token in said:
                    p[i, t] = 0.9 * (np.arange(p.shape[-1]) == said[token]) + 0.1 / p.shape[-1]
                if row[t + 1] in colours:
                    said[token] = row[t + 1]
        return p

    rows = error_rows(Program(language, latest), language, BOOTSTRAP, rng())
    assert by(rows, case="third occurrence", metric="corrects", x=0.0)["value"] == 1
    for case, x in (("third occurrence", 1.0), ("fourth occurrence", 1.0)):
        assert by(rows, case=case, metric="corrects", x=x)["value"] == 0
        assert by(rows, case=case, metric="fall", x=x)["value"] == pytest.approx(0.9)
        assert by(rows, case=case, metric="p_last", x=x)["value"] > 0.9


# --- self-repair and reuse -----------------------------------------------------------------------


def small(**changes):
    """A small language, a random model of it, and sequences to measure on."""
    language = ToyLanguage(LanguageConfig(length=16))
    shape = {"d_vocab": len(language.vocabulary), "n_ctx": 16, "scale": 1.0}
    model = random_model(**shape, **changes)
    evaluation = ToyEvaluation.sample(language, 70, 3, BOOTSTRAP, CPU)
    return language, model, evaluation


def mean_excess(evaluation, logits):
    q = logits[:, :-1].log_softmax(-1)
    p = evaluation.p.double()
    return float((torch.special.xlogy(p, p) - p * q).sum(-1).mean())


@pytest.mark.parametrize("changes", KINDS[:3])
def test_repair_against_frozen_heads(changes):
    """Reference: later heads' writes of the intact run are added by hand."""
    _, model, evaluation = small(**changes)
    rows = repair_rows(model, evaluation, BOOTSTRAP)
    tokens, kept = evaluation.tokens, model.config.kept
    with torch.no_grad():
        embedded = model.stream(tokens, 0)
        first, second = writes(model, tokens)
        later = second.sum(0)
        clean = mean_excess(evaluation, model(tokens))
        for head in range(model.config.n_heads):
            ablated = first.clone()
            ablated[head] = first[head].mean((0, 1))
            after = kept * embedded + ablated.sum(0)
            total = mean_excess(evaluation, model.resume(after, 1)) - clean
            direct = mean_excess(evaluation, model.unembed(kept * after + later)) - clean
            case = f"L0H{head}"
            assert by(rows, case=case, metric="total")["value"] == pytest.approx(total, abs=1e-5)
            assert by(rows, case=case, metric="direct")["value"] == pytest.approx(direct, abs=1e-5)
            repair = by(rows, case=case, metric="repair")
            assert repair["value"] == pytest.approx(direct - total, abs=1e-5)
            assert repair["ci_low"] <= repair["value"] <= repair["ci_high"]
            assert abs(direct - total) > 1e-3


def test_nothing_repairs_when_later_heads_say_nothing():
    _, model, evaluation = small()
    with torch.no_grad():
        model.blocks[1].attn.o.weight.zero_()
    rows = repair_rows(model, evaluation, BOOTSTRAP)
    assert [row["value"] for row in rows if row["metric"] == "repair"] == pytest.approx([0, 0, 0])
    assert repair_rows(small(n_layers=1)[1], evaluation, BOOTSTRAP) == []


@pytest.mark.parametrize("changes", KINDS[:3])
@pytest.mark.parametrize(
    ("read", "factors"),
    [("keys", "k1 k2"), ("queries", "q1 q2"), ("values", "v"), ("direct", "")],
)
def test_a_cut_changes_one_read_alone(read, factors, changes):
    """Reference: the heads written out, each factor from the stream that it reads."""
    model = random_model(**changes)
    c, tokens = model.config, random_tokens(model)
    generator = torch.Generator().manual_seed(2)
    change = torch.randn(3, c.n_ctx, c.d_model, generator=generator, dtype=torch.float64)
    attn, block = model.blocks[1].attn, model.blocks[1]
    with torch.no_grad():
        x = model.stream(tokens, 1)
        clean, other = (attn.split(attn.project(block.read(s))) for s in (x, x + change))
        names = [*c.rotated, "v"]
        triples = zip(names, clean, other, strict=True)
        used = [b if name in factors.split() else a for name, a, b in triples]
        q1, k1, *second, v = used
        mask = torch.ones(c.n_ctx, c.n_ctx).tril().bool()
        if c.attention == "bilinear":
            pattern = (q1 @ k1.mT) * (second[0] @ second[1].mT) * mask
        else:
            scores = (q1 @ k1.mT / math.sqrt(c.d_head)).masked_fill(~mask, -math.inf)
            pattern = scores.softmax(-1)
        write = torch.einsum("bhqe,hed->bqd", pattern @ v, attn.weight("o"))
        final = c.kept * x + c.written * write
        expected = model.unembed(final + c.kept * change if read == "direct" else final)
        torch.testing.assert_close(cut_logits(model, tokens, change, read), expected, **EXACT)
        assert not torch.allclose(expected, model(tokens))
        same = cut_logits(model, tokens, torch.zeros_like(change), read)
        torch.testing.assert_close(same, model(tokens), **EXACT)


def test_a_path_that_nothing_reads_serves_nothing():
    """Later heads without keys have no pattern: only the direct paths are left."""
    _, model, evaluation = small()
    with torch.no_grad():
        model.blocks[1].attn.k1.weight.zero_()
    rows = reuse_rows(model, evaluation, BOOTSTRAP, rng())
    for head in range(3):
        for read in ("keys", "queries", "values"):
            for case in (f"L0H{head}:{read}", f"L0H{head}:{read} placebo"):
                row = by(rows, case=case, metric="change_all")
                assert row["value"] == pytest.approx(0, abs=1e-6)
            assert by(rows, case=f"L0H{head}:{read}", metric="n_primitives")["value"] == 0
        assert abs(by(rows, case=f"L0H{head}:direct", metric="change_all")["value"]) > 1e-3


def test_served_primitives_are_those_that_lose():
    """Head 0.0 goes from a name to itself and writes what its bigram's logits are read from: only
    its direct path is of use."""
    language = ToyLanguage(LanguageConfig(length=16))
    V = len(language.vocabulary)
    names = language.vocabulary.members["name"]
    model = zero_model(d_vocab=V, d_model=2 * V, d_head=8, n_ctx=16)
    after = torch.from_numpy(language.distributions.p)
    rows_of = language.rows(np.array([[0, 4, n, 4] for n in names]))[:, 3]
    with torch.no_grad():
        model.tok_embed.weight[:, V:] = 0
        for i, n in enumerate(names):
            for factor in ("q1", "k1", "q2", "k2"):
                head_rows(model, 0, 0, factor)[i, n] = 8**0.5  # itself: A = 1 at distance 0
            head_rows(model, 0, 0, "v")[i, n] = 1
            head_rows(model, 0, 0, "o")[i, V + i] = 1
            model.head.weight[:, V + i] = after[rows_of[i]].clamp_min(1e-6).log()
    evaluation = ToyEvaluation.sample(language, 200, 3, BOOTSTRAP, CPU)
    found = reuse_rows(model, evaluation, BOOTSTRAP, rng())
    direct = by(found, case="L0H0:direct", metric="change_bigram")
    assert direct["value"] > 1
    assert by(found, case="L0H0:direct", metric="n_primitives")["value"] >= 1
    for read in ("keys", "queries", "values"):
        change = by(found, case=f"L0H0:{read}", metric="change_bigram")
        assert change["value"] == pytest.approx(0)
        assert by(found, case=f"L0H0:{read}", metric="n_primitives")["value"] == 0


def test_served_is_what_loses_more_than_is_tolerated_and_than_with_the_placebo():
    language = ToyLanguage(LanguageConfig())
    evaluation = ToyEvaluation.sample(language, 40, 3, BOOTSTRAP, CPU)
    cut, placebo = np.zeros((2, *evaluation.labels.shape))
    for primitive, lost, by_placebo in (
        ("bigram", 0.04, 0.0),
        ("induction", 0.5, 0.1),
        ("novel", 0.5, 0.5),
        ("category", 0.5, 0.2),
    ):
        cut[evaluation.masks[primitive]] = lost
        placebo[evaluation.masks[primitive]] = by_placebo
    served = _served(evaluation, cut, placebo)
    assert (served["value"], served["n"]) == (2, len(evaluation.masks) - 1)


# --- all together --------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"attention": "softmax", "rms_norm": True}])
def test_rows_fit_the_table_and_repeat(changes):
    language = ToyLanguage(LanguageConfig(length=24))
    shape = {"d_vocab": len(language.vocabulary), "n_ctx": 24, "n_heads": 2, "d_model": 16}
    model = TensorTransformer(TensorConfig(**shape, d_head=8, **changes)).init_weights(0)
    first, second = (phenomena_rows(model, language, BOOTSTRAP, 0) for _ in range(2))
    assert first == second

    frame = pd.DataFrame(first).assign(condition="reference", seed=0)
    assert set(frame.columns) == {column.name for column in PHENOMENA.columns}
    assert not frame.duplicated(list(PHENOMENA.key)).any()
    required = [column.name for column in PHENOMENA.columns if not column.nullable]
    assert frame[required].notna().all().all()
    assert set(frame["experiment"]) == {"suppression", "error_correction", "reuse"}
    named = frame["case"].str.startswith("named")
    assert named.any() == model.config.is_polynomial


def test_what_is_off_has_no_rows():
    language = ToyLanguage(LanguageConfig(length=12, primitives=["bigram", "novel"]))
    shape = {"d_vocab": len(language.vocabulary), "n_ctx": 12, "n_layers": 1}
    model = random_model(**shape)
    assert phenomena_rows(model, language, BOOTSTRAP, 0) == []


def test_without_such_prefixes_there_are_no_rows():
    language = ToyLanguage(LanguageConfig(length=4))
    tokens = language.sample(50, rng()).tokens
    never = language.vocabulary.ids["never"]
    assert find_pairs(language, tokens[(tokens != never).all(1)], rng()) is None
    model = Program(language)
    assert error_rows(model, language, BOOTSTRAP, rng()) == []
