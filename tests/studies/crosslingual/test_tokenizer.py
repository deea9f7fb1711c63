"""The tokenizer loses nothing, gives a number one token and survives a folder."""

import re

import pytest
from transformers import PreTrainedTokenizerFast

from zscope.studies.crosslingual.problems.parallel import LANGUAGES, MAX_NUMBER, generate
from zscope.studies.crosslingual.problems.tokenizer import EOS, PAD, make_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


@pytest.fixture(scope="module")
def texts():
    """2000 of them: 500 problems of each split in both languages, with their completions."""
    problems = generate(500, 11, held_out=False) + generate(500, 12, held_out=True)
    return [p.prompt(lang) + p.completion(lang) for p in problems for lang in LANGUAGES]


def test_decoding_gives_the_text_back(tokenizer, texts):
    assert len(texts) == 2000
    assert tokenizer.batch_decode(tokenizer(texts)["input_ids"]) == texts


def test_a_number_is_one_token_and_the_same_in_both_languages(tokenizer, texts):
    number = {tokenizer.convert_tokens_to_ids(str(n)): str(n) for n in range(MAX_NUMBER + 1)}
    assert len(number) == MAX_NUMBER + 1
    for text, ids in zip(texts, tokenizer(texts)["input_ids"], strict=True):
        assert [number[i] for i in ids if i in number] == re.findall(r"\d+", text)


def test_pieces_are_what_the_study_counts_on(tokenizer):
    assert tokenizer.tokenize("答案是12。") == ["答", "案", "是", "12", "。"]
    assert tokenizer.tokenize(" The answer is 12.") == [" The", " answer", " is", " ", "12", "."]
    assert tokenizer.tokenize("Tom has 1 key.\n") == ["Tom", " has", " ", "1", " key", ".", "\n"]


def test_the_vocabulary_is_small_and_fixed(tokenizer, texts):
    assert 280 <= len(tokenizer) <= 340
    assert tokenizer.get_vocab() == make_tokenizer().get_vocab()
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (0, 1)
    assert tokenizer.convert_tokens_to_ids(["0", "1", str(MAX_NUMBER)]) == [2, 3, MAX_NUMBER + 2]
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))


def test_every_word_of_the_vocabulary_is_used(tokenizer):
    """Nothing is in the vocabulary that the problems cannot say."""
    problems = generate(20_000, 3, held_out=False)
    texts = [p.prompt(lang) + p.completion(lang) for p in problems for lang in LANGUAGES]
    used = {i for ids in tokenizer(texts)["input_ids"] for i in ids}
    never = set(range(len(tokenizer))) - used
    assert never == set(tokenizer.convert_tokens_to_ids([PAD, EOS, "0"]))


def test_padding_is_on_the_left(tokenizer):
    batch = tokenizer(["答案是12。", "12"], padding=True)
    assert batch["input_ids"][1][:-1] == [0] * 4
    assert batch["attention_mask"] == [[1] * 5, [0, 0, 0, 0, 1]]
    assert set(batch) == {"input_ids", "attention_mask"}


@pytest.mark.parametrize("text", ["Tom has 41 keys.", "zebra", "龙", "Tom  has\t1"])
def test_what_is_not_in_the_vocabulary_is_an_error(tokenizer, text):
    with pytest.raises(Exception, match="UNK"):
        tokenizer(text)


def test_special_tokens_are_left_out_on_request(tokenizer):
    ids = [0, 0, *tokenizer("答案是12。")["input_ids"], 1]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "答案是12。"


def test_a_folder_keeps_it(tokenizer, texts, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    again = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    assert again.get_vocab() == tokenizer.get_vocab()
    assert again(texts, padding=True).data == tokenizer(texts, padding=True).data
    assert again.batch_decode(again(texts)["input_ids"]) == texts
    assert (again.padding_side, again.pad_token, again.eos_token) == ("left", PAD, EOS)
    with pytest.raises(Exception, match="UNK"):
        again("zebra")
