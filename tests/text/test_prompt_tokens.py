"""A prompt's tokens are the tokenizer's, and joined together their texts are the prompt."""

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from zscope.core.errors import DataError
from zscope.text.prompt_tokens import decoded_token, prompt_tokens, token_text
from zscope.text.prompts import Prompt, read_prompts


def byte_level(**special) -> PreTrainedTokenizerFast:
    """As GPT-2's: a token per byte, and `Ġa` for a blank and an a."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*alphabet, "Ġa"])}
    made = Tokenizer(models.BPE(vocabulary, [("Ġ", "a")]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made, **special)


def sentence_pieces(front: bool = True) -> PreTrainedTokenizerFast:
    """As Gemma's and Llama's: `▁` for a blank, bytes as <0x..>, a token in front."""
    pieces = ["<unk>", "<s>", *(f"<0x{i:02X}>" for i in range(256)), "▁", "a", "b", "▁a"]
    vocabulary = {token: i for i, token in enumerate(pieces)}
    made = Tokenizer(
        models.BPE(vocabulary, [("▁", "a")], byte_fallback=True, fuse_unk=True, unk_token="<unk>")
    )
    made.normalizer = normalizers.Replace(" ", "▁")
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
         decoders.Strip(" ", 1, 0)]
    )  # fmt: skip
    if front:
        made.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 1)]
        )
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", unk_token="<unk>")


@pytest.mark.parametrize("tokenizer", [byte_level(), sentence_pieces(front=False)])
def test_the_texts_of_ascii_prompts_join_to_the_prompt(tokenizer):
    prompts = read_prompts()
    for prompt, made in zip(prompts, prompt_tokens(tokenizer, prompts), strict=True):
        assert made.prompt is prompt
        assert "".join(made.texts) == prompt.text
        assert list(made.ids) == tokenizer(prompt.text)["input_ids"]


def test_the_token_in_front_is_one_of_the_prompt():
    (made,) = prompt_tokens(sentence_pieces(), [Prompt("x", "f", "a a\nb")])
    assert made.texts == ("<s>", "a", " a", "\n", "b")
    assert [tuple(row.values()) for row in made.rows()][:2] == [
        ("x", "f", 0, 1, "<s>"),
        ("x", "f", 1, made.ids[1], "a"),
    ]


@pytest.mark.parametrize(
    ("tokenizer", "names"),
    [(byte_level(), ["Ã", "©"]), (sentence_pieces(front=False), ["<0xC3>", "<0xA9>"])],
)
def test_a_part_of_a_character_has_the_tokenizers_own_name(tokenizer, names):
    (made,) = prompt_tokens(tokenizer, [Prompt("x", "f", "é")])
    assert list(made.texts) == names
    assert token_text(tokenizer, made.ids[0]) == names[0]


def whole_words(**unknown) -> PreTrainedTokenizerFast:
    made = Tokenizer(models.WordLevel({"one": 0, "two": 1, "?": 2}, **unknown))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token=unknown.get("unk_token"))


@pytest.mark.parametrize("tokenizer", [whole_words(), whole_words(unk_token="?")])
def test_a_piece_without_a_token_is_one_line(tokenizer):
    assert prompt_tokens(tokenizer, [Prompt("a", "f", "one two")])[0].ids == (0, 1)
    with pytest.raises(DataError, match="prompt b: the tokenizer has no token for") as caught:
        prompt_tokens(tokenizer, [Prompt("b", "f", "one three")])
    assert "\n" not in str(caught.value)


def test_a_prompt_may_write_the_unknown_token_and_begin_with_it():
    tokenizer = byte_level(unk_token="<|end|>", bos_token="<|end|>")
    (made,) = prompt_tokens(tokenizer, [Prompt("a", "f", "<|end|> a<|end|>")])
    assert made.texts == ("<|end|>", " a", "<|end|>")


class Decoder:
    """Drops the blank in front of a word, as some do; token 3 is a part of a character."""

    pieces = ("\u2581the", "\u0120the", "the", "\u00e5")
    texts = ("the", " the", "the", "\ufffd")

    def convert_ids_to_tokens(self, token_id: int) -> str:
        return self.pieces[token_id]

    def decode(self, ids: list[int], clean_up_tokenization_spaces: bool) -> str:
        return self.texts[ids[0]]


def test_the_blank_in_front_comes_from_the_name_of_a_token():
    assert [decoded_token(Decoder(), i) for i in range(4)] == [" the", " the", "the", "\ufffd"]
    assert [token_text(Decoder(), i) for i in range(4)] == [" the", " the", "the", "\u00e5"]
