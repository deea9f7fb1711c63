"""Prompts as tokens: those of the examples that all share, and those of each problem's query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

from zscope.core.errors import DataError
from zscope.models.language_model import LanguageModel
from zscope.studies.crosslingual.problems.parallel import Language, Problem


@dataclass(frozen=True, eq=False)
class PromptTokens:
    """Whole prompts as tokens, padded on the left.

    ids, mask: of the examples and the query. n_examples: real tokens of each row that are its
    examples, which are the same in all rows; 0 without examples.
    """

    ids: Int[Tensor, "batch seq"]
    mask: Int[Tensor, "batch seq"]
    n_examples: int

    @property
    def query_mask(self) -> Int[Tensor, "batch seq"]:
        """The mask of the queries' tokens alone."""
        return self.mask * (self.mask.cumsum(1) > self.n_examples)

    def without_examples(self) -> tuple[Int[Tensor, "batch query"], Int[Tensor, "batch query"]]:
        """ids and mask of the queries, padded on the left; a row's examples become padding."""
        return self.ids[:, self.n_examples :], self.query_mask[:, self.n_examples :]


def encode_prompts(lm: LanguageModel, examples: str, queries: Sequence[str]) -> PromptTokens:
    """The prompts `examples` + query, each as the model's tokenizer reads it whole.

    Raises DataError if a tokenizer joins the end of the examples with a query, so that no token
    lies between them, or as `LanguageModel.encode`.
    """
    ids, mask = lm.encode([examples + query for query in queries])
    if not examples:
        return PromptTokens(ids, mask, 0)
    shared = lm.encode([examples])[0][0]
    n = len(shared)
    for query, row, used in zip(queries, ids, mask.bool(), strict=True):
        own = row[used]
        if len(own) <= n or not bool((own[:n] == shared).all()):
            raise DataError(
                f"the tokenizer of {lm.name} has no border between the examples and the question "
                f"{query[:60]!r}: the examples cannot be shared, so take another problems.source"
            )
    return PromptTokens(ids, mask, n)


def shared_examples(problems: Sequence[Problem], language: Language) -> str:
    """The examples in front of all these problems. Raises DataError if they differ."""
    found = {p.examples(language) for p in problems}
    if len(found) > 1:
        raise DataError("problems that are run together must have the same examples in front")
    return found.pop() if found else ""
