"""The embedded model: an ordinary Qwen2, trained on completions alone, the same after a kill."""

import copy
import math
from dataclasses import replace

import pandas as pd
import pytest
import torch
from safetensors import safe_open
from statsmodels.stats.proportion import proportion_confint
from torch.nn import functional as F
from transformers import Qwen2ForCausalLM

from zscope import training
from zscope.core.errors import TrainingError
from zscope.models.language_model import LanguageModel
from zscope.models.language_model import generate as greedy
from zscope.studies.crosslingual.accuracy import training_rows
from zscope.studies.crosslingual.config import TinyConfig, TinyShape
from zscope.studies.crosslingual.problems.parallel import LANGUAGES, generate, is_held_out
from zscope.studies.crosslingual.tiny_qwen import build_tiny_qwen, save_tiny_qwen
from zscope.studies.crosslingual.training import (
    TextBatches,
    check_gate,
    completion_logits,
    completion_loss,
    encode_problem,
    evaluate,
    make_batch,
    sorted_batches,
    train_tiny,
)
from zscope.training import ResumeFolder

CPU = torch.device("cpu")
SMALL = TinyShape(n_layers=2, d_model=16, d_mlp=24, n_heads=4, n_kv_heads=2)
CONFIG = TinyConfig.model_validate(
    {
        "shape": SMALL.model_dump(),
        "training": {
            "n_pairs": 60,
            "batch_size": 16,
            "steps": 30,
            "warmup_steps": 3,
            "eval_every": 10,
            "checkpoint_every": 10,
            "eval_problems": 20,
        },
    }
)


@pytest.fixture(scope="module")
def tiny():
    return build_tiny_qwen(TinyShape(), 0)


def texts_of(tokenizer, n=24, seed=5):
    return [
        encode_problem(tokenizer, p, language)
        for p in generate(n, seed, held_out=False)
        for language in LANGUAGES
    ]


# --- the model --------------------------------------------------------------------------------


def test_the_model_has_the_shape_that_was_asked_for(tiny):
    model, tokenizer = tiny
    c = model.config
    shape = (c.hidden_size, c.intermediate_size, c.num_hidden_layers, c.vocab_size)
    assert shape == (64, 192, 4, len(tokenizer))
    assert (c.num_attention_heads, c.num_key_value_heads) == (4, 2)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.model.rotary_emb.inv_freq[1].item() == pytest.approx(1e4 ** (-2 / 16))
    for name, p in model.named_parameters():
        if p.ndim == 2:
            assert p.std().item() == pytest.approx(0.05, rel=0.05), name
        else:
            assert bool((p == (0 if "bias" in name else 1)).all()), name


def test_the_weights_depend_on_the_seed_alone(tiny):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    again, _ = build_tiny_qwen(TinyShape(), 0)
    other, _ = build_tiny_qwen(TinyShape(), 1)
    assert torch.equal(torch.get_rng_state(), before)
    for name, p in tiny[0].state_dict().items():
        assert torch.equal(again.state_dict()[name], p)
    assert not torch.equal(other.lm_head.weight, again.lm_head.weight)


def test_a_saved_model_is_an_ordinary_folder(tiny, tmp_path):
    model, tokenizer = tiny
    save_tiny_qwen(model, tokenizer, tmp_path / "a")
    save_tiny_qwen(model, tokenizer, tmp_path / "a")  # over an old one
    save_tiny_qwen(model, tokenizer, tmp_path / "b")
    names = {"config.json", "generation_config.json", "model.safetensors"}
    assert {p.name for p in (tmp_path / "a").iterdir()} == names | {
        "tokenizer.json",
        "tokenizer_config.json",
        "checksums.json",
    }
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["a", "b"]
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    with safe_open(tmp_path / "a" / "model.safetensors", "pt") as weights:
        assert "lm_head.weight" not in weights.keys()  # noqa: SIM118
    loaded = Qwen2ForCausalLM.from_pretrained(tmp_path / "a")
    ids = torch.arange(2, 40)[None]
    assert torch.equal(loaded(ids).logits, model(ids).logits)


