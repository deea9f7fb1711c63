"""Scores of dictionaries: probes, matches, truth of the language, verdicts, files, causal check."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from fake_tensor import random_model
from tiny_architectures import VOCABULARY, language_model
from zscope.config.base import Bootstrap
from zscope.core.errors import ConfigError
from zscope.models.tensor_transformer import TensorConfig
from zscope.studies.components.dictionaries.causal_check import causal_rows
from zscope.studies.components.dictionaries.config import TextConfig, ToyConfig
from zscope.studies.components.dictionaries.feature_scores import (
    Halves,
    Reading,
    feature_rows,
    read_codes,
    read_whole,
)
from zscope.studies.components.dictionaries.group_verdicts import (
    exchange_p,
    over_models,
    verdict_rows,
)
from zscope.studies.components.dictionaries.matching import match, random_matches
from zscope.studies.components.dictionaries.normalise import Normaliser
from zscope.studies.components.dictionaries.reconstruction import reconstructions
from zscope.studies.components.dictionaries.resampling import Resampling
from zscope.studies.components.dictionaries.sae_files import write_sae
from zscope.studies.components.dictionaries.sparse_probes import (
    Counts,
    Ranking,
    best_thresholds,
    jackknife_error,
    ranking_scores,
    sparse_probes,
    trained_on_half,
)
from zscope.studies.components.dictionaries.stack import initial_stack
from zscope.studies.components.dictionaries.tables import (
    DICTIONARIES_CAUSAL,
    DICTIONARIES_FEATURES,
    DICTIONARIES_TEXT,
    DICTIONARIES_VERDICTS,
)
from zscope.studies.components.dictionaries.text_measures import losses_from, run_to, text_rows
from zscope.studies.components.dictionaries.toy_dictionaries import RandomDictionary, Trained
from zscope.studies.components.dictionaries.toy_sites import Site, ToyTexts
from zscope.studies.components.dictionaries.toy_truth import Truth, open_delimiters, truth_of
from zscope.studies.components.dictionaries.variants.registry import KINDS
from zscope.tables.write import write_table
from zscope.text.passages import Passage, read_passages
from zscope.toy_language.config import LanguageConfig
from zscope.toy_language.language import ToyLanguage

pytestmark = pytest.mark.numerics
BOOTSTRAP = Bootstrap(resamples=200)


def resampling():
    return Resampling(BOOTSTRAP, "test")


# --- probes --------------------------------------------------------------------------------------


def made_codes(n=600, m=9, seed=0):
    rng = np.random.default_rng(seed)
    codes = np.where(rng.random((n, m)) < 0.2, rng.random((n, m)) + 0.2, 0).astype(np.float32)
    return codes, rng


def read_halves(codes, labels, k=1):
    half = len(codes) // 2
    *_, probe = sparse_probes(codes[:half], labels[:half], [1, k] if k > 1 else [1])
    train = (probe.scores(codes[:half]), labels[:half])
    return trained_on_half(train, (probe.scores(codes[half:]), labels[half:]), 1).f1


def test_a_latent_that_is_the_label_has_f1_1_and_a_random_label_its_base_rates():
    codes, rng = made_codes(6000)
    labels = np.stack([codes[:, 3] > 0, rng.random(6000) < 0.3], axis=1)
    found = read_halves(codes, labels)
    assert found[0] == 1
    # Nothing is better than to say yes everywhere: 2 r / (1 + r).
    assert found[1] == pytest.approx(0.6 / 1.3, abs=0.03)


def test_a_feature_that_is_split_over_two_latents_takes_two():
    codes, _ = made_codes(4000)
    codes = np.where(codes > 0, 1, 0).astype(np.float32)
    labels = ((codes[:, 2] > 0) | (codes[:, 5] > 0))[:, None]
    one, two = (float(read_halves(codes, labels, k)[0]) for k in (1, 2))
    assert two == 1
    assert one == pytest.approx(2 * 0.2 / (0.2 + 0.36), abs=0.03)


def test_the_second_latent_explains_what_the_first_leaves():
    """Not the second best alone, which here is a copy of the best."""
    codes, rng = made_codes(2000, 4)
    labels = ((codes[:, 0] > 0) | (codes[:, 2] > 0.6))[:, None]
    codes[:, 1] = codes[:, 0] + 0.01 * rng.random(2000)
    alone = np.abs(np.corrcoef(np.c_[codes, labels].T)[:4, 4])
    assert alone[1] > alone[2]
    (probe,) = sparse_probes(codes, labels, [2])
    chosen = set(np.flatnonzero(probe.weights[:, 0]).tolist())
    assert chosen in ({0, 2}, {1, 2})


def test_a_probe_of_all_latents_is_least_squares():
    codes, rng = made_codes(800, 4)
    labels = np.stack([codes.sum(1) > 0.5, rng.random(800) < 0.2], axis=1)
    (probe,) = sparse_probes(codes, labels, [4])
    centred = codes - codes.mean(0)
    expected = np.linalg.lstsq(centred, labels - labels.mean(0), rcond=None)[0]
    assert np.abs(probe.weights - expected).max() < 1e-3 * np.abs(expected).max()
    (one,) = sparse_probes(codes, labels, [1])
    assert ((one.weights != 0).sum(0) == 1).all()
    correlation = np.abs(np.corrcoef(np.c_[codes, labels].T)[:4, 4:])
    assert (one.weights != 0).argmax(0).tolist() == correlation.argmax(0).tolist()


def test_more_latents_than_vary_change_nothing():
    codes, _ = made_codes(300, 3)
    codes[:, 1] = 0
    labels = (codes[:, :1] > 0) | (codes[:, 2:] > 0.5)
    two, nine = sparse_probes(codes, labels, [2, 9])
    assert np.array_equal(two.weights, nine.weights)
    assert (two.weights[1] == 0).all()


@pytest.mark.parametrize("ties", [False, True])
def test_thresholds_and_rankings_are_scikit_learns(ties):
    rng = np.random.default_rng(4)
    labels = rng.random((400, 3)) < [0.5, 0.1, 0.02]
    labels[7, 2] = True
    scores = rng.normal(size=(400, 3)) + labels
    scores = np.maximum(np.round(scores), 0) if ties else scores
    cuts = best_thresholds(scores, labels)
    whole, _ = ranking_scores(scores, labels, np.arange(400) // 100)
    for j in range(3):
        precision, recall, _ = precision_recall_curve(labels[:, j], scores[:, j])
        best = (2 * precision * recall / np.maximum(precision + recall, 1e-12)).max()
        said = Counts.of(scores[:, j : j + 1] >= cuts[j], labels[:, j : j + 1], 4)
        assert float(said.f1[0]) == pytest.approx(best)
        assert whole[0, j] == pytest.approx(average_precision_score(labels[:, j], scores[:, j]))
        assert whole[1, j] == pytest.approx(roc_auc_score(labels[:, j], scores[:, j]))


def test_a_ranking_without_a_block_is_that_of_the_others():
    rng = np.random.default_rng(5)
    label, scores = rng.random(90) < 0.3, np.round(rng.normal(size=90), 1)
    kept = np.arange(90) >= 30
    whole = Ranking.of(scores[kept], label[kept]).scores()
    assert Ranking.of(scores, label).scores(kept) == pytest.approx(whole)
    x = rng.normal(size=12)
    left_out = np.array([np.delete(x, i).mean() for i in range(12)])
    assert jackknife_error(left_out) == pytest.approx(x.std(ddof=1) / 12**0.5)


# --- matches -------------------------------------------------------------------------------------


def test_matches_of_directions_by_hand():
    truth = torch.eye(3)
    rows = torch.tensor([[2.0, 0, 0], [0.0, 3, 4], [-1.0, 0, 0], [0.0, 0, -1]])
    found = match(truth, rows)
    assert found.truths == pytest.approx([1, 0.6, 0.8])  # signs count, lengths do not
    assert found.rows == pytest.approx([1, 0.8, 0, 0])
    assert found.shared.tolist() == [0, 1, 1]
    assert found.one_to_one == pytest.approx([1, 0.6, 0]) or found.one_to_one == pytest.approx(
        [1, 0, 0.8]
    )
    assert found.one_to_one.sum() == pytest.approx(1.8)
    assert match(truth, rows[:1]).one_to_one[0] == pytest.approx(1)
    assert np.isnan(match(truth, rows[:1]).one_to_one).sum() == 2


def test_random_dictionaries_differ_between_draws_and_rise_with_their_width():
    truth = initial_stack(16, 10, [1.0], [7], {}).W_dec[0]
    narrow, wide = (random_matches(truth, n, 40, 0) for n in (10, 100))
    assert len({m.mean for m in narrow}) == 40
    assert np.mean([m.mean for m in wide]) > np.mean([m.mean for m in narrow]) + 0.1


# --- the truth of the language -------------------------------------------------------------------


@pytest.fixture(scope="module")
def sampled():
    every = ["long_range", "induction", "novel", "skip", "suppress", "bigram", "bracket", "quote"]
    language = ToyLanguage(LanguageConfig(primitives=every))
    return language, language.sample(150, np.random.default_rng(0))


def plain_stack(words):
    """What is open behind each word, by a walk through one sequence."""
    closers = {")": "(", "]": "["}
    stack, found = [], []
    for word in words:
        if (word in closers and stack and stack[-1] == closers[word]) or (
            word == '"' and stack and stack[-1] == '"'
        ):
            stack.pop()
        elif word in "([" or word == '"':
            stack.append(word)
        found.append(tuple(stack))
    return found


def test_open_delimiters_are_those_of_a_walk(sampled):
    language, drawn = sampled
    depth, inner, kinds = open_delimiters(language.vocabulary, drawn.tokens)
    marks = {"round": "(", "square": "[", "quote": '"'}
    assert depth.max() == 2
    for i in range(len(drawn.tokens)):
        stacks = plain_stack([language.vocabulary.tokens[t] for t in drawn.tokens[i]])
        assert depth[i].tolist() == [len(s) for s in stacks]
        names = [marks[kinds[k]] if k >= 0 else None for k in inner[i]]
        assert names == [s[-1] if s else None for s in stacks]


def test_labels_say_what_a_plain_reading_of_the_sequence_says(sampled):
    language, drawn = sampled
    truth = truth_of(language, drawn.tokens, len(language.vocabulary), 0)
    at = {name: i for i, name in enumerate(zip(truth.group, truth.name, strict=True))}
    words = np.array(language.vocabulary.tokens, dtype=object)[drawn.tokens]
    assert truth.labels.shape[:2] == (150, 63)
    skip = {(a, t): o for a, t, o in language.config.skip.rules}
    objects = language.config.vocabulary.words("object")
    colours = language.config.vocabulary.words("colour")
    seen = set()
    for i, t in np.ndindex(40, 63):
        on = {key for key, j in at.items() if truth.labels[i, t, j]}
        assert ("token", words[i, t]) in on
        assert (("previous", words[i, t - 1]) in on) == (t > 0)
        assert sum(group == "token" for group, _ in on) == 1
        assert sum(group == "governs" for group, _ in on) == 1
        assert ("topic", words[i, 0]) in on
        outputs = {name for group, name in on if group == "output"}
        if ("governs", "skip") in on:
            window = words[i, max(0, t - 8) : t]
            fires = {o for (a, by), o in skip.items() if by == words[i, t] and a in window}
            assert len(outputs) == 1
            assert outputs <= {f"skip -> {o}" for o in fires}
            seen.add("skip")
        elif ("governs", "induction") in on:
            assert words[i, t] in objects
            before = [
                words[i, s + 1]
                for s in range(t)
                if words[i, s] == words[i, t] and words[i, s + 1] in colours
            ]
            assert outputs == {f"induction -> {before[0]}"}
            seen.add("induction")
        elif ("governs", "long_range") in on:
            assert words[i, t] == "recall"
            assert len(outputs) == 1
            seen.add("long_range")
        else:
            assert not outputs
    assert seen == {"skip", "induction", "long_range"}
    assert np.array_equal(truth.primitive, drawn.labels[:, 1:])


def test_the_output_of_a_weak_skip_rule_is_its_own():
    """What shares the rest with it can be likelier."""
    language = ToyLanguage(LanguageConfig(skip={"p": 0.05}))
    tokens = language.sample(400, np.random.default_rng(0)).tokens
    truth = truth_of(language, tokens, 1, 0)
    named = {n for g, n in zip(truth.group, truth.name, strict=True) if n.startswith("skip -> ")}
    assert named == {f"skip -> {o}" for _, _, o in language.config.skip.rules}


# --- readings and verdicts -----------------------------------------------------------------------


def planted_truth(n=40, seq=12, seed=0):
    """Labels of one group of two, which occur in every sequence."""
    rng = np.random.default_rng(seed)
    labels = rng.random((n, seq, 2)) < 0.3
    return Truth(("bracket", "bracket"), ("a", "b"), labels, np.zeros((n, seq), int))


def reading(basis, halves, seed=0, right=1.0, k=1):
    """A reading that is right at a share of the positions, and random elsewhere."""
    rng = np.random.default_rng(seed)
    noise = rng.random(halves.score.shape) < 0.3
    said = np.where(rng.random(halves.score.shape) < right, halves.score, noise)
    return Reading(basis, seed, k, Counts.of(said, halves.score, halves.sequences), said * 1.0)


CASES = {
    "found": {"ours": 0.9, "theirs": 0.3, "random": 0.2, "probe": 1.0, "probe_untrained": 0.4},
    "not found": {"ours": 0.4, "theirs": 0.4, "random": 0.2, "probe": 1.0, "probe_untrained": 0.4},
    "random is as good": {
        "ours": 0.9,
        "theirs": 0.3,
        "random": 0.9,
        "probe": 1.0,
        "probe_untrained": 0.4,
    },
    "nothing is there": {
        "ours": 0.9,
        "theirs": 0.3,
        "random": 0.2,
        "probe": 0.5,
        "probe_untrained": 0.5,
    },
    "too few draws": {
        "ours": 0.9,
        "theirs": 0.3,
        "random": 0.2,
        "probe": 1.0,
        "probe_untrained": 0.4,
        "draws": 10,
    },
}
WORDS = {
    "found": "found",
    "not found": "not found",
    "random is as good": "not found",
    "nothing is there": "cannot be told",
    "too few draws": "cannot be told",
}


def judged(ours, theirs, random, probe, probe_untrained, draws=40):
    halves = Halves.of(planted_truth(80))
    (row,) = verdict_rows(
        [reading("dictionary", halves, s, ours) for s in (1, 2)],
        [reading("untrained", halves, s, theirs) for s in (3, 4)],
        [reading("random", halves, 100 + s, random) for s in range(draws)],
        (
            reading("probe", halves, 5, probe, 0),
            reading("probe_untrained", halves, 6, probe_untrained, 0),
        ),
        halves,
        resampling(),
        0.05,
    )
    return row


@pytest.mark.parametrize("case", CASES)
def test_a_planted_reading_gets_its_word(case):
    row = judged(**CASES[case])
    assert row["verdict"] == WORDS[case]
    assert row["ci_low"] <= row["value"] <= row["ci_high"]
    assert row["p_least"] < 0.05
    assert 0 < row["detectable"] < 0.2


def test_readings_that_are_the_same_are_found_in_few_of_many():
    words = []
    for seed in range(40):
        halves = Halves.of(planted_truth(60, seed=seed))
        parts = [reading("d", halves, 1000 * seed + s, 0.4) for s in range(46)]
        rows = verdict_rows(
            parts[:2],
            parts[2:4],
            parts[4:44],
            (reading("p", halves, 1, 1.0, 0), parts[45]),
            halves,
            resampling(),
            0.05,
        )
        words.append(rows[0]["verdict"])
    assert words.count("found") <= 5


def test_models_that_disagree_vary():
    rows = [{"model": f"m{i}", **judged(**CASES[c])} for i, c in enumerate(("found", "not found"))]
    (whole,) = over_models(rows)
    assert whole["verdict"] == "varies between trainings"
    assert whole["value"] == pytest.approx(np.mean([r["value"] for r in rows]))
    (same,) = over_models(rows[:1])
    assert same["verdict"] == "found"
    write_rows = [{"subject": "s", **row} for row in (*rows, whole)]
    assert set(write_rows[0]) == {c.name for c in DICTIONARIES_VERDICTS.columns}
    assert set(write_rows[2]) == {c.name for c in DICTIONARIES_VERDICTS.columns}


def test_exchanging_outcomes_is_exact_for_few_sequences():
    halves = Halves.of(planted_truth(12, seq=40))
    assert halves.kept.tolist() == [0, 1]
    right, wrong = reading("a", halves, 1, 1.0).counts, reading("b", halves, 2, 0.0).counts
    p, least = exchange_p([right], [wrong], np.arange(2), 0)
    assert least == 2.0**-5  # six scored sequences, two-sided
    assert p == pytest.approx(least, abs=0.02)
    assert exchange_p([right], [right], np.arange(2), 0)[0] == 1


def test_rows_of_a_reading_have_their_intervals(tmp_path):
    truth = planted_truth(48, seed=3)
    halves = Halves.of(truth)
    codes = torch.from_numpy(truth.flat.astype(np.float32))
    generator = torch.Generator().manual_seed(0)
    blurred = codes + 0.4 * torch.randn(codes.shape, generator=generator)
    noisy = torch.cat([blurred, torch.randn(len(codes), 5, generator=generator)], 1)
    readings = list(read_codes("dictionary", 0, noisy, halves, [1, 2]))
    readings.append(read_whole("probe", noisy, halves, 60, 0))
    rows = [
        {"subject": "s", "model": "m", "layer": 1, **row}
        for r in readings
        for row in feature_rows(r, halves, resampling(), ranked=r.k <= 1)
    ]
    write_table(rows, tmp_path / "f.parquet", DICTIONARIES_FEATURES, {})
    of = {(r["k"], r["metric"]): r for r in rows}
    assert len(rows) == 3 + 1 + 3
    for row in rows:
        assert row["ci_low"] <= row["value"] <= row["ci_high"]
        assert row["ci_low"] < row["ci_high"]
        assert row["base_rate"] == pytest.approx(0.3, abs=0.05)
    assert of[1, "f1"]["value"] > 0.7
    assert abs(of[0, "f1"]["value"] - of[1, "f1"]["value"]) < 0.08
    assert of[1, "auroc"]["value"] > 0.9


# --- put back ------------------------------------------------------------------------------------


def identity_dictionary(site):
    """Latents x_i and -x_i: what is given back is the input."""
    d = site.pool.shape[1]
    both = torch.cat([torch.eye(d), -torch.eye(d)])
    start = initial_stack(d, 2 * d, [1.0], [0], {})
    stack = replace(start, W_enc=both.mT[None].contiguous(), W_dec=both[None])
    (found,), codes = reconstructions(KINDS["l1"], stack, site.test[None])
    return Trained("l1", 1.0, 0, site, stack, found, codes[0])


@pytest.fixture(scope="module")
def toy():
    settings = {"language": LanguageConfig(length=20).model_dump()}
    config = ToyConfig(pool=32, test=16, tokens=4, seeds=[0])
    texts = ToyTexts.of(settings, config, 0, BOOTSTRAP)
    shape = TensorConfig(d_vocab=65, n_ctx=20, n_layers=2, n_heads=2, d_model=12, d_head=4)
    model = random_model(**shape.to_dict()).float()
    return model, texts


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_what_gives_the_stream_back_costs_nothing_and_the_mean_costs_what_it_costs(
    toy, layer, tmp_path
):
    model, texts = toy
    site = Site.of(model, layer, texts)
    whole = identity_dictionary(site)
    assert whole.found.fvu < 1e-9
    rows = list(causal_rows(site, [whole], texts, 0))
    full = [{"subject": "s", "model": "m", "layer": layer, **row} for row in rows]
    write_table(full, tmp_path / "c.parquet", DICTIONARIES_CAUSAL, {})
    value = {(r["replaced"], r["seed"], r["primitive"]): r["value"] for r in rows}
    assert abs(value["dictionary", 0, "all"]) < 1e-4
    plain = texts.test.excess(model).mean()
    assert value["nothing", 0, "all"] == pytest.approx(plain, abs=1e-4)

    def at_mean(some):
        x = torch.zeros(len(texts.test.tokens[some]), 20, 12) + site.scale.mean
        return model.resume(x, layer)

    expected = texts.test.excess_by(at_mean).mean() - plain
    assert value["mean", 0, "all"] == pytest.approx(expected, abs=1e-4)
    names = ["blocks.0.hook_resid_pre", "blocks.1.hook_resid_pre", "blocks.1.hook_resid_post"]
    assert site.hook == names[layer]


def test_a_random_dictionary_has_the_best_linear_decoder_of_k_codes(toy):
    site = Site.of(toy[0], 1, toy[1])
    random = RandomDictionary.of(12, 20, 3.2, 0, 1)
    codes = random.codes(site.pool)
    assert ((codes > 0).sum(-1) <= 3).all()
    assert (codes > 0).sum(-1).float().mean() > 2.5
    expected = torch.linalg.lstsq(codes.double(), site.pool.double()).solution
    decoders = random.decoder(site.pool), expected.float()
    error, best = ((site.pool - codes @ D).square().sum() for D in decoders)
    assert float(error) == pytest.approx(float(best), rel=1e-3)
    assert not torch.equal(random.rows, RandomDictionary.of(12, 20, 3.2, 0, 2).rows)


# --- files of SAELens ----------------------------------------------------------------------------


def forward_as_documented(config, w, x):
    """Codes and reconstruction of SAELens' inference classes (sae_lens/saes/*_sae.py)."""
    read = x - config["apply_b_dec_to_input"] * w["b_dec"]
    kind = config["architecture"]
    if kind == "gated":
        gate = read @ w["W_enc"] + w["b_gate"] > 0
        codes = gate * torch.relu(read @ (w["W_enc"] * w["r_mag"].exp()) + w["b_mag"])
    else:
        pre = read @ w["W_enc"] + w["b_enc"]
        codes = torch.relu(pre)
        if kind == "jumprelu":
            codes = codes * (pre > w["threshold"])
        elif kind == "topk":
            values, at = codes.topk(config["k"], dim=-1)
            codes = torch.zeros_like(codes).scatter(-1, at, values)
    return codes, codes @ w["W_dec"] + w["b_dec"]


