"""The rows of the toy study's readouts, ablations and exact patches: planted and random models."""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N806

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch

from fake_tensor import head_rows, random_model, zero_model
from zscope.config.base import Bootstrap
from zscope.core.errors import DataError
from zscope.core.provenance import derive_seed
from zscope.models.tensor_heads import ReplacedHeads, head_z, mean_z
from zscope.models.tensor_transformer import TensorConfig, TensorTransformer, make_optimizers
from zscope.studies.toylang.config import ReadoutConfig, ToyOnsetConfig, ToyTraining
from zscope.studies.toylang.onsets import run_onsets
from zscope.studies.toylang.readouts.ablations import (
    _largest,
    _random_sets,
    ablation_rows,
    named_heads,
)
from zscope.studies.toylang.readouts.degrees import SEQUENCES, degree_rows
from zscope.studies.toylang.readouts.induction import induction_heads
from zscope.studies.toylang.readouts.program_truth import (
    boosting_rules,
    copying_truth,
    pairs_alone,
    pairs_that_occur,
    program_boosts,
    skip_triples,
    verbs_of_names,
    window_truth,
)
from zscope.studies.toylang.readouts.readout_rows import Reading
from zscope.studies.toylang.readouts.weights import TensorWeights
from zscope.studies.toylang.tables import (
    ABLATIONS,
    DEGREES,
    MATRICES,
    READOUTS,
    SEARCH,
    WEIGHTS,
)
from zscope.studies.toylang.targets import DIRECT_KL_ONSET
from zscope.studies.toylang.training import next_token_loss
from zscope.toy_language.config import LanguageConfig
from zscope.toy_language.distributions import LABELS
from zscope.toy_language.excess import ToyEvaluation
from zscope.toy_language.language import ToyLanguage
from zscope.toy_language.rule_finding import find_rules
from zscope.toy_language.rules import Rule

CONFIG = ReadoutConfig()
EXACT = {"rtol": 0, "atol": 1e-10}
ALL = list(LanguageConfig().primitives)


@pytest.fixture(scope="module")
def language():
    return ToyLanguage(LanguageConfig())


@pytest.fixture(scope="module")
def rules(language):
    return find_rules(language, np.random.default_rng(0), 64)


def toy_model(**changes):
    """A random model on the language's vocabulary."""
    return random_model(**{"d_vocab": 65, "n_ctx": 64, **changes})


def evaluation_of(language, n=12):
    bootstrap = Bootstrap(resamples=50)
    return ToyEvaluation.sample(language, n, 3, bootstrap, torch.device("cpu"))


def one(rows, **where):
    """The one row with these values."""
    (row,) = (r for r in rows if all(r[k] == v for k, v in where.items()))
    return row


def fits(table, rows, **run):
    """Rows have the columns of a table, no null where there may be none, and no key twice."""
    frame = pd.DataFrame(rows).assign(condition="reference", seed=0, **run)
    assert set(frame) == {column.name for column in table.columns}
    required = [column.name for column in table.columns if not column.nullable]
    assert frame[required].notna().all().all()
    assert not frame.duplicated(list(table.key)).any()


# --- the tables ----------------------------------------------------------------------------------


def test_rows_fit_their_tables(language, rules):
    model = toy_model()
    weights = TensorWeights.from_model(model)
    arguments = weights, language, rules, CONFIG
    fits(READOUTS, Reading(*arguments).numbers(), step=0)
    fits(MATRICES, Reading(*arguments).matrices())
    fits(SEARCH, Reading(*arguments).search())
    fits(DEGREES, degree_rows(model, language, 0))
    rows = ablation_rows(model.float(), evaluation_of(language), *arguments[1:], 0)
    fits(ABLATIONS, rows)