def test_a_writer_that_dies_leaves_the_old_folder(tiny, tmp_path):
    model, tokenizer = tiny
    save_tiny_qwen(model, tokenizer, tmp_path / "a")

    class Dying:
        def save_pretrained(self, folder):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_tiny_qwen(model, Dying(), tmp_path / "a")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert len(list((tmp_path / "a").iterdir())) == 6


# --- batches and loss -------------------------------------------------------------------------


def test_a_text_is_prompt_completion_and_end(tiny):
    tokenizer = tiny[1]
    for problem in generate(20, 3, held_out=True):
        for language in LANGUAGES:
            ids, n_prompt = encode_problem(tokenizer, problem, language)
            assert tokenizer.decode(ids[:n_prompt]) == problem.prompt(language)
            assert tokenizer.decode(ids[n_prompt:-1]) == problem.completion(language)
            assert ids[-1] == tokenizer.eos_token_id


def test_the_loss_is_of_the_completion_tokens_alone(tiny):
    """Against a loop over texts and tokens, with the whole model's logits."""
    model, tokenizer = tiny
    texts = texts_of(tokenizer)
    losses = []
    for ids, n_prompt in texts:
        logits = model(torch.tensor([ids])).logits[0].double()
        for at in range(n_prompt, len(ids)):
            losses.append(-F.log_softmax(logits[at - 1], 0)[ids[at]].item())
    (batch,) = sorted_batches(texts, len(texts), tokenizer.pad_token_id, CPU)
    got = completion_loss(model.model, batch).item()
    assert got == pytest.approx(math.fsum(losses) / len(losses), rel=1e-6)


def test_padding_changes_no_logit(tiny):
    model, tokenizer = tiny
    texts = texts_of(tokenizer)
    assert len({len(ids) for ids, _ in texts}) > 5
    together = completion_logits(model.model, make_batch(texts, 0, CPU))
    alone = [completion_logits(model.model, make_batch([text], 0, CPU)) for text in texts]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-5, atol=1e-5)
    other_pad = completion_logits(model.model, make_batch(texts, 7, CPU))
    assert torch.equal(together, other_pad)


def test_batches_are_sorted_by_length_and_hold_every_text_once(tiny):
    texts = texts_of(tiny[1], n=50)
    batches = sorted_batches(texts, 16, 0, CPU)
    assert [len(b.tokens) for b in batches] == [16] * 6 + [4]
    widths = [b.tokens.shape[1] for b in batches]
    assert widths == sorted(widths)
    rows = [tuple(row[row != 0].tolist()) for b in batches for row in b.tokens]
    assert sorted(rows) == sorted(tuple(ids[:-1]) for ids, _ in texts)


def test_an_epoch_has_every_batch_once_and_resumes(tiny):
    batches = sorted_batches(texts_of(tiny[1], n=50), 16, 0, CPU)
    stream = TextBatches(batches, 3)
    drawn = [id(stream.next()) for _ in range(14)]
    assert sorted(drawn[:7]) == sorted(drawn[7:]) == sorted(map(id, batches))
    assert drawn[:7] != drawn[7:]
    stream = TextBatches(batches, 3)
    for _ in range(9):
        stream.next()
    other = TextBatches(batches, 4)
    other.restore(stream.state())
    assert [id(other.next()) for _ in range(5)] == drawn[9:]


def test_a_share_of_batches_leaves_early_and_that_resumes(tiny):
    batches = sorted_batches(texts_of(tiny[1], n=50), 16, 0, CPU)

    def depths(stream, n):
        return [stream.next().n_layers for _ in range(n)]

    assert depths(TextBatches(batches, 3), 50) == [None] * 50
    drawn = depths(TextBatches(batches, 3, 0.4, [2, 3]), 1000)
    assert sum(d is not None for d in drawn) == pytest.approx(400, abs=60)
    assert drawn.count(2) == pytest.approx(200, abs=50)
    stream = TextBatches(batches, 3, 0.4, [2, 3])
    depths(stream, 500)
    other = TextBatches(batches, 4, 0.4, [2, 3])
    other.restore(stream.state())
    assert depths(other, 500) == drawn[500:]


