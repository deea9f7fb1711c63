"""What the map of heads says of each detector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

from zscope.figures.frames import select
from zscope.studies.heads.head_map_rows import own_behaviours
from zscope.studies.heads.pages.head_map import DetectorText
from zscope.studies.heads.tables import ALL_MODELS, SKIPPED

_NO_WEIGHTS = "attention"  # of a detector that was skipped


def detector_texts(
    heads: pd.DataFrame,
    ablations: pd.DataFrame,
    verdicts: pd.DataFrame,
    asks: Mapping[str, str],
) -> list[DetectorText]:
    """One for each detector and kind of weights, those that name heads first.

    heads, ablations, verdicts: tables heads_map, heads_ablations and heads_verdicts of the subject;
    the word is the one over all models. asks: by detector, in its order.
    """
    return [text for name in asks for text in _texts(name, heads, ablations, verdicts, asks)]


def _texts(
    detector: str,
    heads: pd.DataFrame,
    ablations: pd.DataFrame,
    verdicts: pd.DataFrame,
    asks: Mapping[str, str],
) -> Iterator[DetectorText]:
    mine = select(verdicts, detector=detector)
    words = reason = ""
    for over in select(mine, model=ALL_MODELS).to_dict("records"):
        # All models, and each of them, have a row.
        words = f"{over['verdict']} ({over['tally']})" if len(mine) > 2 else str(over["verdict"])
        reason = str(over["reason"]) if over["verdict"] == SKIPPED else ""
    behaviour = own_behaviours(ablations).get(detector)
    effect = (
        "no ablation was measured for this detector."
        if behaviour is None
        else f"mean ablation of the head alone, on its behaviour: {behaviour}."
    )
    kinds = list(select(heads, detector=detector)["weights"].unique()) or [_NO_WEIGHTS]
    for weights in kinds:
        label = f"{detector} \u00b7 {weights}"
        yield DetectorText(detector, weights, label, asks[detector], effect, words, reason)
