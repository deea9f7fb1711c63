"""The toy language, against a slow program that is written from the rules alone."""

# Matrices keep the capitals of the formulas.
# ruff: noqa: N806

from __future__ import annotations

import copy
import itertools
import math
import re

import numpy as np
import pytest
from pydantic import ValidationError

from zscope.config.base import Bootstrap
from zscope.config.messages import explain
from zscope.core.errors import DataError
from zscope.studies.toylang.tables import FLOORS, RULES, SEQUENCES
from zscope.tables.read import read_table
from zscope.tables.write import write_table
from zscope.toy_language.batches import ToyBatches
from zscope.toy_language.config import LanguageConfig
from zscope.toy_language.distributions import LABELS
from zscope.toy_language.floors import floor_rows
from zscope.toy_language.language import ToyLanguage
from zscope.toy_language.rule_finding import find_rules
from zscope.toy_language.rules import Rule, rule_rows, rules_of, triple_text
from zscope.toy_language.sequences import sequence_rows

EXACT = 1e-12
DEFAULT = LanguageConfig()
PRIMITIVES = [x for x in LABELS if x not in ("start", "category")]
ALL = {"primitives": PRIMITIVES}


def make(**settings):
    return LanguageConfig.model_validate(settings)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def language():
    return ToyLanguage(DEFAULT)


# --- the slow program -----------------------------------------------------------------------------

OPENERS = {"(": "round", "[": "square"}
CLOSING = {"round": ")", "square": "]", "quote": '"'}


def words_of(config):
    """Category -> words."""
    v = config.vocabulary
    found = {c: list(v.words(c)) for c in type(v).model_fields} | {
        "answer": list(v.words("answer"))
    }
    found |= {"never": ["never"], "recall": ["recall"], "period": ["."]}
    return found | {"round": ["("], "square": ["["], "quote": ['"']}


def spread(row, words, allowed):
    """Category weights -> {word: p}, without the delimiters that are off."""
    row = {c: w for c, w in row.items() if w and (c not in CLOSING or c in allowed)}
    return {
        word: weight / sum(row.values()) / len(words[c])
        for c, weight in row.items()
        for word in words[c]
    }


def mix(share, one, rest):
    return {w: share * one.get(w, 0) + (1 - share) * rest.get(w, 0) for w in {*one, *rest}}


def parse(prefix, allowed):
    """The delimiters that are open after the prefix."""
    stack = []
    for word in prefix:
        if word in OPENERS and OPENERS[word] in allowed:
            stack.append(OPENERS[word])
        elif word == '"' and (not stack or stack[-1] != "quote"):
            stack.append("quote")
        elif word in CLOSING.values() and stack:
            assert CLOSING[stack.pop()] == word
    return stack


def slow(config, prefix):
    """(label, {word: p}) of the token after a prefix of words: the first primitive that matches."""
    on, words = config.primitives, words_of(config)
    allowed = (["round", "square"] if "bracket" in on else []) + ["quote"] * ("quote" in on)
    if not prefix:
        return "start", {w: 1 / len(words["topic"]) for w in words["topic"]}
    matches = governing(config, prefix, words, allowed)
    name, p = next((name, p) for name, p in matches if name in on or name == "category")
    if name == "skip":  # what is left goes to what would govern otherwise
        rest = next(q for n, q in matches if n != "skip" and (n in on or n == "category"))
        return name, mix(config.skip.p, p, rest)
    return name, p


