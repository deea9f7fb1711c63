"""Scores, exact effects and first-order effects of every head, side by side. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from zscope.figures.frames import select
from zscope.stats import finite
from zscope.studies.heads.head_sets import heads_text
from zscope.studies.heads.tables import LESS, OUTSIDE, SET
from zscope.tables.schema import Row

BESIDE = "without_first"
"""Weights that are never shown alone."""


def own_behaviours(ablations: pd.DataFrame) -> dict[str, str]:
    """The behaviour that each detector's heads should be needed for, where it was measured.

    ablations: table heads_ablations.
    """
    sets = ablations[ablations["chosen_by"].isin((SET, OUTSIDE))]
    differences = sets[sets["behaviour"].str.contains(LESS, regex=False)]
    pairs = zip(differences["detector"], differences["behaviour"], strict=True)
    return {str(detector): str(both).partition(LESS)[0] for detector, both in pairs}


def head_map_rows(
    scores: pd.DataFrame, detectors: pd.DataFrame, screen: pd.DataFrame, ablations: pd.DataFrame
) -> Iterator[Row]:
    """Rows of table heads_map: every head under every detector that may name it.

    scores, detectors, screen, ablations: tables of these names, of one model. Scores are those of
    the detector's first stream.
    """
    own = own_behaviours(ablations)
    for detector in detectors.loc[detectors["skipped"].isna(), "detector"]:
        rows = select(scores, detector=detector)
        if rows.empty:
            continue
        behaviour = own.get(detector)
        exact = _exact(ablations, behaviour)
        first_order = {
            (row["layer"], row["head"]): row["value"]
            for row in select(screen, behaviour=behaviour).to_dict("records")
        }
        kept = rows[(rows["stream"] == rows["stream"].iloc[0]) & (rows["weights"] != BESIDE)]
        for row in kept.to_dict("records"):
            head = int(row["layer"]), int(row["head"])
            yield {
                **{k: row[k] for k in ("subject", "model", "detector", "weights", "layer", "head")},
                **{k: _number(row[k]) for k in ("raw", "null", "ci_low", "ci_high", "q")},
                "score": _number(row["value"]),
                "named_by": _named_by(row),
                **exact.get(heads_text([head]), _NOT_RUN),
                "first_order": _number(first_order.get(head)),
                "n": int(row["n"]),
            }


_NOT_RUN: Mapping[str, Any] = dict.fromkeys(("effect", "effect_low", "effect_high"))


def _exact(ablations: pd.DataFrame, behaviour: str | None) -> dict[str, Mapping[str, Any]]:
    """Mean ablation of one head, by the head as text; each was measured once."""
    rows = select(ablations, kind="mean", behaviour=behaviour)
    single = rows[~rows["chosen_by"].isin((SET, OUTSIDE))]
    return {
        str(row["heads"]): {
            "effect": _number(row["value"]),
            "effect_low": _number(row["ci_low"]),
            "effect_high": _number(row["ci_high"]),
        }
        for row in single.to_dict("records")
    }


def _named_by(row: Mapping[Any, Any]) -> str | None:
    """All rows, or the class of query tokens in which the head scores best."""
    if row["named"]:
        return "all"
    return str(row["best_class"]) if row["named_by_class"] else None


def _number(value: Any) -> float | None:
    return None if pd.isna(value) else finite(float(value))