def test_a_batch_that_leaves_early_is_read_by_the_logit_lens(tiny):
    """Its logits are those of transformers' hidden state after so many layers, and the layers
    beyond get no gradient."""
    model, tokenizer = tiny
    batch = make_batch(texts_of(tokenizer), 0, CPU)
    states = model.model(input_ids=batch.tokens, output_hidden_states=True).hidden_states
    wanted = model.lm_head(model.model.norm(states[2])).flatten(0, 1)[batch.at]
    early = replace(batch, n_layers=2)
    torch.testing.assert_close(completion_logits(model.model, early), wanted)
    assert model.config.num_hidden_layers == 4
    model.zero_grad(set_to_none=True)
    completion_loss(model.model, early).backward()
    for i, layer in enumerate(model.model.layers):
        assert all((p.grad is None) == (i >= 2) for p in layer.parameters()), i
    model.zero_grad(set_to_none=True)


# --- training ---------------------------------------------------------------------------------


def test_a_killed_run_resumes_bit_identically(tmp_path, monkeypatch):
    whole = train_tiny("tiny", CONFIG, 3, ResumeFolder(tmp_path / "whole", "k"), CPU)

    class KilledError(BaseException):
        pass

    calls = []
    loss = training.Trainer._advance

    def dies(self, start, stop):
        calls.append(start)
        if len(calls) == 2:
            raise KilledError
        loss(self, start, stop)

    monkeypatch.setattr(training.Trainer, "_advance", dies)
    with pytest.raises(KilledError):
        train_tiny("tiny", CONFIG, 3, ResumeFolder(tmp_path / "killed", "k"), CPU)
    assert calls == [0, 10]
    resumed = train_tiny("tiny", CONFIG, 3, ResumeFolder(tmp_path / "killed", "k"), CPU)
    assert calls == [0, 10, 10, 20]
    assert resumed.rows == whole.rows
    for name, p in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], p), name


def test_nothing_held_out_is_trained_on(tmp_path, monkeypatch):
    asked = []

    def spy(n, seed, held_out):
        problems = generate(n, seed, held_out)
        assert all(is_held_out(p.category, p.operands) == held_out for p in problems)
        asked.append((n, held_out))
        return problems

    trained = []

    class Recorded(TextBatches):
        def __init__(self, batches, *rest):
            super().__init__(batches, *rest)
            trained.extend(row for b in batches for row in b.tokens)

    monkeypatch.setattr("zscope.studies.crosslingual.training.generate", spy)
    monkeypatch.setattr("zscope.studies.crosslingual.training.TextBatches", Recorded)
    result = train_tiny("tiny", CONFIG, 0, ResumeFolder(tmp_path, "k"), CPU)
    assert asked == [(60, False), (20, True)]
    seen = {result.tokenizer.decode(row[row != 0]) for row in trained}
    asked_for = generate(500, 8, held_out=True)
    held_out = {p.prompt(lang) + p.completion(lang) for p in asked_for for lang in LANGUAGES}
    assert len(seen) > 80
    assert not seen & held_out


def test_only_matrices_decay(tmp_path):
    """With a gradient of 0 everywhere, a step of AdamW is its decay."""
    from zscope.studies.crosslingual.training import _optimizer

    model, _ = build_tiny_qwen(SMALL, 0)
    before = copy.deepcopy(model.model.state_dict())
    training_ = CONFIG.training.model_copy(update={"lr": 0.1, "weight_decay": 0.5})
    optimizer = _optimizer(model.model, training_)
    for p in model.model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for name, p in model.model.named_parameters():
        torch.testing.assert_close(p.data, before[name] * (0.95 if p.ndim == 2 else 1.0))