def governing(config, prefix, words, allowed):
    """All primitives that match, the first one first, whether on or off."""
    last = prefix[-1]
    colours = words["colour"]
    alike = {c: 1 / len(colours) for c in colours}
    if last == "recall":
        topic = words["topic"].index(prefix[0])
        answers = words["answer"]
        right = {answers[topic]: 1.0}
        rest = {a: 1 / len(answers) for a in answers}
        yield "long_range", mix(config.long_range.p, right, rest)
    if last in words["object"]:
        pairs = itertools.pairwise(prefix)
        seen = [b for a, b in pairs if a == last and b in colours]
        if seen:
            yield "induction", mix(config.induction.p, {seen[0]: 1.0}, alike)
        yield "novel", alike
    for anchor, trigger, output in config.skip.rules:
        if last == trigger and anchor in prefix[-1 - config.skip.max_skip : -1]:
            yield "skip", {output: 1.0}
    if last in words["name"]:
        i, weights = words["name"].index(last), config.bigram.weights
        verbs = [words["verb_t"][(len(weights) * i + j) % len(words["verb_t"])] for j in range(9)]
        table = dict(zip(verbs, weights, strict=False))
        if "never" in prefix[-1 - config.suppress.window : -1]:
            yield "suppress", {v: w / (1 - weights[0]) for v, w in table.items() if v != verbs[0]}
        yield "bigram", table
    stack = parse(prefix, allowed)
    if stack:
        yield inside(config, stack, words, allowed)
    if last in words["function"]:
        kinds = [k for w in prefix for k in ("verb_t", "verb_i") if w in words[k]]
        if kinds:
            yield "context", spread(getattr(config.context, kinds[-1]), words, allowed)
    category = next((c for c, members in words.items() if last in members), "closed")
    category = "closed" if category == "quote" else category
    yield "category", spread(getattr(config.transitions, category), words, allowed)


def inside(config, stack, words, allowed):
    d, inner = config.delimiters, stack[-1]
    p = {
        w: (1 - d.close - d.open) * x for w, x in spread(getattr(d, inner), words, allowed).items()
    }
    p[CLOSING[inner]] = d.close
    others = [x for x in allowed if not (x == "quote" and inner == "quote")]
    if len(stack) < d.max_depth:
        for other in others:
            p[words[other][0]] = d.open / len(others)
    total = sum(p.values())
    return "quote" if inner == "quote" else "bracket", {w: x / total for w, x in p.items()}


def compare(config, n, seed=0):
    """Labels and conditionals of the program and of the slow one, and sampled entropies."""
    language = ToyLanguage(config)
    sample = language.sample(n, rng(seed))
    P, labels = language.conditionals(sample.tokens)
    np.testing.assert_array_equal(labels, sample.labels)
    np.testing.assert_allclose(P.sum(-1), 1, atol=EXACT, rtol=0)
    tokens = language.vocabulary.tokens
    for i, row in enumerate(sample.tokens):
        text = [tokens[v] for v in row]
        for t in range(len(text)):
            label, expected = slow(config, text[:t])
            assert LABELS[labels[i, t]] == label, text[: t + 1]
            wanted = np.array([expected.get(w, 0.0) for w in tokens])
            np.testing.assert_allclose(P[i, t], wanted, atol=EXACT, rtol=0, err_msg=str(text[:t]))
            entropy = -sum(p * math.log(p) for p in expected.values() if p)
            assert sample.entropy[i, t] == pytest.approx(entropy, abs=EXACT)
    return {LABELS[v] for v in np.unique(labels)}


CONFIGS = {
    **{f"{x} alone": {"primitives": [x]} for x in PRIMITIVES},
    "none": {"primitives": []},
    "all": ALL,
    "bracket, quote": {"primitives": ["bracket", "quote"]},
    "depth 4": ALL | {"delimiters": {"max_depth": 4, "open": 0.4, "close": 0.3}},
    "depth 1": ALL | {"delimiters": {"max_depth": 1}},
    "short windows": {"skip": {"max_skip": 1}, "suppress": {"window": 1}},
    "long windows": {"skip": {"max_skip": 500}, "suppress": {"window": 64}},
    "shares": {"skip": {"p": 0.4}, "induction": {"p": 1}, "long_range": {"p": 0}},
    "two rules of a trigger": {
        "skip": {"rules": [["beach", "big", "at"], ["lake", "big", "or"], ["lake", "old", "to"]]}
    },
    "no rules": {"skip": {"rules": []}},
    "other sizes": {
        "vocabulary": {"name": 9, "verb_t": 5, "object": 2, "colour": 11, "topic": 7, "place": 8},
        "bigram": {"weights": [0.5, 0.3, 0.1, 0.1]},
        "length": 30,
    },
    "shortest": {"length": 2},
}


