"""The loss on passages against one token at a time."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.processors import TemplateProcessing
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from zscope.config.base import Bootstrap
from zscope.core.errors import DataError
from zscope.models.language_model import LanguageModel
from zscope.models.tables import LOSS
from zscope.tables.read import read_table
from zscope.tables.write import write_table
from zscope.text.loss import TextLoss, text_loss, windows
from zscope.text.passages import Passage

PASSAGES = [
    Passage("long", "The tide comes in, and the boats lift one by one from the mud."),
    Passage("chinese", "潮水来了，小船浮起来了。"),
    Passage("short", "ab"),
]


def tokenizer(bos):
    """Bytes as tokens, so that a Chinese character is three; with a start, or none."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<s>", "<pad>", *alphabet])}
    made = Tokenizer(BPE(vocabulary, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    if bos:
        made.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", pad_token="<pad>", padding_side="left"
    )


@pytest.fixture(scope="module", params=[True, False], ids=["bos", "no bos"])
def lm(request):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=258,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
    )
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    return LanguageModel(model, tokenizer(request.param), "tiny")


def has_bos(lm):
    return lm.tokenizer("a")["input_ids"][0] == 0


def slow_nats(lm, text, window):
    """Token by token, each with the context that the definition gives it."""
    ids = [2 + sorted(pre_tokenizers.ByteLevel.alphabet()).index(c) for c in _bytes(text)]
    front = [0] if has_bos(lm) else []
    room = window - len(front)
    total = 0.0
    for i in range(0 if front else 1, len(ids)):
        stop = room
        while stop <= i:
            stop += room // 2
        start = max(0, min(stop, len(ids)) - room)
        context = torch.tensor([[*front, *ids[start:i]]])
        with torch.no_grad():
            total -= float(lm.model(context).logits[0, -1].double().log_softmax(-1)[ids[i]])
    return total


def _bytes(text):
    """The ByteLevel alphabet's letter of each byte (GPT-2's table)."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in kept]
    letter = {b: chr(b) for b in kept} | {b: chr(256 + i) for i, b in enumerate(others)}
    return [letter[b] for b in text.encode()]


@pytest.mark.parametrize("window", [256, 16, 7])
def test_the_loss_is_the_sum_over_tokens_one_at_a_time(lm, window):
    found = text_loss(lm, PASSAGES, window=window, batch_size=3)
    skipped = 0 if has_bos(lm) else 1
    for i, passage in enumerate(PASSAGES):
        assert found.nats[i] == pytest.approx(slow_nats(lm, passage.text, window), rel=1e-5)
        assert found.tokens[i] == len(passage.text.encode()) - skipped
    # The first byte of 潮 is not predicted without BOS, but its last one is.
    expected = [len(p.text) - (skipped if p.text.isascii() else 0) for p in PASSAGES]
    assert found.characters.tolist() == expected


def test_the_batch_changes_nothing(lm):
    one, many = (text_loss(lm, PASSAGES, window=16, batch_size=n) for n in (1, 50))
    np.testing.assert_allclose(one.nats, many.nats, rtol=1e-5)
    assert one.tokens.tolist() == many.tokens.tolist()


@pytest.mark.parametrize("room", [2, 5, 8])
@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("n", [2, 5, 9, 40])
def test_every_token_is_predicted_once_with_half_a_window_before_it(n, room, first):
    found = windows(n, room, first)
    assert [i for w in found for i in range(w.new, w.stop)] == list(range(first, n))
    for w in found:
        assert 0 <= w.start <= w.new < w.stop <= n
        assert w.stop - w.start <= room
    for w in found[1:]:
        assert w.new - w.start >= room // 2


def test_a_text_without_anything_to_predict_is_named(lm):
    if has_bos(lm):
        assert text_loss(lm, [Passage("one", "a")]).tokens.tolist() == [1]
    else:
        with pytest.raises(DataError, match="text one, window 256: nothing to predict"):
            text_loss(lm, [Passage("one", "a")])
    with pytest.raises(DataError, match="text short, window 1: nothing to predict"):
        text_loss(lm, [PASSAGES[2]], window=1)


def test_rows_are_ratios_of_sums_with_an_interval_over_passages(tmp_path):
    loss = TextLoss(np.array([2.0, 9.0]), np.array([1, 3]), np.array([4, 6]))
    per_token, per_character = loss.rows(Bootstrap(resamples=200))
    assert per_token["value"] == 11 / 4
    assert per_character["value"] == 11 / 10
    assert (per_token["total"], per_character["total"], per_token["n"]) == (4, 10, 2)
    # Resamples are of one passage alone, of both, or of the other alone.
    assert (per_token["ci_low"], per_token["ci_high"]) == (2.0, 3.0)
    assert (per_character["ci_low"], per_character["ci_high"]) == (0.5, 1.5)
    rows = [{"model": "m", "language": "en", **row} for row in (per_token, per_character)]
    write_table(rows, tmp_path / "loss.parquet", LOSS, {})
    assert len(read_table(tmp_path / "loss.parquet", LOSS)) == 2
    (alone, _) = TextLoss(np.array([2.0]), np.array([1]), np.array([4])).rows(Bootstrap())
    assert alone["ci_low"] is None