def test_an_untrained_model_is_all_ties(language, rules):
    model = TensorTransformer(TensorConfig()).init_weights(0)
    weights = TensorWeights.from_model(model)
    rows = Reading(weights, language, rules, CONFIG).numbers()
    of = {(r["readout"], r["item"], r["metric"]): r["value"] for r in rows}
    ranks = [value for (_, _, metric), value in of.items() if metric == "rank"]
    assert ranks == [(65**3 + 1) / 2] * 4
    assert of["direct", "all", "r"] is None
    assert [value for (_, _, metric), value in of.items() if metric == "edge"] == [None] * 4
    zero = ("top1", "top1_self", "hits", "most_hits", "hits_together", "contrast", "below", "drop")
    assert all(of[key] == 0 for key in of if key[2] in zero)
    assert of["rules", "all", "precision_at_10"] == of["rules", "all", "average_precision"] == 0
    p = 1 / 65
    entropy = -sum(x * math.log(x) for x in (0.7, 0.2, 0.1))
    for metric in ("kl", "kl_self"):
        assert of["direct", "all", metric] == pytest.approx(-math.log(p) - entropy)
    assert of["induction", "all", "most_hits_p"] == 1
    assert len(Reading(weights, language, rules, CONFIG).matrices()) > 0
    assert named_heads(weights, language, rules, CONFIG) == {}
    degrees = degree_rows(model, language, 0)
    assert all(r["value"] == r["share"] == r["error"] == 0 for r in degrees)


def test_the_bigrams_are_not_in_the_weights_after_one_step(language, rules):
    """r is free of scale: one step, which takes a tenth of a nat off, brings it to nearly 0.9."""
    model = TensorTransformer(TensorConfig(d_vocab=65)).init_weights(0)
    training = ToyTraining()
    optimizers = make_optimizers(model, training.muon_lr, training.adamw_lr)
    readouts = []
    for step in range(3):
        weights = TensorWeights.from_model(model)
        rows = Reading(weights, language, rules, CONFIG).numbers()
        readouts.append(pd.DataFrame(rows).assign(condition="reference", seed=0, step=step))
        if step == 0:
            batch = language.sample(64, np.random.default_rng(0)).tokens
            next_token_loss(torch.device("cpu"))(model, batch).backward()
            for optimizer in optimizers:
                optimizer.step()
    readouts = pd.concat(readouts)
    direct = readouts[(readouts["readout"] == "direct") & (readouts["step"] == 1)]
    value = direct.set_index("metric")["value"].astype(float)
    assert value["r"] > 0.8
    assert value["kl_self"] > 10 * DIRECT_KL_ONSET
    curve = {"split": "held_out", "primitive": "skip", "metric": "excess", "value": 4.0}
    training_rows = pd.DataFrame([{"condition": "reference", "seed": 0, "step": 0, **curve}])
    found = run_onsets(training_rows, readouts, ToyOnsetConfig())
    when = {row["primitive"]: row["onset"] for row in found if row["kind"] == WEIGHTS}
    assert when == dict.fromkeys(("bigram", "skip", "induction", "suppress"))


BY_PRIMITIVE = {
    "bigram": {"direct", "direct_logit"},
    "skip": {"window", "skip_qk", "skip_ov", "skip_product"},
    "induction": {"induction", "induction_together"},
    "suppress": {"suppression"},
}


@pytest.mark.parametrize("off", BY_PRIMITIVE)
def test_a_primitive_that_is_off_has_no_rows(off):
    language = ToyLanguage(LanguageConfig(primitives=[p for p in ALL if p != off]))
    rules = find_rules(language, np.random.default_rng(0), 24)
    weights = TensorWeights.from_model(toy_model())
    arguments = weights, language, rules, CONFIG
    rows = Reading(*arguments).numbers() + Reading(*arguments).matrices()
    found = {row["readout"] for row in rows}
    assert found == set.union({"rules"}, *BY_PRIMITIVE.values()) - BY_PRIMITIVE[off]
    ranks = [row for row in rows if row.get("metric") == "rank"]
    assert len(ranks) == (0 if off == "skip" else 4)
    named = {"induction": "induction", "suppress": "suppression", "skip": "rules"}
    assert named.get(off) not in named_heads(*arguments)


def test_a_language_without_rules_and_a_model_of_one_layer_have_what_is_left():
    language = ToyLanguage(LanguageConfig(primitives=["bigram", "induction"]))
    weights = TensorWeights.from_model(toy_model(n_layers=1))
    direct = [r for r in find_rules(language, np.random.default_rng(0), 8) if r.key is None]
    rows = Reading(weights, language, direct, CONFIG).numbers()
    assert {row["readout"] for row in rows} == {"direct"}
    assert Reading(weights, language, direct, CONFIG).search() == []


# --- truth ---------------------------------------------------------------------------------------


