"""Heads that the weights name, and other sets like them, in the table of ablations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from zscope.figures.frames import numbers, select
from zscope.studies.toylang.head_sets import count_sets, heads_per_layer
from zscope.verdicts import p_over_ranks

NAMED_FOR = {"induction": "induction", "rules": "skip", "suppression": "suppress"}
"""The primitive that the heads named for each reason should carry."""


def others_like(rows: pd.DataFrame, chosen_by: str) -> pd.DataFrame:
    """The ablated sets with as many heads in each layer as the named set of their run, without that
    set itself: random ones, single heads, and those that are named for something else."""
    run = ["condition", "seed"]
    named = select(rows, chosen_by=chosen_by).drop_duplicates(run)
    sets = named.set_index(run)["heads"].to_dict()
    layers = {key: heads_per_layer(heads) for key, heads in sets.items()}
    heads = zip(rows["condition"], rows["seed"], rows["heads"], strict=True)
    like = [h != sets.get((c, s)) and heads_per_layer(h) == layers.get((c, s)) for c, s, h in heads]
    return rows[np.array(like, dtype=bool)].drop_duplicates([*run, "heads", "primitive", "metric"])


@dataclass(frozen=True)
class Rank:
    """Where the change by a named set lies among those by the other sets of the same layers.

    Attributes:
        change: of the excess of the primitive that the set is named for, in nats.
        hits: other sets that change it as much, or more.
        others: other sets that were ablated.
        possible: other sets that there are.
    """

    change: float
    hits: int
    others: int
    possible: int

    @property
    def p(self) -> float:
        """Exact if all sets were ablated, else that of so many draws (Phipson and Smyth 2010)."""
        return (1 + self.hits) / (1 + self.others)


def rank_of_named(rows: pd.DataFrame, chosen_by: str, n_heads: int) -> Rank | None:
    """The rank for the own primitive in one run; None without a named set, or without another one.

    rows: of one run, of the metric `change`. n_heads: of a layer.
    """
    rows = select(rows, primitive=NAMED_FOR[chosen_by])
    named = select(rows, chosen_by=chosen_by)
    others = numbers(others_like(rows, chosen_by)["value"])
    if named.empty or not len(others):
        return None
    change = float(named["value"].iloc[0])
    possible = count_sets(heads_per_layer(str(named["heads"].iloc[0])).values(), n_heads) - 1
    return Rank(change, int((others >= change).sum()), len(others), possible)


def p_over_runs(ranks: Iterable[Rank]) -> tuple[float, float]:
    """p value of the ranks of several runs together, and the smallest that so many sets allow.

    The weights and batches of runs have seeds of their own, so their ranks are independent.
    """
    return p_over_ranks((rank.hits, rank.others) for rank in ranks)