def test_conditionals_labels_and_entropy_are_those_of_the_slow_program():
    assert compare(DEFAULT, 200) == {"start", *DEFAULT.primitives, "category"}


@pytest.mark.parametrize("name", CONFIGS)
def test_so_they_are_under_any_config(name):
    config = make(**CONFIGS[name])
    found = compare(config, 30)
    expected = set(config.primitives)
    if name in ("no rules", "shortest"):
        assert found <= {"start", *expected, "category"}
    else:
        assert found == {"start", *expected, "category"}


# --- sampling -------------------------------------------------------------------------------------


def nll_less_entropy(language, sample):
    """Sums over a sequence of -log p - H, and positions, by label."""
    rows = language.rows(sample.tokens)
    nll = -np.log(language.distributions.p[rows, sample.tokens])
    return {
        LABELS[v]: (((nll - sample.entropy) * (sample.labels == v)).sum(1), sample.labels == v)
        for v in np.unique(sample.labels)
    }


@pytest.mark.parametrize("settings", [{}, ALL], ids=["default", "all"])
def test_sampled_nll_is_the_entropy_for_every_label(settings):
    language = ToyLanguage(make(**settings))
    sample = language.sample(6000, rng(1))
    for label, (excess, mask) in nll_less_entropy(language, sample).items():
        if label == "novel" or label == "start":
            assert np.abs(excess).max() < 1e-9  # uniform: -log p is H
            continue
        # -log p - H is a martingale difference: its sequence sums are uncorrelated and centred.
        se = excess.std(ddof=1) / len(excess) ** 0.5
        assert abs(excess.mean()) < 3 * se, label
        assert se / mask.sum(1).mean() < 0.05


def test_tokens_are_drawn_from_the_row_that_is_reported(language):
    """Chi-squared of the tokens under every row that is common; nothing impossible is drawn."""
    from scipy.stats import chisquare

    sample = language.sample(8000, rng(2))
    rows = language.rows(sample.tokens)
    p = language.distributions.p
    counts = np.zeros(p.shape)
    np.add.at(counts, (rows.ravel(), sample.tokens.ravel()), 1)
    assert counts[p == 0].sum() == 0
    values = [
        chisquare(c[q > 0], c.sum() * q[q > 0]).pvalue
        for c, q in zip(counts, p, strict=True)
        if (c.sum() * q[q > 0] > 5).all() and (q > 0).sum() > 1
    ]
    assert len(values) > 35
    assert min(values) > 0.01 / len(values)


def test_alias_tables_hold_the_very_probabilities():
    language = ToyLanguage(make(**ALL))
    keep, alias = language.distributions.alias
    p = language.distributions.p
    back = keep / p.shape[1]
    for row in range(len(p)):
        np.add.at(back[row], alias[row], (1 - keep[row]) / p.shape[1])
    np.testing.assert_allclose(back, p, atol=1e-15)
    assert (back[p == 0] == 0).all()


def test_a_seed_gives_the_same_sequences_and_another_seed_others(language):
    one, two, other = (language.sample(50, rng(s)) for s in (3, 3, 4))
    for field in ("tokens", "labels", "entropy"):
        assert getattr(one, field).tobytes() == getattr(two, field).tobytes()
    assert (one.tokens != other.tokens).mean() > 0.5
    again = ToyLanguage(DEFAULT).sample(50, rng(3))
    np.testing.assert_array_equal(again.tokens, one.tokens)


def test_the_future_changes_nothing(language):
    tokens = language.sample(100, rng(5)).tokens
    whole = language.rows(tokens)
    for t in (1, 2, 17, 40):
        np.testing.assert_array_equal(language.rows(tokens[:, :t]), whole[:, :t])
        other = tokens.copy()
        other[:, t:] = other[::-1, t:]
        np.testing.assert_array_equal(language.rows(other)[:, : t + 1], whole[:, : t + 1])


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_brackets_and_quotes_close_what_is_innermost_and_never_nest_deeper(depth):
    config = make(**ALL, delimiters={"max_depth": depth, "open": 0.3, "close": 0.3})
    language = ToyLanguage(config)
    deepest = 0
    for row in language.sample(400, rng(depth)).tokens:
        stack = []
        for word in (language.vocabulary.tokens[v] for v in row):
            if word in ("(", "[") or (word == '"' and stack[-1:] != ['"']):
                stack.append(word)
            elif word in (")", "]", '"'):
                assert stack.pop() == {")": "(", "]": "[", '"': '"'}[word]
            deepest = max(deepest, len(stack))
    assert deepest == depth


