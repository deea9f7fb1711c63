"""How the figures of attribution show methods and nodes."""

from __future__ import annotations

import pandas as pd

from zscope.figures import style
from zscope.studies.components.attribution.methods import METHODS, NAMES

COLOURS = {
    "atp": style.VERMILLION,
    "atp_qk": style.BLUE,
    "graddrop": style.ORANGE,
    "graddrop_all": style.PURPLE,
    "ig": style.GREEN,
}
KINDS = ("q", "k", "v", "z")


def methods_in(rows: pd.DataFrame) -> list[str]:
    return [m for m in METHODS if m in set(rows["method"])]


def names(methods: list[str]) -> dict[str, str]:
    """The colour of each method, by the name that figures give it."""
    return {NAMES[m]: COLOURS[m] for m in methods}


def subjects_in(rows: pd.DataFrame) -> list[str]:
    return [str(s) for s in rows["subject"].unique()]