def test_truths_are_those_of_the_config(language, rules):
    words = language.vocabulary.tokens
    verbs = [[words[i] for i in of_name] for of_name in verbs_of_names(language)]
    assert verbs[0] == ["sees", "helps", "finds"]
    assert verbs[2] == ["calls", "tells", "sees"]  # the last verb is followed by the first
    assert copying_truth(language) == pytest.approx(math.log((0.9 + 0.1 / 6) / (0.1 / 6)))
    expected = {
        tuple(language.vocabulary.encode([q, k, o])) for k, q, o in language.config.skip.rules
    }
    assert set(skip_triples(language, rules)) == expected
    assert {"suppress", "bigram"}.isdisjoint(boosting_rules(language, rules).values())
    base = 0.1 / 6  # of each function word after an adjective
    odds = math.log((0.9 + 0.1 * base) / (0.1 - 0.1 * base)) - math.log(base / (1 - base))
    truth = window_truth(language, skip_triples(language, rules)[0], range(1, 17))
    np.testing.assert_allclose(truth, [odds] * 8 + [0] * 8)


def test_equal_weights_leave_the_forbidden_verb_first():
    config = LanguageConfig(bigram={"weights": [0.5, 0.5]}, vocabulary={"verb_t": 3, "name": 3})
    verbs = verbs_of_names(ToyLanguage(config))
    first = min(verbs[0])
    assert verbs == [[first, first + 1], [first + 2, first], [first + 1, first + 2]]


def test_pairs_occur_as_in_texts(language):
    """Against sampled texts. Every pair but those that end in a topic occurs, closing brackets
    before a query too."""
    tokens = language.sample(20_000, np.random.default_rng(0)).tokens
    seen = np.zeros((65, 65), dtype=bool)
    for distance in range(1, 9):
        seen[tokens[:, distance:], tokens[:, :-distance]] = True
    occur, topics = pairs_that_occur(language, range(1, 9)), language.vocabulary.members["topic"]
    np.testing.assert_array_equal(occur, seen)
    assert not occur[topics].any()
    assert np.delete(occur, topics, axis=0).all()


def test_pairs_that_occur_follow_the_config():
    language = ToyLanguage(LanguageConfig(primitives=["bigram", "skip"]))
    occur, ids = pairs_that_occur(language, range(1, 9)), language.vocabulary.ids
    for bracket in "()[]":
        assert not occur[ids[bracket]].any()
        assert not occur[:, ids[bracket]].any()
    assert occur[ids["big"], ids["beach"]]
    adjacent = pairs_that_occur(language, range(1, 2))
    assert adjacent[ids["sees"], ids["alice"]]
    assert not adjacent[ids["knows"], ids["alice"]]  # a verb of another name
    short = ToyLanguage(LanguageConfig(length=2))
    occur = pairs_that_occur(short, range(1, 9))
    topics = short.vocabulary.members["topic"]
    assert occur[short.vocabulary.ids["alice"], topics].all()
    assert not np.delete(occur, topics, axis=1).any()


def test_a_pair_stands_alone_unless_it_closes_what_was_not_opened(language):
    opener = {")": "(", "]": "["}
    words, occur = language.vocabulary.tokens, pairs_alone(language)
    for query, key in np.ndindex(occur.shape):
        open_, fits = [], True
        for word in (words[key], words[query]):
            if word in opener:
                fits = fits and bool(open_) and open_.pop() == opener[word]
            elif word in opener.values():
                open_.append(word)
        assert occur[query, key] == fits, (words[key], words[query])
    # Sampled texts have brackets, and none that closes nothing.
    for tokens in language.sample(50, np.random.default_rng(0)).tokens:
        seen = [words[t] for t in tokens]
        for i, word in enumerate(seen):
            if word in opener:
                assert opener[word] in seen[:i]


