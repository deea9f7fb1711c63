"""Language models of `models:`, on a set of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from zscope.core.errors import DataError
from zscope.models.language_model import LanguageModel
from zscope.models.named import load_named
from zscope.studies.heads.asked.model import Sizes
from zscope.studies.heads.asked.named import language_model
from zscope.studies.heads.prompted.model import Origin, PromptedModel
from zscope.text.prompt_tokens import PromptTokens, prompt_tokens, token_texts
from zscope.text.prompts import Prompt, read_prompts


def prompted(of: Origin) -> PromptedModel:
    """See `model.Prompted`. Raises DataError for a prompt of the user's own that has no tokens."""
    lm = load_named(of.name, of.weights, of.files.device, of.files.dtype, known=False)
    return prompted_language_model(of.name, lm, of.sizes, of.file)


def prompted_language_model(
    name: str, lm: LanguageModel, sizes: Sizes, file: str | None
) -> PromptedModel:
    """Of the package's prompts those are left out that the tokenizer has no tokens for."""
    prompts = read_prompts(file)
    made = _known(lm, prompts) if file is None else prompt_tokens(lm.tokenizer, prompts)
    return PromptedModel.of(
        language_model(name, lm, sizes),
        made,
        partial(token_texts, lm.tokenizer),
        getattr(lm.model.config, "max_position_embeddings", None),
        sizes.seed,
    )


def _known(lm: LanguageModel, prompts: Sequence[Prompt]) -> list[PromptTokens]:
    found: list[PromptTokens] = []
    for prompt in prompts:
        try:
            found += prompt_tokens(lm.tokenizer, [prompt])
        except DataError as error:
            print(f"left out: {error}")
    return found
