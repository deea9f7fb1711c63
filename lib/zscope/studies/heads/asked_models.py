"""The models of a subject, with the sequences that their heads are asked on.

Every source of models has its own sequences: texts of the package for a language model, samples of
the toy language, rows of one format for the models of other studies. Behind this module all are
alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from zscope.core.errors import DataError
from zscope.core.provenance import derive_seed
from zscope.models.attention_view import AttentionView
from zscope.models.attention_views import view_of
from zscope.models.checkpoints import CheckpointFile
from zscope.models.language_model import LanguageModel, load_language_model
from zscope.models.named import load_named
from zscope.models.tensor_checkpoints import load_last_tensor_model
from zscope.models.tensor_transformer import TensorTransformer
from zscope.models.tokenizers import lacks_a_token
from zscope.models.transformer import Transformer, TransformerConfig
from zscope.studies.heads.config import AblationConfig, StreamsConfig
from zscope.studies.heads.detector import Vocabulary
from zscope.studies.heads.ov import raw_copy
from zscope.studies.heads.streams import Stream
from zscope.studies.heads.tokens.ioi_prompts import encode_sentence, ioi_streams
from zscope.studies.heads.tokens.ordinal_lists import comma, ordinal_classes, ordinal_lists
from zscope.studies.heads.tokens.random_tokens import fixed_repeats, random_sequences, repeats
from zscope.studies.heads.tokens.single_words import single_tokens
from zscope.studies.heads.tokens.text_windows import (
    is_delimiter,
    protocol_delimiter_ids,
    text_windows,
    written_tokens,
)
from zscope.tables.read import read_table
from zscope.text import word_lists
from zscope.text.passages import read_passages
from zscope.text.tables import ROWS
from zscope.toy_language.config import LanguageConfig
from zscope.toy_language.language import Sequences, ToyLanguage
from zscope.toy_language.vocabulary import MARKS, QUOTE

NO_DELIMITERS = ("never", "recall")  # marks of the toy language that open and close nothing
ENOUGH_NAMES = 6  # a sentence is tried with two fillings of three names


@dataclass(frozen=True)
class Sizes:
    """How many sequences of what length, and which of the texts.

    Attributes:
        sequences, length: of text, random tokens and repeats of a language model.
        prompts: sentences and lists of each kind.
        trained_sequences: of a model that the workflow trains.
        part: (first, step) of the texts and rows that are taken.
        seed: of what is drawn.
    """

    streams: StreamsConfig
    sequences: int
    length: int
    prompts: int
    trained_sequences: int
    part: tuple[int, int]
    seed: int

    @classmethod
    def of_scores(cls, streams: StreamsConfig, seed: int) -> Sizes:
        s = streams
        return cls(s, s.sequences, s.length, s.prompts, s.trained_sequences, (0, 1), seed)

    @classmethod
    def of_ablations(
        cls, streams: StreamsConfig, config: AblationConfig, seed: int, purpose: str
    ) -> Sizes:
        """purpose: "screen" or "effects", which have no sequence in common."""
        part = (("effects", "screen").index(purpose), 2)
        n, of_trained = config.sequences, config.trained_sequences
        own_seed = derive_seed(seed, f"heads {purpose}")
        return cls(streams, n, config.length, n, of_trained, part, own_seed)


@dataclass(frozen=True, eq=False)
class AskedModel:
    """A model and its sequences.

    Attributes:
        name: of the model.
        signed: whether its patterns are signed, and no shares.
        vocabulary: what its tokenizer and texts allow.
        streams: by name; of sentences several, which differ in length.
        p: of the toy language the exact conditionals of the tokens of "text", from the second on.
        labels: of the toy language the primitive that governs each, an index into its LABELS.
        items: the ids of the ordinal classes that lists are made of.
        copies: the protocol's copy scores of every head over the names; None where there are none.
    """

    name: str
    view: AttentionView
    signed: bool
    vocabulary: Vocabulary
    streams: Mapping[str, tuple[Stream, ...]]
    p: Float[Tensor, "n seq-1 vocab"] | None = None
    labels: Int[np.ndarray, "n seq-1"] | None = None
    items: Mapping[str, Sequence[int]] = field(default_factory=dict)
    copies: Callable[[], Float[np.ndarray, "layer head"]] | None = None


def asked_models(
    source: str,
    models: Mapping[str, str],
    rows: Sequence[str],
    settings: Mapping[str, Any],
    *,
    dtype: str,
    device: torch.device,
) -> Iterator[Callable[[Sizes], AskedModel]]:
    """Each model of a subject, loaded once, to be given sequences of one size after another.

    Arguments as of `study.Subject`. Raises CheckpointError or TableError for a file that is missing
    or damaged.
    """
    files: Sequence[str | None] = list(rows) or [None] * len(models)
    toy_texts = ToyTexts.of(settings) if source == "toylang" else None  # all models read the same
    for (name, weights), file in zip(models.items(), files, strict=True):
        if toy_texts is not None:
            model = load_last_tensor_model(weights).to(device)
            yield partial(toy_model, name, model, toy_texts)
        elif source == "lag":
            view = view_of(_trained(weights).to(device))
            yield partial(_of_rows, name, view, read_table(str(file), ROWS))
        elif source == "tiny":
            lm = load_language_model({"tiny": True}, device, getattr(torch, dtype), weights)
            yield partial(_of_rows, name, view_of(lm.model), read_table(str(file), ROWS))
        else:
            lm = load_named(name, weights, device, getattr(torch, dtype))
            yield partial(language_model, name, lm)


def _trained(weights: str | Path) -> Transformer:
    """The lag study's model at the last step, in eval mode."""
    file = CheckpointFile(weights)
    model = Transformer(TransformerConfig(**file.shape))
    model.load_state_dict(file.load(file.steps[-1]))
    return model.eval().requires_grad_(False)


