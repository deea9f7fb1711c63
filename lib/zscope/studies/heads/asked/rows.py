"""Models that know rows of one format alone, asked on the rows they were trained on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int

from zscope.core.errors import DataError
from zscope.core.provenance import derive_seed
from zscope.models.attention_view import AttentionView
from zscope.studies.heads.asked.model import AskedModel, Sizes
from zscope.studies.heads.behaviours import (
    Behaviour,
    all_but_first,
    loss_piece,
    own_and_control,
    those_that_occur,
)
from zscope.studies.heads.detector import Vocabulary
from zscope.studies.heads.streams import Stream
from zscope.studies.heads.tokens.random_tokens import (
    fixed_repeats,
    random_sequences,
    repeats,
)


def model_of_rows(name: str, view: AttentionView, rows: pd.DataFrame, sizes: Sizes) -> AskedModel:
    """The rows of the commonest length are taken.

    Its random tokens have the same length and first token, and periods that fit into it.
    """
    seed = derive_seed(sizes.seed, "heads text")
    text, least = rows_stream(rows, sizes.trained_sequences, seed, sizes.part)
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
        least=least,
    )


def rows_stream(
    rows: pd.DataFrame, n: int, seed: int, part: tuple[int, int]
) -> tuple[Stream, Float[np.ndarray, "n seq"]]:
    """At most n sequences, drawn without replacement from a part of those of the commonest length.

    part: (first, step) among them. The mark `measured` is that of the table. Beside them the least
    loss of their measured tokens. Raises DataError without rows.
    """
    if rows.empty:
        raise DataError("rows: the table has no sequence to ask heads on")
    lengths = rows.groupby("sequence").size()
    common = lengths.mode().max()  # the longest of the commonest
    alike = lengths.index[lengths == common].to_numpy()
    chosen = alike[part[0] :: part[1]]
    if len(chosen) > n:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, n, replace=False))
    kept = rows[rows["sequence"].isin(alike)].sort_values(["sequence", "position"])
    ids, measured = (
        kept[column].to_numpy(dtype=kind).reshape(len(alike), int(common))
        for column, kind in (("token_id", np.int64), ("measured", bool))
    )
    at = np.searchsorted(alike, chosen)
    marks = {"measured": torch.from_numpy(measured[at])}
    return Stream("text", torch.from_numpy(ids[at]), marks), least_loss(ids, measured)[at]


def least_loss(
    ids: Int[np.ndarray, "rows seq"], measured: Bool[np.ndarray, "rows seq"]
) -> Float[np.ndarray, "rows seq"]:
    """-log of a measured token's share among all rows that are the same before it; else NaN.

    It is too low where the rows are only some of those that the model was trained on.
    """
    least = np.full(ids.shape, np.nan)
    for t in 1 + np.flatnonzero(measured[:, 1:].any(0)):
        _, with_it, n_with = np.unique(
            ids[:, : t + 1], axis=0, return_inverse=True, return_counts=True
        )
        _, before, n_before = np.unique(ids[:, :t], axis=0, return_inverse=True, return_counts=True)
        loss = np.log(n_before[before.ravel()] / n_with[with_it.ravel()])
        least[:, t] = np.where(measured[:, t], loss, np.nan)
    return least


# --- behaviours


def _behaviours(model: AskedModel) -> Iterator[Behaviour]:
    text, *_ = model.streams["text"]
    asked = text.mark("measured").clone()
    asked[:, 0] = False
    yield Behaviour("text", (loss_piece(text, all_but_first(text)),))
    yield Behaviour("target", (loss_piece(text, asked, model.least),))
    yield Behaviour("rest", (loss_piece(text, all_but_first(text) & ~asked),))
    random, *_ = model.streams["random"]
    yield Behaviour("random", (loss_piece(random, all_but_first(random)),))


def behaviours(model: AskedModel) -> dict[str, Behaviour]:
    """Every behaviour that the model's sequences allow, by its name."""
    return those_that_occur(_behaviours(model))


OWN_AND_CONTROL = own_and_control(("target", "rest"), ("text", "random"))