def test_a_head_that_reads_closing_brackets_is_wrong_about_texts(language):
    """They stand before other words in texts, and change nothing after them. Where no bracket is
    around, the same head says something true."""
    ids, model = language.vocabulary.ids, blank(language)
    places, adjectives = (language.vocabulary.members[kind] for kind in ("place", "adjective"))
    attend(model, 0, 0, 4, [*places, *adjectives], ids[")"])
    write(model, 0, 0, 0, ids[")"], {ids["."]: 9.0})
    attend(model, 0, 1, 4, ids["lake"], ids["("])
    write(model, 0, 1, 0, ids["("], {ids[")"]: 5.0})
    rules = [Rule("skip", "beach", "big", "at", 0.9, 1, 8, 5)]
    reading = Reading(TensorWeights.from_model(model), language, rules, CONFIG)
    first = reading.search()[:10]
    assert {(row["key"], row["output"], row["primitive"]) for row in first} == {(")", ".", None)}
    numbers = reading.numbers()
    for paths in ("", "_all_paths"):
        assert one(numbers, metric=f"precision_at_10{paths}")["value"] == 0
        assert one(numbers, metric=f"precision_at_10_alone{paths}")["value"] > 0


def test_program_boosts_are_the_programs(language):
    """Against the rows of single prefixes, and the numbers of the config."""
    effect, label = program_boosts(language, range(1, 9))
    ids, p = language.vocabulary.ids, language.distributions.p
    (topic, *_), period = language.vocabulary.members["topic"], ids["."]

    def after(*words):
        return p[language.rows(np.array([[topic, period, *words, period]]))[0, -1]]

    rng = np.random.default_rng(0)
    for query, key in [*rng.integers(65, size=(30, 2)), (ids["big"], ids["beach"])]:
        changes = [
            after(key, *[period] * (d - 1), query) - after(period, *[period] * (d - 1), query)
            for d in range(1, 9)
        ]
        np.testing.assert_allclose(effect[query, key], np.mean(changes, axis=0), atol=1e-12)
    skip = effect[ids["big"], ids["beach"], ids["at"]]
    assert skip == pytest.approx(0.9 * (1 - 0.1 / 6))
    suppressed = effect[ids["alice"], ids["never"]]
    assert suppressed[ids["sees"]] == pytest.approx(-0.7 * 6 / 8)  # window 6
    assert suppressed[ids["helps"]] == pytest.approx((2 / 3 - 0.2) * 6 / 8)
    assert LABELS[label[ids["big"], ids["beach"]]] == "skip"
    assert LABELS[label[ids["lake"], ids["("]]] == "bracket"
    assert effect[ids["lake"], ids["("], ids[")"]] == pytest.approx(0.23)


# --- planted models ------------------------------------------------------------------------------


def blank(language):
    """One stream element a token, read out as its logit."""
    size = len(language.vocabulary)
    model = zero_model(d_vocab=size, d_model=size, n_ctx=64, d_head=16)
    with torch.no_grad():
        model.head.weight.fill_diagonal_(1.0)
    return model


def attend(model, layer, head, element, query, key, size=16.0):
    """A pattern of size^2 / d_head^2 at any distance: elements 4-7 and 12-15 hardly turn."""
    with torch.no_grad():
        for n in "12":
            head_rows(model, layer, head, f"q{n}")[element, query] += size
            head_rows(model, layer, head, f"k{n}")[element, key] += 1


def write(model, layer, head, element, key, outputs):
    """Adds to the stream elements of tokens, for a pattern of 1."""
    with torch.no_grad():
        head_rows(model, layer, head, "v")[element, key] += 1
        for output, size in outputs.items():
            head_rows(model, layer, head, "o")[element, output] += size


def test_planted_bigrams_are_read_exactly(language, rules):
    model = blank(language)
    names, verbs = (language.vocabulary.members[kind] for kind in ("name", "verb_t"))
    prefixes = np.array([[language.vocabulary.ids["music"], name, 0] for name in names])
    p = torch.tensor(language.distributions.p[language.rows(prefixes)[:, -1]])
    with torch.no_grad():
        model.head.weight[:, names] = p.log().clamp_min(-40).T + 1.5
    arguments = TensorWeights.from_model(model), language, rules, CONFIG
    of = {
        r["metric"]: r["value"] for r in Reading(*arguments).numbers() if r["readout"] == "direct"
    }
    assert of["r"] == of["r_self"] == pytest.approx(1)
    assert of["top1"] == of["top1_self"] == 6
    assert abs(of["kl"]) < 1e-9
    assert abs(of["kl_self"]) < 1e-9
    rows = Reading(*arguments).matrices()
    for readout in ("direct", "direct_logit"):
        cells = [r for r in rows if r["readout"] == readout]
        assert len(cells) == len(names) * len(verbs)
        known = [(r["value"], r["truth"]) for r in cells if r["truth"] is not None]
        assert len(known) == (48 if readout == "direct" else 18)
        np.testing.assert_allclose(*zip(*known, strict=True), atol=1e-9)
    cell = one(rows, readout="direct", row="alice", column="sees")
    assert cell["truth"] == pytest.approx(0.7)
    without = [r for r in rows if r["readout"] == "suppression" and r["item"] == "without"]
    known = [(r["value"], r["truth"]) for r in without if r["truth"] is not None]
    np.testing.assert_allclose(*zip(*known, strict=True), atol=1e-9)
    top, second, third = (
        one(without, row="alice", column=verb)["value"] for verb in ("sees", "helps", "finds")
    )
    assert second + third == pytest.approx(0)  # against the mean of the others
    assert top == pytest.approx(math.log(0.7) - math.log(0.2 * 0.1) / 2)


