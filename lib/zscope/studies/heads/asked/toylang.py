"""Models of the toy language, asked on samples of it with their exact conditionals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from zscope.core.provenance import derive_seed
from zscope.models.attention_view_tensor import TensorView
from zscope.models.checkpoints import CheckpointFile
from zscope.models.tensor_checkpoints import load_tensor_model
from zscope.models.tensor_transformer import TensorTransformer
from zscope.studies.heads.asked.model import (
    Ask,
    AskedModel,
    Series,
    Sizes,
    Source,
    SubjectFiles,
    at_last_step,
)
from zscope.studies.heads.behaviours import (
    Behaviour,
    Piece,
    all_but_first,
    loss_piece,
    own_and_control,
    those_that_occur,
)
from zscope.studies.heads.detector import Vocabulary
from zscope.studies.heads.streams import Stream
from zscope.studies.heads.tokens.random_tokens import fixed_repeats, random_sequences
from zscope.studies.heads.tokens.text_windows import is_delimiter
from zscope.toy_language.config import LanguageConfig
from zscope.toy_language.distributions import LABELS
from zscope.toy_language.language import Sequences, ToyLanguage
from zscope.toy_language.vocabulary import MARKS, QUOTE

NO_DELIMITERS = ("never", "recall")  # marks of the toy language that open and close nothing


def series(of: SubjectFiles) -> Iterator[Series]:
    """Each model at its checkpoints; all read the same samples. See `model.SeriesOf`."""
    texts = ToyTexts.of(of.settings)

    def at(name: str, file: CheckpointFile, step: int) -> Ask:
        return partial(toy_model, name, load_tensor_model(file, step).to(of.device), texts)

    for name, weights in of.models.items():
        file = CheckpointFile(weights)
        yield Series(name, file.steps, partial(at, name, file))


class ToyTexts:
    """Samples of the toy language with their exact conditionals, each made once."""

    def __init__(self, language: ToyLanguage) -> None:
        self.language = language
        self._drawn: dict[tuple[int, int], tuple[Sequences, Float[np.ndarray, "n seq vocab"]]] = {}

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> ToyTexts:
        return cls(ToyLanguage(LanguageConfig.model_validate(settings["language"])))

    def draw(self, n: int, seed: int) -> tuple[Sequences, Float[np.ndarray, "n seq vocab"]]:
        if (n, seed) not in self._drawn:
            drawn = self.language.sample(n, np.random.Generator(np.random.PCG64(seed)))
            self._drawn[n, seed] = drawn, self.language.conditionals(drawn.tokens)[0]
        return self._drawn[n, seed]


def toy_model(name: str, model: TensorTransformer, texts: ToyTexts, sizes: Sizes) -> AskedModel:
    language = texts.language
    n, length = sizes.trained_sequences, language.config.length
    drawn, p = texts.draw(n, derive_seed(sizes.seed, "heads text"))
    tokens = torch.from_numpy(drawn.tokens)
    vocabulary = language.vocabulary
    categories = tuple(vocabulary.members)
    class_of = torch.tensor([categories.index(c) for c in vocabulary.categories])
    closing = torch.tensor(
        [
            (c in MARKS and c not in NO_DELIMITERS) or t == QUOTE
            for t, c in zip(vocabulary.tokens, vocabulary.categories, strict=True)
        ]
    )
    plain = torch.tensor([is_delimiter(t) for t in vocabulary.tokens])
    marks = {"delimiter": closing[tokens], "protocol_delimiter": plain[tokens]}
    pool = range(len(vocabulary))
    streams = [
        Stream("text", tokens, marks, class_of[tokens], categories),
        random_sequences(pool, n, length, front=(), seed=derive_seed(sizes.seed, "heads random")),
    ]
    if not (signed := model.config.attention == "bilinear"):
        half_seed = derive_seed(sizes.seed, "heads fixed repeats")
        streams.append(fixed_repeats(pool, n, length // 2, seed=half_seed))
    return AskedModel(
        name,
        TensorView(model),
        signed,
        Vocabulary(running_text=True, random_tokens=len(pool), delimiters=int(closing.sum())),
        {s.name: (s,) for s in streams},
        torch.from_numpy(p[:, 1:]).to(torch.float32),
        drawn.labels[:, 1:],
    )


# --- behaviours


def _behaviours(model: AskedModel) -> Iterator[Behaviour]:
    text, *_ = model.streams["text"]
    assert model.labels is not None
    masks = {name: model.labels == i for i, name in enumerate(LABELS)}
    masks |= {"not_induction": ~masks["induction"], "text": np.ones_like(model.labels, bool)}
    for name, mask in masks.items():
        yield Behaviour(name, (_excess_piece(model, text, mask),))
    random, *_ = model.streams["random"]
    yield Behaviour("random", (loss_piece(random, all_but_first(random)),))


def _excess_piece(model: AskedModel, text: Stream, at: Bool[np.ndarray, "n seq-1"]) -> Piece:
    """-sum p log q where a primitive governs: the excess over the exact p, but for its entropy."""
    assert model.p is not None
    p, mask = model.p, torch.from_numpy(at)
    entropy = -torch.xlogy(p.double(), p.double()).sum(-1)

    def y(logits: Float[Tensor, "n seq vocab"]) -> Float[Tensor, " n"]:
        cross = -(p.to(logits.device) * logits[:, :-1].log_softmax(-1)).sum(-1)
        return (cross * mask.to(logits.device)).sum(-1)

    least = (entropy * mask).sum(-1).numpy()
    return Piece(text.ids, mask.double().sum(-1).numpy(), y, least=least)


def behaviours(model: AskedModel) -> dict[str, Behaviour]:
    """Every behaviour that the model's sequences allow, by its name."""
    return those_that_occur(_behaviours(model))


SOURCE = Source(
    at_last_step(series),
    behaviours,
    own_and_control(("induction", "not_induction"), ("text", "random")),
    series,
)
