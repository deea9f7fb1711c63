"""Pairs of prompts as rows of tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zscope.studies.components.attribution.prompt_pairs import PrimitivePairs, PromptPair
from zscope.tables.schema import Row
from zscope.toy_language.vocabulary import ToyVocabulary


def primitive_rows(made: Sequence[PrimitivePairs]) -> Iterator[Row]:
    for of in made:
        yield {
            "primitive": of.primitive,
            "pairs": len(of.pairs),
            "tried": of.tried,
            "why": of.why,
        }


def pair_rows(pairs: Sequence[PromptPair], vocabulary: ToyVocabulary) -> Iterator[Row]:
    words = vocabulary.tokens
    for i, pair in enumerate(pairs):
        yield {
            "pair": i,
            "primitive": pair.primitive,
            "length": len(pair.clean),
            "edit": pair.edit,
            "prompt": vocabulary.decode(pair.clean),
            "token": words[pair.clean[pair.edit]],
            "edited": words[pair.corrupted[pair.edit]],
            "answer": words[pair.answer],
            "p_clean": pair.p_clean,
            "p_corrupted": pair.p_corrupted,
        }