def skip_model(language):
    """Head 0.1 knows the four rules, head 1.2 that `never` forbids; head 0.0 adds more at the
    rules, but the same to every logit, which says nothing."""
    model = blank(language)
    for i, (key, query, output) in enumerate(language.config.skip.rules):
        k, q, o = language.vocabulary.encode([key, query, output])
        attend(model, 0, 1, 4 + i, q, k)
        write(model, 0, 1, i, k, {o: 12.0})
        attend(model, 0, 0, 4 + i, q, k)
        write(model, 0, 0, i, k, dict.fromkeys(range(len(language.vocabulary)), 20.0))
    names, (never,) = (language.vocabulary.members[kind] for kind in ("name", "never"))
    attend(model, 1, 2, 7, names, never)
    write(model, 1, 2, 0, never, {verbs[0]: -9.0 for verbs in verbs_of_names(language)})
    return model


def test_planted_rules_and_suppression_are_read_and_their_heads_named():
    language = ToyLanguage(LanguageConfig(vocabulary={"name": 2, "verb_t": 10}))
    # Two names: no verb is one name's top and the other's second.
    rules = find_rules(language, np.random.default_rng(0), 64)
    model = skip_model(language)
    arguments = TensorWeights.from_model(model), language, rules, CONFIG
    rows = Reading(*arguments).numbers()
    ranks = [r["value"] for r in rows if r["metric"] == "rank"]
    assert sorted(ranks) == [1, 2, 3, 4]
    assert [r["value"] for r in rows if r["metric"] == "edge"] == [16] * 4  # nothing turns
    search = Reading(*arguments).search()
    assert {r["primitive"] for r in search[:4]} == {"skip"}
    assert [r["precision"] for r in search[:4]] == [1] * 4
    n_rules = len(boosting_rules(language, rules))
    assert search[3]["recall"] == pytest.approx(4 / n_rules)
    first = search[:10]
    assert one(rows, metric="precision_at_10_all_paths")["value"] == first[-1]["precision"]
    strict = sum(r["primitive"] in ("skip", "induction", "long_range") for r in first) / 10
    assert one(rows, metric="rule_precision_at_10")["value"] == pytest.approx(strict)
    assert one(rows, metric="below")["value"] == 2
    assert one(rows, metric="drop")["value"] == pytest.approx(9, rel=1e-4)
    assert named_heads(*arguments) == {"rules": ((0, 1),), "suppression": ((1, 2),)}
    cells = pd.DataFrame(Reading(*arguments).matrices())
    product = cells[cells["readout"] == "skip_product"].groupby("item")["value"]
    for item in ("all", "L0H1"):
        assert product.max()[item] == pytest.approx(12 * 5 / 6, rel=0.01)
    assert product.max()["L1H2"] == 0
    whole = cells[(cells["readout"] == "skip_product") & (cells["item"] == "all")]
    by_rule = whole.loc[whole.groupby("row")["value"].idxmax()]
    assert all(
        row.endswith(f"-> {column}") for row, column in by_rule[["row", "column"]].to_numpy()
    )
    assert by_rule["truth"].max() == pytest.approx(whole["truth"].max())
    qk = cells[(cells["readout"] == "skip_qk") & (cells["item"] == "L0H1")]
    large = {(r.row, r.column) for r in qk.itertuples() if r.value > 0.5}
    assert large == {(query, key) for key, query, _ in language.config.skip.rules}


