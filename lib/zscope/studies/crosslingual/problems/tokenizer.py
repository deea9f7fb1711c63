"""The tokenizer of the generated problems: lossless, and one token per number.

A text is split into Han characters, whole numbers, English words with the space before them, and
single other characters. A number has no space in it, so it is the same token in both languages;
English writes the space before it as a token of its own ("The answer is", " ", "12").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import WordLevel

from zscope.studies.crosslingual.problems.parallel import MAX_NUMBER, every_phrase

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, EOS = "<pad>", "<eos>"
_PIECE = r"\p{Han}| ?[A-Za-z]+|[0-9]+|\n|[^\p{Han}A-Za-z0-9\n]"


def make_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer: it pads on the left and has no token for unknown pieces.

    Its vocabulary comes from the templates of the problems, not from a sample of them, so it never
    depends on a seed: the ids are <pad> 0, <eos> 1, the numbers 0 to 40 in order, then the other
    pieces sorted. `save_pretrained(folder)` and `PreTrainedTokenizerFast.from_pretrained(folder)`
    keep it. `<eos>` is not added to texts.

    Encoding a text with a piece outside the vocabulary raises an exception (of `tokenizers`, which
    has no class for it) that names the missing unknown token.
    """
    # Slow to import, and only this function needs it.
    from transformers import PreTrainedTokenizerFast

    splitter = pre_tokenizers.Split(Regex(_PIECE), behavior="isolated")
    pieces = {piece for text in set(every_phrase()) for piece, _ in splitter.pre_tokenize_str(text)}
    numbers = [str(n) for n in range(MAX_NUMBER + 1)]
    words = sorted(pieces - set(numbers))
    vocabulary = {token: i for i, token in enumerate([PAD, EOS, *numbers, *words])}
    tokenizer = Tokenizer(WordLevel(vocabulary))
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.Fuse()  # joins without the spaces that are put between otherwise
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )
