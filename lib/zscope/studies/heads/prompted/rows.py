"""Prompts of models that know rows of one format alone: beginnings of these rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pandas as pd

from zscope.core.provenance import derive_seed
from zscope.studies.heads.asked.model import Sizes
from zscope.studies.heads.prompted.model import in_turns
from zscope.text.prompt_tokens import PromptTokens
from zscope.text.prompts import Prompt

TARGET, REST = "target", "rest"
"""What comes next: the first token that the model is asked for, or one of the others."""


def row_prompts(rows: pd.DataFrame, n: int, sizes: Sizes) -> list[PromptTokens]:
    """At most n beginnings of rows, drawn without replacement, half of them of each family.

    Those of the rest end before the middle one of its tokens. rows: table text_rows.
    """
    sequences = rows["sequence"].unique()
    rng = np.random.default_rng(derive_seed(sizes.seed, "heads prompts"))
    drawn = rng.permutation(sequences)[: 2 * n]
    kept = rows[rows["sequence"].isin(drawn)].sort_values(["sequence", "position"])
    by_sequence = dict(iter(kept.groupby("sequence")))
    halves = (TARGET, drawn[::2]), (REST, drawn[1::2])
    return in_turns(
        {family: _beginnings(family, [by_sequence[i] for i in of]) for family, of in halves}, n
    )


def _beginnings(family: str, sequences: Iterable[pd.DataFrame]) -> Iterator[PromptTokens]:
    for rows in sequences:
        measured = rows["measured"].to_numpy(bool)
        places = np.flatnonzero(measured if family == TARGET else ~measured)
        places = places[places > 0]
        if not len(places):
            continue
        end = int(places[0] if family == TARGET else places[len(places) // 2])
        texts = tuple(rows["token"].iloc[:end])
        prompt = Prompt(f"{family}-{rows['sequence'].iloc[0]}", family, " ".join(texts))
        yield PromptTokens(prompt, tuple(rows["token_id"].iloc[:end].tolist()), texts)


def texts_of(rows: pd.DataFrame) -> Callable[[Iterable[int]], tuple[str, ...]]:
    """What tokens stand for in the rows; of one that is in none, its number in brackets."""
    known = dict(zip(rows["token_id"], rows["token"], strict=True))
    return lambda ids: tuple(known.get(i, f"[{i}]") for i in ids)