def test_precision_counts_what_the_program_does_and_recall_the_rules(language):
    """A head that closes brackets: true of the program, none of the single-token rules."""
    ids = language.vocabulary.ids
    model = blank(language)
    attend(model, 0, 0, 4, ids["lake"], ids["("])
    write(model, 0, 0, 0, ids["("], {ids[")"]: 9.0})
    rules = [Rule("skip", "beach", "big", "at", 0.9, 1, 8, 5)]
    arguments = TensorWeights.from_model(model), language, rules, CONFIG
    first = Reading(*arguments).search()[0]
    assert (first["key"], first["query"], first["output"]) == ("(", "lake", ")")
    assert (first["primitive"], first["precision"], first["recall"]) == ("bracket", 1, 0)
    rows = Reading(*arguments).numbers()
    assert one(rows, metric="rule_precision_at_10")["value"] == 0
    assert one(rows, metric="precision_at_10")["value"] > 0
    effect, _ = program_boosts(language, range(1, 9))
    assert one(rows, metric="chance")["value"] == pytest.approx((effect > 1e-9).mean())


# --- induction of all heads ----------------------------------------------------------------------


def test_layers_together_are_naive_loops():
    weights = TensorWeights.from_model(random_model(n_layers=3))
    objects, colours, offsets = [0, 1, 2], [3, 4], [1, 4]
    pairs = induction_heads(weights, objects, colours, offsets, together=True)
    found = {p.layers: p for p in pairs}
    assert set(found) == {(0, 1), (0, 2), (1, 2)}
    E = weights.E
    for (layer, later), pair in found.items():
        M = torch.zeros(3, 3, dtype=torch.float64)
        for a, b in itertools.product(range(3), range(3)):
            for c in range(2):
                key, before = E[[colours[c]]], E[[objects[b]]]
                pattern = weights.patterns(layer, 1, key, before)
                x = key + (pattern * weights.writes(layer, before)).sum(0)
                own, other = weights.outputs(later, x)[:, 0, [colours[c], colours[1 - c]]].T
                A = weights.mean_patterns(later, offsets, E[[objects[a]]], x)[:, 0, 0]
                M[a, b] += (A * (own - other)).sum() / 2
        torch.testing.assert_close(pair.matrix, M, **EXACT)
    contrasts = [p.contrast for p in found.values()]
    assert contrasts == sorted(contrasts, reverse=True)
    with pytest.raises(DataError, match="1 objects"):
        induction_heads(weights, [0], colours, offsets, together=True)


def spread_model():
    """Head 1.0 finds objects 1 and 2, head 1.1 finds 3; both read what head 0.2 wrote."""
    model = zero_model(d_model=13, d_head=16)
    with torch.no_grad():
        model.head.weight[[4, 5, 6], [10, 11, 12]] = 1.0
        for n in "12":
            head_rows(model, 0, 2, f"q{n}")[7, [4, 5, 6]] += 6
            head_rows(model, 0, 2, f"k{n}")[7, [1, 2, 3]] += 6
            for head, i in ((0, 0), (0, 1), (1, 2)):
                head_rows(model, 1, head, f"q{n}")[4 + i, 1 + i] += 8
                head_rows(model, 1, head, f"k{n}")[4 + i, 7 + i] += 8
        for i in range(3):
            head_rows(model, 0, 2, "v")[i, 1 + i] += 1
            head_rows(model, 0, 2, "o")[i, 7 + i] += 1
            for head in (0, 1):
                head_rows(model, 1, head, "v")[i, 4 + i] += 1
                head_rows(model, 1, head, "o")[i, 10 + i] += 1
    return model


def test_induction_that_is_spread_over_heads_is_seen_together():
    weights = TensorWeights.from_model(spread_model())
    words = [1, 2, 3], [4, 5, 6], range(1, 9)
    best, *_ = induction_heads(weights, *words)
    together, *_ = induction_heads(weights, *words, together=True)
    assert best.heads == ((0, 2), (1, 0))
    assert (best.hits, together.hits) == (2, 3)
    assert together.contrast > best.contrast > 0


# --- replaced heads and ablations ----------------------------------------------------------------

KINDS = {
    "bilinear": {},
    "lerp": {"residual": "lerp", "lerp": 0.3},
    "softmax": {"attention": "softmax", "rms_norm": True},
}


