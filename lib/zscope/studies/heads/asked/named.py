"""Language models of `models:`, asked on the package's English passages and lists of words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from zscope.core.errors import DataError
from zscope.core.provenance import derive_seed
from zscope.models.architectures import ARCHITECTURES
from zscope.models.attention_view_transformers import TransformersView
from zscope.models.language_model import LanguageModel
from zscope.models.named import load_named
from zscope.models.tokenizers import front_tokens, plain_encoder
from zscope.studies.heads.asked.model import Ask, AskedModel, Sizes, Source, SubjectFiles
from zscope.studies.heads.behaviours import (
    Behaviour,
    Piece,
    all_but_first,
    loss_piece,
    own_and_control,
    second_copy,
    those_that_occur,
)
from zscope.studies.heads.detector import Vocabulary
from zscope.studies.heads.streams import Stream
from zscope.studies.heads.token_maps import TokenMaps
from zscope.studies.heads.tokens.ioi_prompts import ioi_streams
from zscope.studies.heads.tokens.ordinal_lists import comma, ordinal_classes, ordinal_lists
from zscope.studies.heads.tokens.random_tokens import fixed_repeats, random_sequences, repeats
from zscope.studies.heads.tokens.text_windows import (
    protocol_delimiter_ids,
    text_windows,
)
from zscope.text import word_lists
from zscope.text.ioi_sentences import encode_sentence
from zscope.text.passages import read_passages
from zscope.text.prompt_tokens import decoded_token
from zscope.text.single_words import single_tokens

ENOUGH_NAMES = 6  # a sentence is tried with two fillings of three names


def asks(of: SubjectFiles) -> Iterator[Ask]:
    """Each model. See `model.Asks`."""
    for name, weights in of.models.items():
        yield partial(
            language_model, name, load_named(name, weights, of.device, of.dtype, known=False)
        )


def language_model(name: str, lm: LanguageModel, sizes: Sizes) -> AskedModel:
    """A model of running text, with the package's English passages and word lists."""
    tokenizer = lm.tokenizer
    encode = plain_encoder(tokenizer)
    special = set(tokenizer.all_special_ids)
    pool = [i for i in range(len(tokenizer)) if i not in special]
    front = front_tokens(tokenizer)
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
        # Each template is filled in both orders, and few prompts are of few templates.
        sentences = sentences[: max(1, round(sizes.prompts / 2))]
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

    maps = TokenMaps(lm, front)

    def copies() -> Float[np.ndarray, "layer head"]:
        return maps.raw_copies(list(names.values())).mean(-1).numpy()

    known = type(lm.model).__name__ in ARCHITECTURES  # of another one W_V is not known
    return AskedModel(
        name,
        TransformersView(lm.model),
        False,
        vocabulary,
        streams,
        items=classes,
        copies=copies if known else None,
        names=list(names.values()),
        maps=maps if known else None,
    )


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
        used = sorted({*front, *(i for t in texts for i in t)})
        written = {i: decoded_token(tokenizer, i) for i in used}
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


# --- behaviours


def _behaviours(model: AskedModel) -> Iterator[Behaviour]:
    for name in ("text", "random"):
        for stream in model.streams.get(name, ()):
            yield Behaviour(name, (loss_piece(stream, all_but_first(stream)),))
    for stream in model.streams.get("repeats", ()):
        yield Behaviour("repeats", (loss_piece(stream, second_copy(stream.ids)),))
    lists = {"successor": "ordinals", "successor_shuffled": "shuffled_ordinals"}
    for name, of in lists.items():
        for stream in model.streams.get(of, ()):
            yield Behaviour(name, (_successor_piece(stream, model.items),))
    for name in ("ioi", "abc"):
        if streams := model.streams.get(name):
            yield Behaviour(name, tuple(_object_piece(s) for s in streams), at=-1)


def _successor_piece(stream: Stream, classes: Mapping[str, Sequence[int]]) -> Piece:
    """Mean logit of the class, less that of the next word, behind the last comma of a list.

    The next word is the successor of the last item before this comma. A list whose last such item
    is the class's last word is not counted.
    """
    last = stream.ids[:, -3].tolist()
    members, nexts, counted = [], [], []
    for row, item in zip(stream.ids.tolist(), last, strict=True):
        ids = next(ids for ids in classes.values() if item in ids and row[-1] in ids)
        place = list(ids).index(item)
        members.append(torch.tensor(list(ids)))
        counted.append(place + 1 < len(ids))
        nexts.append(ids[place + 1] if counted[-1] else item)

    def y(logits: Float[Tensor, "n read vocab"]) -> Float[Tensor, " n"]:
        rows = logits[:, 0].float()
        harm = [
            r[m.to(r.device)].mean() - r[i] for r, m, i in zip(rows, members, nexts, strict=True)
        ]
        return torch.stack(harm) * torch.tensor(counted, device=rows.device)

    return Piece(stream.ids, np.array(counted, dtype=float), y, (-2,))


def _object_piece(stream: Stream) -> Piece:
    """Logit of the subject, as first mentioned, less that of the indirect object, at the end."""
    n = torch.arange(len(stream))
    io, s1 = (stream.ids[n, stream.mark(m).float().argmax(-1)] for m in ("io", "s1"))

    def y(logits: Float[Tensor, "n read vocab"]) -> Float[Tensor, " n"]:
        rows = logits[:, 0].float()
        at = n.to(rows.device)
        return rows[at, s1.to(rows.device)] - rows[at, io.to(rows.device)]

    return Piece(stream.ids, np.ones(len(stream)), y, (-1,))


def behaviours(model: AskedModel) -> dict[str, Behaviour]:
    """Every behaviour that the model's sequences allow, by its name."""
    return those_that_occur(_behaviours(model))


SOURCE = Source(
    asks,
    behaviours,
    own_and_control(
        ("repeats", "text"),
        ("text", "random"),
        successor=("successor", "successor_shuffled"),
        s_inhibition=("ioi", "abc"),
    ),
)