@pytest.mark.parametrize("variant", list(KINDS))
def test_a_written_dictionary_does_what_it_did(variant, tmp_path):
    kind = KINDS[variant]
    generator = torch.Generator().manual_seed(0)
    start = initial_stack(6, 11, [2.0], [0], kind.own)
    stack = replace(
        start,
        W_enc=start.W_enc + 0.2 * torch.randn(1, 6, 11, generator=generator),
        b_enc=0.2 * torch.randn(1, 11, generator=generator),
        b_dec=0.2 * torch.randn(1, 6, generator=generator),
        own={n: t + 0.1 * torch.rand(1, 11, generator=generator) for n, t in start.own.items()},
        cut=torch.tensor([0.3]),
    )
    x = 5 + 3 * torch.randn(50, 6, generator=generator)
    scale = Normaliser.of(x)
    paths = tmp_path / "cfg.json", tmp_path / "sae_weights.safetensors"
    write_sae(variant, stack, scale, *paths, model="m", hook="blocks.1.hook_resid_pre", notes={})
    config, weights = json.loads(paths[0].read_text()), load_file(paths[1])
    assert (config["d_in"], config["d_sae"]) == (6, 11)
    assert tuple(weights["W_enc"].shape) == (6, 11)
    assert config["metadata"]["hook_name"] == "blocks.1.hook_resid_pre"
    codes, back = forward_as_documented(config, weights, x)
    normed = scale.forward(x)[None]
    expected = kind.encode(stack, normed)
    torch.testing.assert_close(codes, expected[0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(back, scale.back(stack.decode(expected)[0]), rtol=1e-3, atol=1e-3)
    assert 0 < (codes > 0).float().mean() < 1


# --- language models -----------------------------------------------------------------------------


class Letters:
    """A tokenizer with an id for every letter."""

    def __call__(self, texts, **_):
        ids = torch.tensor([[1 + ord(c) % (VOCABULARY - 1) for c in text] for text in texts])
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


@pytest.fixture(scope="module")
def letters():
    lm = language_model("llama")
    return replace(lm, tokenizer=Letters())


def test_losses_from_a_layer_are_the_models(letters):
    ids = letters.encode(["It was a dark and stormy night"])[0]
    logits = letters.model(input_ids=ids).logits[0].float()
    expected = -logits[1:-1].log_softmax(-1).gather(-1, ids[0, 2:, None])[:, 0]
    for layer in (0, 2, 4):
        piece = run_to(letters, ids, layer)
        for replaced in (None, lambda x: x):
            found = losses_from(letters, piece, layer, replaced)
            assert found == pytest.approx(expected.numpy(), rel=1e-4)
        moved = losses_from(letters, piece, layer, lambda x: x + 1)
        assert np.abs(moved - expected.numpy()).max() > 0.01


def test_text_has_its_curve_its_nulls_and_its_rises(letters, tmp_path):
    texts = [Passage(f"t{i}", t.text[: 90 + 10 * i]) for i, t in enumerate(read_passages("en")[:5])]
    config = TextConfig(
        held_out=3, window=32, strengths=[2.0, 8.0], recipe={"steps": 60, "batch": 32}
    )
    rows = text_rows(letters, texts, config, seed=0, bootstrap=BOOTSTRAP)
    write_table(
        [{"subject": "s", **r} for r in rows], tmp_path / "t.parquet", DICTIONARIES_TEXT, {}
    )
    of = {(r["replaced"], r["strength"], r["metric"]): r for r in rows}
    assert set(of) == {
        ("nothing", 0.0, "loss"),
        ("mean", 0.0, "rise"),
        *(("dictionary", k, m) for k in (2.0, 8.0) for m in ("fvu", "l0", "dead", "rise")),
        *(("random", k, "rise") for k in (2.0, 8.0)),
    }
    assert of["dictionary", 2.0, "fvu"]["value"] > of["dictionary", 8.0, "fvu"]["value"]
    assert of["dictionary", 2.0, "l0"]["value"] <= 2
    for row in rows:
        assert row["layer"] == 2
        assert row["ci_low"] <= row["value"] <= row["ci_high"]
    with pytest.raises(ConfigError, match="none is left"):
        text_rows(letters, texts[:3], config, seed=0, bootstrap=BOOTSTRAP)