# --- the language of the study ----------------------------------------------------------------

# Frequency and floor in nats of the study's first version of the language.
STUDY = {
    "long_range": (0.016, 0.349),
    "induction": (0.038, 0.421),
    "novel": (0.062, 1.792),
    "skip": (0.015, 0.621),
    "suppress": (0.015, 0.637),
    "bigram": (0.073, 0.802),
    "bracket": (0.178, 2.447),
    "category": (0.587, 3.072),
    "all": (63 / 64, 2.488),
}


def test_the_default_vocabulary_is_the_65_tokens_of_the_study(language):
    v = language.vocabulary
    assert len(v) == len(set(v.tokens)) == 65
    assert {c: len(ids) for c, ids in v.members.items()} == {
        "name": 6, "verb_t": 8, "verb_i": 6, "place": 6, "adjective": 6, "function": 6,
        "object": 6, "colour": 6, "topic": 4, "answer": 4, "never": 1, "recall": 1, "round": 1,
        "round_close": 1, "square": 1, "square_close": 1, "period": 1,
    }  # fmt: skip
    assert v.decode(v.encode(["alice", "never", "("])) == "alice never ("
    with pytest.raises(DataError, match="'Alice'"):
        v.encode(["Alice"])


def floors_of(language, n, rng, **bootstrap):
    """The rows of (primitive, metric)."""
    bootstrap = Bootstrap(**{"resamples": 10, **bootstrap})
    return {(r["primitive"], r["metric"]): r for r in floor_rows(language, n, rng, bootstrap)}


def labels(floors):
    return {label for label, _ in floors}


def test_frequencies_and_floors_are_near_the_studys(language):
    floors = floors_of(language, 6000, rng(7))
    value = {key: row["value"] for key, row in floors.items()}
    assert labels(floors) == {"start", *STUDY}
    for label, (frequency, floor) in STUDY.items():
        assert value[label, "frequency"] == pytest.approx(frequency, rel=0.06), label
        assert value[label, "floor"] == pytest.approx(floor, rel=0.02), label
        assert floors[label, "frequency"]["se"] < 0.02 * frequency
        assert floors[label, "floor"]["se"] < 0.002
    parts = labels(floors) - {"all", "start"}
    assert sum(value[p, "frequency"] for p in parts) == pytest.approx(63 / 64, abs=EXACT)
    n = {p: floors[p, "floor"]["n"] for p in parts}
    mean = sum(n[p] * value[p, "floor"] for p in parts) / sum(n.values())
    assert value["all", "floor"] == pytest.approx(mean, abs=1e-9)
    # The closed forms.
    assert value["novel", "floor"] == pytest.approx(math.log(6))
    assert value["novel", "nll"] == pytest.approx(math.log(6))
    for label in labels(floors):
        gap = value[label, "nll"] - value[label, "floor"]
        assert value[label, "gap"] == pytest.approx(gap, abs=EXACT)
        assert abs(gap) <= 4 * floors[label, "gap"]["se"] + EXACT
    noisy = [-math.log(0.9 + 0.1 / m) * (0.9 + 0.1 / m) for m in (6, 4)]
    noisy = [h - 0.1 * (m - 1) / m * math.log(0.1 / m) for h, m in zip(noisy, (6, 4), strict=True)]
    found = [value["induction", "floor"], value["long_range", "floor"]]
    assert found == pytest.approx(noisy)


def test_standard_errors_are_those_of_repeated_samples(language):
    runs = [floors_of(language, 150, rng(s)) for s in range(200)]
    for label in ("bracket", "category", "induction", "all"):
        for metric in ("floor", "frequency", "nll", "gap"):
            seen = np.std([run[label, metric]["value"] for run in runs], ddof=1)
            said = np.mean([run[label, metric]["se"] for run in runs])
            assert said == pytest.approx(seen, rel=0.2, abs=EXACT), (label, metric)