def test_exact_accuracy_is_that_of_greedy_generation(tmp_path):
    """A model that has learnt a few texts, so that some answers are right and some wrong."""
    model, tokenizer = build_tiny_qwen(TinyShape(n_layers=2), 0)
    problems = generate(24, 5, held_out=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    learnt = make_batch([encode_problem(tokenizer, p, "en") for p in problems[:12]], 0, CPU)
    for _ in range(60):
        completion_loss(model.model, learnt).backward()
        optimizer.step()
        optimizer.zero_grad()
    lm = LanguageModel(model.eval(), tokenizer, "tiny")
    outputs = greedy(lm, *lm.encode([p.prompt("en") for p in problems]), 12)
    right = [
        o.finished and o.text == p.completion("en") for o, p in zip(outputs, problems, strict=True)
    ]
    texts = [encode_problem(tokenizer, p, "en") for p in problems]
    rows = evaluate(model.model, {"en": sorted_batches(texts, 7, 0, CPU)})
    assert 0 < sum(right) < len(problems)
    accuracy = next(r for r in rows if r["metric"] == "exact_accuracy")
    assert (accuracy["value"], accuracy["n"]) == (sum(right) / 24, 24)
    loss = next(r for r in rows if r["metric"] == "loss")
    whole = make_batch(texts, 0, CPU)
    assert loss["value"] == pytest.approx(completion_loss(model.model, whole).item(), rel=1e-5)
    assert loss["n"] == len(whole.targets)


def test_every_row_of_training_has_a_language(tmp_path):
    trained = train_tiny("tiny", CONFIG, 0, ResumeFolder(tmp_path, "k"), CPU)
    keys = [(r["step"], r["split"], r["language"], r["metric"]) for r in trained.rows]
    assert len(set(keys)) == len(keys)
    assert {k[0] for k in keys} == {0, 10, 20, 30}
    assert {(k[1], k[2], k[3]) for k in keys} == {
        ("held_out", "en", "loss"),
        ("held_out", "zh", "loss"),
        ("held_out", "en", "exact_accuracy"),
        ("held_out", "zh", "exact_accuracy"),
        ("train", "both", "train_loss"),
    }
    assert [step for step, _ in trained.timing] == [0, 10, 20, 30]
    assert not trained.model.training


def accuracy(language, step, value):
    row = {"language": language, "step": step, "metric": "exact_accuracy", "value": value}
    return {**row, "n": 100}


def test_the_interval_of_an_evaluation_is_wilsons_and_follows_the_level():
    rows = pd.DataFrame([accuracy("en", 0, 0.1), accuracy("zh", 9, 0.94)])
    for level in (0.95, 0.8):
        found = list(training_rows(rows, level))
        assert [(r["language"], r["step"], r["n"]) for r in found] == [
            ("en", 0, 100),
            ("zh", 9, 100),
        ]
        for row, hits in zip(found, (10, 94), strict=True):
            expected = proportion_confint(hits, 100, alpha=1 - level, method="wilson")
            assert (row["ci_low"], row["ci_high"]) == pytest.approx(expected)


def test_early_exits_are_layers_of_the_shape():
    config = TinyConfig(shape={"n_layers": 4}, training={"exit_layers": [0.5, 3]})
    assert config.exits == [2, 3]
    late = TinyConfig(shape={"n_layers": 4}, training={"exit_layers": [9], "early_exit": 0})
    assert late.exits == []


def test_the_gate_is_of_the_last_evaluation_in_both_languages():
    early = [accuracy("en", 0, 0.1), accuracy("zh", 0, 0.1)]
    check_gate([*early, accuracy("en", 9, 0.95), accuracy("zh", 9, 0.99)], 0.95)
    with pytest.raises(TrainingError) as caught:
        check_gate([*early, accuracy("en", 9, 0.97), accuracy("zh", 9, 0.94)], 0.95)
    message = str(caught.value)
    assert "en 0.970 of 100, zh 0.940 of 100" in message
    assert "more steps" in message
    assert "another seed" in message
    assert "lower the gate" in message