@pytest.mark.parametrize("kind", KINDS)
def test_replaced_heads_are_those_of_transformerlens(kind):
    from zscope.models.wrapped_tensor import wrap

    model = random_model(**KINDS[kind])
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(7, (3, 6), generator=generator)
    z = {
        (0, 1): torch.randn(4, generator=generator, dtype=torch.float64),
        (1, 0): torch.randn(3, 6, 4, generator=generator, dtype=torch.float64),
        (1, 2): torch.zeros(4, dtype=torch.float64),
    }

    def hook(layer):
        def replace(own, hook):
            own = own.clone()
            for (of_layer, head), value in z.items():
                if of_layer == layer:
                    own[:, :, head] = value
            return own

        return f"blocks.{layer}.attn.hook_z", replace

    wrapped = wrap(model)
    with torch.no_grad():
        expected = wrapped.run_with_hooks(tokens, fwd_hooks=[hook(0), hook(1)])
        torch.testing.assert_close(ReplacedHeads(model, z)(tokens), expected, **EXACT)
        torch.testing.assert_close(ReplacedHeads(model, {})(tokens), model(tokens), **EXACT)
        _, cache = wrapped.run_with_cache(tokens)
        clean = torch.stack([cache[f"blocks.{layer}.attn.hook_z"] for layer in range(2)])
        torch.testing.assert_close(head_z(model, tokens), clean, **EXACT)
    torch.testing.assert_close(mean_z(model, tokens), clean.mean((1, 2)), **EXACT)


