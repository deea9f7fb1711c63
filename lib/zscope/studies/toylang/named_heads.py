"""Heads that the weights name, and random sets like them, in the table of ablations."""

from __future__ import annotations

import re
from collections import Counter

import pandas as pd

from zscope.figures.frames import select

NAMED_FOR = {"induction": "induction", "rules": "skip", "suppression": "suppress"}
"""The primitive that the heads named for each reason should carry."""


def random_like(rows: pd.DataFrame, chosen_by: str) -> pd.DataFrame:
    """The random sets with as many heads in each layer as the named set of their run."""
    named = select(rows, chosen_by=chosen_by).drop_duplicates(["condition", "seed"])
    layers = named.set_index(["condition", "seed"])["heads"].map(_layers).to_dict()
    random = select(rows, chosen_by="random")
    runs = zip(random["condition"], random["seed"], random["heads"], strict=True)
    return random[[layers.get((c, s)) == _layers(heads) for c, s, heads in runs]]


def _layers(heads: str) -> Counter[str]:
    """How many heads of each layer: "L0H3+L1H1" has one in layer 0 and one in layer 1."""
    return Counter(re.findall(r"L(\d+)H", heads))
