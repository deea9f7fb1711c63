"""Prompts as a model's tokens, and how a token reads on its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zscope.core.errors import DataError
from zscope.models.tokenizers import lacks_a_token
from zscope.tables.schema import Row
from zscope.text.prompts import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# What SentencePiece writes for a blank in front of a word; `decode` drops it from a first token.
_BLANK = "\u2581"
_PART = "\ufffd"  # what a part of a character decodes to


@dataclass(frozen=True)
class PromptTokens:
    """A prompt for one model: never padded, so prompts differ in length.

    ids: [seq], with what the tokenizer puts in front. texts: [seq], each as `token_text`.
    """

    prompt: Prompt
    ids: tuple[int, ...]
    texts: tuple[str, ...]

    def rows(self) -> Iterator[Row]:
        """Rows of a table with the columns prompt, family, position, token_id and token."""
        for position, (token_id, token) in enumerate(zip(self.ids, self.texts, strict=True)):
            yield {
                "prompt": self.prompt.id,
                "family": self.prompt.family,
                "position": position,
                "token_id": token_id,
                "token": token,
            }


def prompt_tokens(
    tokenizer: PreTrainedTokenizerBase, prompts: Iterable[Prompt]
) -> list[PromptTokens]:
    """Each prompt as the tokenizer of a model splits it, with the tokens that it puts in front.

    Raises DataError, in one line, if the tokenizer has no token for a piece of a prompt.
    """
    found = []
    for prompt in prompts:
        try:
            ids = tokenizer(prompt.text)["input_ids"]
        except Exception as error:
            if not lacks_a_token(error):
                raise
            ids = []
        if not ids or _has_unknown(tokenizer, ids, prompt.text):
            raise DataError(
                f"prompt {prompt.id}: the tokenizer has no token for a piece of {prompt.text!r}: "
                "take the prompt away, or leave this model out"
            )
        found.append(PromptTokens(prompt, tuple(ids), token_texts(tokenizer, ids)))
    return found


def token_texts(tokenizer: PreTrainedTokenizerBase, ids: Iterable[int]) -> tuple[str, ...]:
    """`token_text` of each."""
    return tuple(token_text(tokenizer, token) for token in ids)


def token_text(tokenizer: PreTrainedTokenizerBase, token_id: int) -> str:
    """What a token stands for, with the blank in front of a word.

    Of a token that is a part of a character, which is no text, the tokenizer's own name.
    """
    piece = str(tokenizer.convert_ids_to_tokens(token_id))
    text = decoded_token(tokenizer, token_id)
    return piece if _PART in text and _PART not in piece else text


def decoded_token(tokenizer: PreTrainedTokenizerBase, token_id: int) -> str:
    """A token decoded alone, with the blank in front of a word, which a decoder may drop.

    A part of a character decodes to U+FFFD.
    """
    piece = str(tokenizer.convert_ids_to_tokens(token_id))
    text = str(tokenizer.decode([token_id], clean_up_tokenization_spaces=False))
    return " " + text if piece.startswith(_BLANK) and not text.startswith(" ") else text


def _has_unknown(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], text: str) -> bool:
    """Whether the unknown token stands for a piece of the text."""
    unknown, first = tokenizer.unk_token_id, tokenizer.bos_token_id
    if unknown is None or str(tokenizer.unk_token) in text:
        return False
    # GPT-2 has one token for both, and it may stand in front.
    return unknown in (ids[1:] if ids[0] == first else ids)