def test_the_mean_is_over_all_chunks():
    model = random_model()
    tokens = torch.randint(7, (150, 6), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = head_z(model, tokens).mean((1, 2))
    torch.testing.assert_close(mean_z(model, tokens), expected, **EXACT)


@pytest.fixture(scope="module")
def ablated(language, rules):
    model = toy_model().float()
    evaluation = evaluation_of(language)
    config = ReadoutConfig(random_heads=4)
    return model, evaluation, (model, evaluation, language, rules, config, 7)


def test_ablation_rows_are_excess_against_the_intact_model(ablated):
    model, evaluation, arguments = ablated
    rows = ablation_rows(*arguments)
    assert ablation_rows(*arguments) == rows
    means = mean_z(model, evaluation.tokens)
    intact = evaluation.excess(model)
    assert one(rows, chosen_by="none", primitive="all")["value"] == pytest.approx(intact.mean())
    single = ReplacedHeads(model, {(1, 2): means[1, 2]})
    change = evaluation.excess(single) - intact
    found = one(rows, chosen_by="single", heads="L1H2", primitive="bigram", metric="change")
    expected = change[evaluation.masks["bigram"]]
    assert found["value"] == pytest.approx(expected.mean(), abs=1e-9)
    assert found["n"] == expected.size
    assert found["ci_low"] <= found["value"] <= found["ci_high"]
    named = named_heads(TensorWeights.from_model(model), *arguments[2:5])
    assert {r["chosen_by"] for r in rows} == {"none", "single", "random", *named}
    assert {r["heads"] for r in rows if r["chosen_by"] == "single"} == {
        f"L{layer}H{head}" for layer in range(2) for head in range(3)
    }
    pair = one(rows, chosen_by="induction", primitive="all", metric="change")
    replaced = {head: means[head] for head in named["induction"]}
    change = evaluation.excess(ReplacedHeads(model, replaced)) - intact
    assert pair["value"] == pytest.approx(change.mean(), abs=1e-9)


def test_other_sets_are_of_the_same_layers_and_none_is_named(ablated):
    _, _, arguments = ablated
    rows = ablation_rows(*arguments)

    def layers(heads):
        return tuple(head.split("H")[0] for head in heads.split("+"))

    sets = {(r["chosen_by"], r["heads"]) for r in rows}
    named = {heads for by, heads in sets if by not in ("none", "single", "random")}
    drawn = {heads for by, heads in sets if by == "random"}
    assert drawn.isdisjoint(named)
    assert {layers(heads) for heads in drawn} <= {layers(heads) for heads in named}
    pair = one(rows, chosen_by="induction", primitive="all", metric="change")["heads"]
    assert sum(layers(heads) == layers(pair) for heads in drawn) == 8  # all others of 3 x 3


def test_a_model_whose_weights_are_not_read_has_single_heads_alone(language):
    model = toy_model(attention="softmax", rms_norm=True).float()
    rows = ablation_rows(model, evaluation_of(language), language, [], CONFIG, 0)
    assert {r["chosen_by"] for r in rows} == {"none", "single"}
    fits(ABLATIONS, rows)


def test_all_other_sets_are_drawn_if_there_are_few():
    named = [((0, 1), (1, 2)), ((1, 0),)]
    drawn = list(_random_sets((0, 1), 4, named, 3, np.random.default_rng(0)))
    every = {((0, a), (1, b)) for a, b in itertools.product(range(4), range(4))}
    assert len(drawn) == 15
    assert set(drawn) == every - {named[0]}
    two = list(_random_sets((1, 1), 4, [], 3, np.random.default_rng(0)))
    assert len(two) == len(set(two)) == 6
    assert all(a[0] == b[0] == 1 and a[1] < b[1] for a, b in two)
    many = list(_random_sets((0, 1), 8, named, 5, np.random.default_rng(0)))
    assert len(many) == len(set(many)) == 5  # 63 are too many to take them all


def test_the_heads_named_for_rules_give_four_fifths():
    boosts = torch.tensor([[1.0, -2.0, 5.0], [0.5, 4.0, 0.0]])  # sum 8.5, 80 % of it 6.8
    assert _largest(boosts) == ((0, 2), (1, 1))
    assert _largest(torch.tensor([[6.8, 1.7]])) == ((0, 0),)
    assert _largest(torch.tensor([[3.0, -4.0, 2.0]])) == ((0, 0),)  # signed: 3 of 1
    assert _largest(torch.tensor([[1.0, -1.0]])) == ()


# --- exact patching ------------------------------------------------------------------------------


@pytest.mark.parametrize("residual", ["add", "lerp"])
def test_degrees_add_up_to_what_patching_does(language, residual):
    from zscope.models.wrapped_tensor import wrap

    model = toy_model(residual=residual, lerp=0.4)
    rows = degree_rows(model.float(), language, 5)
    model = model.double()
    assert max(r["error"] for r in rows) < 1e-8
    frame = pd.DataFrame(rows)
    degrees = frame.groupby(["patch", "reads"])["degree"].agg(list)
    for (patch, reads), found in degrees.items():
        last = {"L0here": 5, "L0later": 3, "L1here": 1}[patch[:2] + reads]
        assert found == list(range(last + 1))
    assert len(degrees) == 9
    sums = frame[frame["degree"] > 0].groupby(["patch", "reads"])[["value", "share"]].sum()
    whole = frame[frame["degree"] == 0].set_index(["patch", "reads"])
    np.testing.assert_allclose(sums["value"], whole.loc[sums.index, "value"], atol=1e-8)
    np.testing.assert_allclose(sums["share"], 1)
    assert (whole["share"] <= 1 + 1e-9).all()
    assert degree_rows(model.float(), language, 5) == rows

    tokens = language.sample(SEQUENCES, np.random.default_rng(derive_seed(5, "degrees"))).tokens
    tokens, at = torch.from_numpy(tokens), 31
    wrapped = wrap(model.double())

    def resample(z, hook):
        z = z.clone()
        z[:, at, 1] = z[:, at, 1].roll(1, 0)
        return z

    with torch.no_grad():
        hooks = [("blocks.0.attn.hook_z", resample)]
        change = wrapped.run_with_hooks(tokens, fwd_hooks=hooks) - model(tokens)
    change = change - change.mean(-1, keepdim=True)
    next_ = change[:, :-1].gather(-1, tokens[:, 1:, None])[..., 0]
    patch = "L0H1 of another sequence"
    for reads, expected in (("here", next_[:, at]), ("later", next_[:, at + 1 :])):
        row = one(rows, patch=patch, reads=reads, degree=0)
        assert row["value"] == pytest.approx(float(expected.mean()), abs=1e-9)
        assert row["n"] == expected.numel()


def test_deep_models_are_patched_in_their_last_two_layers(language):
    rows = degree_rows(toy_model(n_layers=3, n_heads=2), language, 0)
    assert {r["patch"][:2] for r in rows} == {"L1", "L2"}
    with pytest.raises(DataError, match="bilinear attention without norms"):
        degree_rows(toy_model(attention="softmax"), language, 0)