def test_intervals_of_floors_are_normal_ones_at_the_configured_level(language):
    """With many sequences the bootstrap agrees with the standard error."""
    for level, z in ((0.95, 1.96), (0.8, 1.2816)):
        floors = floors_of(language, 2000, rng(1), level=level, resamples=1000)
        for label in ("bracket", "category", "bigram"):
            for metric in ("frequency", "floor", "nll", "gap"):
                row = floors[label, metric]
                assert row["ci_high"] - row["value"] == pytest.approx(z * row["se"], rel=0.15)
                assert row["value"] - row["ci_low"] == pytest.approx(z * row["se"], rel=0.15)


@pytest.mark.parametrize("removed", DEFAULT.primitives)
def test_removing_a_primitive_removes_its_label_and_keeps_the_vocabulary(language, removed):
    kept = [p for p in DEFAULT.primitives if p != removed]
    less = ToyLanguage(make(primitives=kept))
    assert less.vocabulary == language.vocabulary
    floors = floors_of(less, 400, rng())
    assert labels(floors) == {"start", "all", "category", *kept}
    np.testing.assert_allclose(less.distributions.p.sum(1), 1, atol=EXACT)


# --- the true rules -------------------------------------------------------------------------------


def of(rules, primitive):
    return [r for r in rules if r.primitive == primitive]


@pytest.fixture(scope="module")
def rules(language):
    return find_rules(language, rng(11), n=80)


def test_the_four_skip_rules_are_found_and_nothing_else(rules):
    found = of(rules, "skip")
    assert [(r.key, r.query, r.output) for r in found] == [
        tuple(rule) for rule in DEFAULT.skip.rules
    ]
    for r in found:
        assert (r.min_distance, r.max_distance) == (1, 8)
        assert 0.85 < r.effect <= 0.9


def test_suppression_is_found_as_a_top_verb_that_falls_to_nothing(rules):
    found = {r.query: r for r in of(rules, "suppress")}
    verbs = ("sees", "knows", "calls", "helps", "likes", "tells")
    top = dict(zip(DEFAULT.vocabulary.words("name"), verbs, strict=True))
    assert {name: r.output for name, r in found.items()} == top
    for r in found.values():
        assert r.key == "never"
        assert r.effect == pytest.approx(-0.7)
    assert min(r.min_distance for r in found.values()) == 1
    assert max(r.max_distance for r in found.values()) == 6


def test_bigrams_are_found_with_their_probabilities(rules):
    found = {(r.query, r.output): r.effect for r in of(rules, "bigram")}
    assert len(found) == 18
    for name, verbs in {
        "alice": ("sees", "helps", "finds"),
        "bob": ("knows", "likes", "meets"),
        "carol": ("calls", "tells", "sees"),
    }.items():
        assert [found[name, verb] for verb in verbs] == pytest.approx([0.7, 0.2, 0.1])


def test_induction_and_recall_are_found_for_every_pair(language, rules):
    v = DEFAULT.vocabulary
    pairs = {(r.query, r.key): r for r in of(rules, "induction")}
    assert set(pairs) == {(o, c) for o in v.words("object") for c in v.words("colour")}
    assert all(r.output == r.key for r in pairs.values())
    assert [r.effect for r in pairs.values()] == pytest.approx([0.9] * 36)
    found = [(r.key, r.query, r.output) for r in of(rules, "long_range")]
    answers = zip(v.words("topic"), v.words("answer"), strict=True)
    assert found == [(topic, "recall", answer) for topic, answer in answers]
    assert {r.primitive for r in rules} == {
        "long_range", "induction", "skip", "suppress", "bigram",
    }  # fmt: skip