# --- the toy language --------------------------------------------------------------------------


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
        view_of(model),
        signed,
        Vocabulary(running_text=True, random_tokens=len(pool), delimiters=int(closing.sum())),
        {s.name: (s,) for s in streams},
        torch.from_numpy(p[:, 1:]).to(torch.float32),
        drawn.labels[:, 1:],
    )


# --- rows of one format ------------------------------------------------------------------------


def _of_rows(name: str, view: AttentionView, rows: pd.DataFrame, sizes: Sizes) -> AskedModel:
    """A model that knows rows of one format alone; those of the commonest length are taken.

    Its random tokens have the same length and first token, and periods that fit into it.
    """
    seed = derive_seed(sizes.seed, "heads text")
    text = rows_stream(rows, sizes.trained_sequences, seed, sizes.part)
    pool = sorted(rows.loc[~rows["special"], "token_id"].unique().tolist())
    n, length, front = len(text), text.length, text.ids[0, :1].tolist()
    room = length - 1
    periods = (max(2, room // 4), room // 2)
    streams = [
        text,
        random_sequences(
            pool, n, length, front=front, seed=derive_seed(sizes.seed, "heads random")
        ),
    ]
    if periods[0] < periods[1] <= len(pool):
        seed = derive_seed(sizes.seed, "heads repeats")
        streams.append(repeats(pool, n, length, periods=periods, front=front, seed=seed))
        half_seed = derive_seed(sizes.seed, "heads fixed repeats")
        streams.append(fixed_repeats(pool, n, length // 2, seed=half_seed))
    return AskedModel(
        name,
        view,
        False,
        Vocabulary(running_text=False, random_tokens=len(pool)),
        {s.name: (s,) for s in streams},
    )


def rows_stream(rows: pd.DataFrame, n: int, seed: int, part: tuple[int, int]) -> Stream:
    """At most n sequences, drawn without replacement from a part of those of the commonest length.

    part: (first, step) among them. The mark `measured` is that of the table. Raises DataError
    without rows.
    """
    if rows.empty:
        raise DataError("rows: the table has no sequence to ask heads on")
    lengths = rows.groupby("sequence").size()
    common = lengths.mode().max()  # the longest of the commonest
    chosen = lengths.index[lengths == common].to_numpy()[part[0] :: part[1]]
    if len(chosen) > n:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, n, replace=False))
    kept = rows[rows["sequence"].isin(chosen)].sort_values(["sequence", "position"])
    shape = (len(chosen), int(common))
    ids = torch.from_numpy(kept["token_id"].to_numpy().reshape(shape).copy())
    measured = torch.from_numpy(kept["measured"].to_numpy(dtype=bool).reshape(shape).copy())
    return Stream("text", ids, {"measured": measured})


# --- language models ---------------------------------------------------------------------------


def language_model(name: str, lm: LanguageModel, sizes: Sizes) -> AskedModel:
    """A model of running text, with the package's English passages and word lists."""
    tokenizer = lm.tokenizer
    encode = _encoder(tokenizer)
    special = set(tokenizer.all_special_ids)
    pool = [i for i in range(len(tokenizer)) if i not in special]
    front = _front(tokenizer)
    first, step = sizes.part
    texts = [ids for x in read_passages("en")[first::step] if (ids := encode(x.text))]
    streams: dict[str, tuple[Stream, ...]] = {
        s.name: (s,) for s in _text_streams(tokenizer, encode, texts, pool, front, sizes)
    }
    names = single_tokens(encode, word_lists.names())
    classes = ordinal_classes(encode, word_lists.ordinals())
    sentences = [
        found
        for key, template in word_lists.ioi_sentences().items()
        if len(names) >= ENOUGH_NAMES and (found := encode_sentence(encode, key, template, names))
    ]
    if sentences:
        each = max(2, 2 * round(sizes.prompts / len(sentences) / 2))
        seed = derive_seed(sizes.seed, "heads sentences")
        pairs = ioi_streams(sentences, list(names.values()), each, front=front, seed=seed)
        streams |= {"ioi": tuple(a for a, _ in pairs), "abc": tuple(b for _, b in pairs)}
    lists = _lists(encode, classes, front, sizes)
    streams |= {s.name: (s,) for s in lists}
    marked = {t for s in streams.get("text", ()) for t in s.ids[s.mark("delimiter")].tolist()}
    vocabulary = Vocabulary(
        running_text=bool(streams.get("text")),
        random_tokens=len(pool),
        delimiters=len(marked),
        ordinals={c: len(ids) for c, ids in classes.items()} if lists else {},
        names=len(names),
        ioi_templates=len(sentences),
    )

    def copies() -> Float[np.ndarray, "layer head"]:
        ids = list(names.values())
        models: Any = lm.model
        embed, unembed = (
            layer.weight[ids].detach().float().cpu()
            for layer in (models.get_input_embeddings(), models.get_output_embeddings())
        )
        weights = (lm.attention_weights(layer) for layer in range(lm.n_layers))
        return np.stack(
            [raw_copy(embed, w.W_v.mT.float(), w.W_o.float(), unembed.mT).numpy() for w in weights]
        )

    return AskedModel(
        name, view_of(lm.model), False, vocabulary, streams, items=classes, copies=copies
    )


def _encoder(tokenizer: Any) -> Callable[[str], list[int]]:
    """Encodes a text without special tokens; empty if a piece of it has no token."""

    def encode(text: str) -> list[int]:
        try:
            ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
        except Exception as error:
            if not lacks_a_token(error):
                raise
            return []
        unknown = tokenizer.unk_token_id
        return [] if unknown is not None and unknown in ids else ids

    return encode


def _front(tokenizer: Any) -> list[int]:
    """What stands in front of every sequence: what the tokenizer adds, else its first or last token
    of a text, so that attention has somewhere to rest."""
    if added := list(tokenizer("")["input_ids"]):
        return added[:1]
    known = (tokenizer.bos_token_id, tokenizer.eos_token_id)
    return next(([i] for i in known if i is not None), [])


def _text_streams(
    tokenizer: Any,
    encode: Callable[[str], list[int]],
    texts: Sequence[Sequence[int]],
    pool: Sequence[int],
    front: Sequence[int],
    sizes: Sizes,
) -> Iterator[Stream]:
    n, length, s = sizes.sequences, sizes.length, sizes.streams
    if any(len(t) >= length for t in texts):
        written = written_tokens(
            [i for t in texts for i in [*front, *t]],
            tokenizer.convert_ids_to_tokens,
            lambda i: str(tokenizer.decode([i], clean_up_tokenization_spaces=False)),
        )
        yield text_windows(
            texts,
            length,
            front=front,
            limit=n,
            written=written,
            protocol_delimiters=protocol_delimiter_ids(encode),
        )

    def seed(what: str) -> int:
        return derive_seed(sizes.seed, f"heads {what}")

    yield random_sequences(pool, n, length, front=front, seed=seed("random"))
    longest = min(s.longest_period, (length - len(front)) * 2 // 3)
    shortest = min(s.shortest_period, longest // 2 + 1)
    periods = (shortest, longest)
    yield repeats(pool, n, length, periods=periods, front=front, seed=seed("repeats"))
    yield fixed_repeats(pool, n, length // 2, seed=seed("fixed repeats"))


def _lists(
    encode: Callable[[str], list[int]],
    classes: Mapping[str, Sequence[int]],
    front: Sequence[int],
    sizes: Sizes,
) -> tuple[Stream, ...]:
    """Ordinal lists, shuffled ones and lists of other words; none if the vocabulary has too few."""
    n_items = sizes.streams.list_items
    ordinals = {i for ids in classes.values() for i in ids}
    words = [
        i for i in single_tokens(encode, word_lists.plain_words()).values() if i not in ordinals
    ]
    if max(map(len, classes.values()), default=0) < n_items or len(words) < n_items:
        return ()
    try:
        separator = comma(encode)
    except DataError:
        return ()  # no token for a comma: the detector is skipped, which says so
    return ordinal_lists(
        classes,
        words,
        sizes.prompts,
        n_items=n_items,
        comma=separator,
        front=front,
        seed=derive_seed(sizes.seed, "heads lists"),
    )
