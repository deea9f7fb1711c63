"""Small models with drawn weights, and a tokenizer with a token for every word that is asked."""

from __future__ import annotations

import torch
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from zscope.text import word_lists
from zscope.text.passages import read_passages


def drawn(model, std=0.1):
    generator = torch.Generator().manual_seed(0)
    model = model.eval().requires_grad_(False)
    for p in model.parameters():
        p.copy_(std * torch.randn(p.shape, generator=generator))
    return model


def words_tokenizer():
    """Every word with the space before it, and every other character, is one token."""
    splitter = pre_tokenizers.Split(Regex(r" ?[A-Za-z0-9]+|[^A-Za-z0-9]"), behavior="isolated")
    texts = [p.text for p in read_passages("en")]
    lists = [word_lists.names(), word_lists.plain_words(), *word_lists.ordinals().values()]
    texts += [f"and {word}, " for words in lists for word in words]
    texts += [
        t.format(first="Al", second="Bo", subject="Cy") for t in word_lists.ioi_sentences().values()
    ]
    pieces = {piece for text in texts for piece, _ in splitter.pre_tokenize_str(text)}
    vocabulary = {token: i for i, token in enumerate(["<s>", *sorted(pieces)])}
    tokenizer = Tokenizer(WordLevel(vocabulary))
    tokenizer.pre_tokenizer, tokenizer.decoder = splitter, decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="<s>")