def test_rules_follow_the_program_not_what_is_usual():
    """A rule that is off is not found, nor one of the same words with another window missed."""
    config = make(
        primitives=["skip", "bracket", "context"],
        skip={"rules": [["market", "quiet", "with"]], "max_skip": 3, "p": 0.3},
    )
    (rule,) = find_rules(ToyLanguage(config), rng(1), n=60)
    assert (rule.primitive, rule.key, rule.query, rule.output) == (
        "skip", "market", "quiet", "with",
    )  # fmt: skip
    assert (rule.min_distance, rule.max_distance) == (1, 3)
    assert find_rules(ToyLanguage(make(primitives=[])), rng(1), n=10) == []
    with pytest.raises(DataError, match="not 0"):
        find_rules(ToyLanguage(DEFAULT), rng(1), n=0)


# --- batches ----------------------------------------------------------------------------------


def test_batches_are_fresh_and_go_on_where_they_were_saved(language):
    stream = ToyBatches(language, 8, seed=5, chunk=3)
    batches, states = [], []
    for _ in range(8):
        states.append(copy.deepcopy(stream.state()))
        batches.append(stream.next())
    assert {b.shape for b in batches} == {(8, 64)}
    assert len({row.tobytes() for b in batches for row in b}) == 64
    for i, state in enumerate(states):
        other = ToyBatches(language, 8, seed=99, chunk=3)
        other.restore(state)
        for batch in batches[i:]:
            np.testing.assert_array_equal(other.next(), batch)
    again = ToyBatches(language, 8, seed=5, chunk=3)
    np.testing.assert_array_equal(again.next(), batches[0])
    with pytest.raises(DataError, match="batches of 0 in chunks of 64"):
        ToyBatches(language, 0, seed=0)


# --- rows -----------------------------------------------------------------------------------------


def test_rows_hold_what_was_sampled(language, tmp_path):
    sample = language.sample(5, rng(1))
    frame = sequence_rows(language, sample)
    assert len(frame) == 5 * 64
    ids = np.array(language.vocabulary.encode(frame["token"])).reshape(5, 64)
    np.testing.assert_array_equal(ids, sample.tokens)
    at = frame[(frame["sequence"] == 3) & (frame["position"] == 9)].iloc[0]
    P, labels = language.conditionals(sample.tokens)
    assert at["primitive"] == LABELS[labels[3, 9]]
    assert at["p"] == P[3, 9, sample.tokens[3, 9]]
    assert at["entropy"] == sample.entropy[3, 9]
    write_table(frame, tmp_path / "s.parquet", SEQUENCES, {})


def test_rules_come_back_from_their_table(tmp_path, rules):
    write_table(rule_rows(rules), tmp_path / "r.parquet", RULES, {})
    assert rules_of(read_table(tmp_path / "r.parquet", RULES)) == rules
    assert len(rule_rows([])) == 0


def test_a_primitive_that_governs_nothing_has_no_row_of_floors(tmp_path, language):
    rows = floor_rows(language, 2, rng(), Bootstrap(resamples=10))
    write_table(rows, tmp_path / "f.parquet", FLOORS, {})
    assert rows[-1]["primitive"] == "all"
    governing = {LABELS[i] for i in np.unique(language.sample(2, rng()).labels)}
    assert governing < {*LABELS}
    assert {row["primitive"] for row in rows} == governing | {"all"}


def test_a_rule_is_named_and_boosts_in_one_way():
    skip = Rule("skip", "beach", "big", "at", 0.9, 1, 8, 5)
    assert skip.text == triple_text("beach", "big", "at") == "beach .. big -> at"
    assert skip.boosts
    assert not Rule("suppress", "never", "bob", "knows", -0.7, 1, 6, 5).boosts
    assert not Rule("bigram", None, "bob", "knows", 0.7, None, None, 5).boosts


# --- mistakes -------------------------------------------------------------------------------------


def test_impossible_sequences_are_refused_with_their_place(language):
    tokens = language.sample(3, rng(1)).tokens
    tokens[1, 0] = language.vocabulary.ids["alice"]
    with pytest.raises(DataError, match=r"sequence 1 .*'alice' cannot stand at position 0"):
        language.conditionals(tokens)
    tokens = language.sample(3, rng(1)).tokens
    tokens[2, 20:22] = language.vocabulary.encode(["alice", "sleeps"])
    with pytest.raises(DataError, match=r"sequence 2 .*cannot stand at position 2[01]"):
        language.conditionals(tokens)
    with pytest.raises(DataError, match="0 to 65; the language has 0 to 64"):
        language.rows(np.array([[0, 65]]))
    for wrong in (np.zeros((2, 2)), np.zeros(3, dtype=int)):
        with pytest.raises(DataError, match="whole numbers"):
            language.rows(wrong)
    with pytest.raises(DataError, match="not 1"):
        floors_of(language, 1, rng())


HOSTILE = {
    "unknown primitive": ({"primitives": ["skips"]}, "primitives", "skips"),
    "twice": ({"primitives": ["skip", "skip"]}, "primitives", "repeats"),
    "length": ({"length": 1}, "length", "at least 2, not 1"),
    "too long": ({"length": 10**9}, "length", "at most 4096, not 1000000000"),
    "no names": ({"vocabulary": {"name": 0}}, "vocabulary.name", "at least 1, not 0"),
    "huge": ({"vocabulary": {"place": 10**6}}, "vocabulary.place", "at most 100"),
    "few verbs": ({"vocabulary": {"verb_t": 2}}, "bigram", "3 weights .* verb_t is 2"),
    "sum": ({"bigram": {"weights": [0.7, 0.2]}}, "bigram.weights", "sum 0.9, not 1"),
    "order": ({"bigram": {"weights": [0.1, 0.9]}}, "bigram.weights", r"must fall.*\[0.1, 0.9\]"),
    "one verb": ({"bigram": {"weights": [1.0]}}, "bigram", "1 weight leaves"),
    "not a word": ({"skip": {"rules": [["beach", "big", "by"]]}}, "skip", "rule 0: 'by'"),
    "wrong order": ({"skip": {"rules": [["big", "beach", "at"]]}}, "skip", "'big' .* 6 words of"),
    "lost place": ({"vocabulary": {"place": 3}}, "skip", "rule 3: 'office' .* 3 words of place"),
    "same pair": (
        {"skip": {"rules": [["beach", "big", "at"], ["beach", "big", "to"]]}},
        "skip",
        "rule 1: beach .. big has a rule",
    ),
    "two words": (
        {"skip": {"rules": [["beach", "big"]]}},
        "skip.rules",
        "rule 0 has 2 words, not 3",
    ),
    "share": ({"skip": {"p": 1.5}}, "skip.p", "at most 1, not 1.5"),
    "window": ({"skip": {"max_skip": 0}}, "skip.max_skip", "at least 1, not 0"),
    "depth": ({"delimiters": {"max_depth": 99}}, "delimiters.max_depth", "at most 5, not 99"),
    "no content": ({"delimiters": {"close": 0.6, "open": 0.4}}, "delimiters.close", "sum 1:"),
    "nested": ({"delimiters": {"round": {"square": 1}}}, "delimiters", "round holds square"),
    "target": ({"transitions": {"name": {"topic": 1}}}, "transitions.name", "topic"),
    "negative": ({"transitions": {"name": {"name": -1}}}, "transitions.name", "at least 0, not -1"),
    "nan": ({"transitions": {"name": {"name": math.nan}}}, "transitions.name", "finite"),
    "no way on": ({"transitions": {"name": {"name": 0}}}, "transitions", "name has no weight"),
    "only what is off": (
        {"transitions": {"name": {"quote": 1}}},
        "transitions",
        "no weight above 0 for anything that is on",
    ),
    "context": (ALL | {"context": {"verb_i": {"name": 0}}}, "context", "verb_i has no weight"),
    "empty": ({"transitions": {"name": {}}}, "transitions.name", "empty"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_configs_are_refused_with_key_and_number(name):
    settings, key, message = HOSTILE[name]
    with pytest.raises(ValidationError) as caught:
        make(**settings)
    text = explain(caught.value, LanguageConfig, [("config.yaml", settings)])
    assert text.startswith("config key ")
    assert re.search(f"config key {key}.*{message}.*config.yaml", text), text


def test_the_seeds_table_is_in_the_config():
    assert make(skip={"rules": []}).skip.rules == []
    off = make(primitives=["bigram"], vocabulary={"place": 2})  # rules of what is off do not matter
    assert ToyLanguage(off).sample(2, rng()).tokens.shape == (2, 64)
