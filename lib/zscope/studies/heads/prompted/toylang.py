"""Models of the toy language, on beginnings of its sequences."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int

from zscope.core.provenance import derive_seed
from zscope.models.tensor_checkpoints import load_last_tensor_model
from zscope.models.tensor_transformer import TensorTransformer
from zscope.studies.heads.asked.model import Sizes
from zscope.studies.heads.asked.toylang import ToyTexts, toy_model
from zscope.studies.heads.prompted.model import Origin, PromptedModel, in_turns
from zscope.text.prompt_tokens import PromptTokens
from zscope.text.prompts import Prompt
from zscope.toy_language.distributions import LABELS
from zscope.toy_language.vocabulary import ToyVocabulary

LEAST = 4  # tokens of a prompt, so that there is something before the token before
DRAWN = 4  # sequences per prompt, among which a rare primitive is looked for


def prompted(of: Origin) -> PromptedModel:
    """See `model.Prompted`."""
    model = load_last_tensor_model(of.weights).to(of.files.device)
    return prompted_toy_model(of.name, model, ToyTexts.of(of.files.settings), of.sizes, of.n)


def prompted_toy_model(
    name: str, model: TensorTransformer, texts: ToyTexts, sizes: Sizes, n: int
) -> PromptedModel:
    drawn, _ = texts.draw(DRAWN * n, derive_seed(sizes.seed, "heads prompts"))
    vocabulary = texts.language.vocabulary
    return PromptedModel.of(
        toy_model(name, model, texts, sizes),
        sample_prompts(drawn.tokens, drawn.labels, vocabulary, n),
        lambda ids: tuple(vocabulary.tokens[i] for i in ids),
        model.config.n_ctx,
        sizes.seed,
    )


def sample_prompts(
    tokens: Int[np.ndarray, "n_sequences seq"],
    labels: Int[np.ndarray, "n_sequences seq"],
    vocabulary: ToyVocabulary,
    n: int,
) -> list[PromptTokens]:
    """At most n beginnings, each of its own sequence.

    They end before the first token, from LEAST on, that a primitive governs; primitives are the
    families, and take turns. labels: what governs each token, an index into LABELS.
    """
    used: set[int] = set()

    def of_family(label: int) -> Iterator[PromptTokens]:
        for i, ends in enumerate(labels == label):
            places = np.flatnonzero(ends[LEAST:])
            if i in used or not len(places):
                continue
            used.add(i)
            ids = tokens[i, : LEAST + int(places[0])].tolist()
            family = LABELS[label]
            prompt = Prompt(f"{family}-{i}", family, vocabulary.decode(ids))
            yield PromptTokens(prompt, tuple(ids), tuple(vocabulary.tokens[t] for t in ids))

    return in_turns({name: of_family(label) for label, name in enumerate(LABELS)}, n)
