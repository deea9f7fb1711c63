"""The verdict on each detector of a model, and over the models of a subject. No torch.

    yes                      the named heads together hurt the detector's own behaviour more than
                             random sets of as many heads in the same layers (rank among the draws,
                             Holm over the detectors that name heads), and more than the control
    pattern only             heads are named, and that is not so
    effect without pattern   none is named, and the heads that the screen ranks first pass both
                             tests, against random sets of all layers
    none                     none is named, and these do not pass
    skipped                  the detector does not apply
    cannot be told           no outcome could have reached alpha, with so few sets; or no head
                             could have been named, with so few sequences

Over models it is their common word, else that it varies. Where a layer has so few heads that one
model cannot reach alpha, the ranks of all models are tested together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd

from zscope.figures.frames import select
from zscope.stats import finite, holm
from zscope.studies.heads.tables import (
    ALL_MODELS,
    EFFECT_ONLY,
    LESS,
    NONE,
    OUTSIDE,
    PATTERN_ONLY,
    RANKED,
    SET,
    SKIPPED,
    THEMSELVES,
    YES,
)
from zscope.tables.schema import Row
from zscope.verdicts import UNKNOWN, Answer, DrawTest, over_trainings, p_over_ranks, tally

_NO_SETS = "no set of as many heads in these layers could have reached alpha"
_NO_NAMES = "with so few sequences and sign flips no head could have been named"
_NO_OTHERS = "whether other heads matter cannot be told: too few sets of as many heads"
_EMPTY: Mapping[str, Any] = {
    **dict.fromkeys(("behaviour", "value", "ci_low", "ci_high", "control", "control_low")),
    **dict.fromkeys(("draws", "hits", "p", "p_holm", "least_p")),
    **dict.fromkeys(("outside_value", "outside_p_holm", "reason", "tally", "protocol_heads")),
    **{"heads": "", "outside": ""},
}


class SetTest(NamedTuple):
    """A set of heads among random ones.

    behaviour: its detector's own. value, low, high: the effect on it. control: that on the control.
    beyond: lower end of the difference. planned: random sets that there would have been, had
    drawing not stopped.
    """

    heads: str
    behaviour: str
    value: float
    low: float
    high: float
    control: float
    beyond: float
    rank: DrawTest
    planned: int

    def passes(self, p_holm: float, alpha: float) -> bool:
        return self.value > 0 and p_holm < alpha and self.beyond > 0


def verdict_rows(
    scores: pd.DataFrame,
    detectors: pd.DataFrame,
    ablations: pd.DataFrame,
    *,
    draws: int,
    alpha: float,
) -> Iterator[Row]:
    """Rows of table heads_verdicts: of each model, then of each subject.

    scores, detectors, ablations: tables of these names. draws: most random sets, as in the config.
    """
    for subject, of_subject in detectors.groupby("subject", sort=False):
        rows: list[Row] = []
        for model, applied in of_subject.groupby("model", sort=False):
            found = _of_model(
                select(scores, model=model), applied, select(ablations, model=model), draws, alpha
            )
            rows += ({"subject": subject, "model": model, **row} for row in found)
        yield from rows
        yield from _over_models(str(subject), pd.DataFrame(rows), alpha)


def _of_model(
    scores: pd.DataFrame, applied: pd.DataFrame, ablations: pd.DataFrame, draws: int, alpha: float
) -> Iterator[Row]:
    names = [
        d
        for d, skipped in zip(applied["detector"], applied["skipped"], strict=True)
        if pd.isna(skipped)
    ]
    tests = {by: _tests(ablations, by, names, draws) for by in (SET, OUTSIDE)}
    p_holm = {by: _holm({d: t.rank.p for d, t in found.items()}) for by, found in tests.items()}
    for detector, skipped in zip(applied["detector"], applied["skipped"], strict=True):
        row = {**_EMPTY, "detector": detector}
        if not pd.isna(skipped):
            yield {**row, "verdict": SKIPPED, "reason": str(skipped)}
            continue
        row["protocol_heads"] = _protocol_heads(select(scores, detector=detector))
        if (named := tests[SET].get(detector)) is not None:
            p = p_holm[SET][detector]
            least = min(1.0, len(tests[SET]) / (1 + named.planned))
            row |= _columns(named, p, least)
            if least >= alpha:
                yield {**row, "verdict": UNKNOWN, "reason": _NO_SETS}
            else:
                yield {**row, "verdict": YES if named.passes(p, alpha) else PATTERN_ONLY}
            continue
        outside, p = tests[OUTSIDE].get(detector), p_holm[OUTSIDE].get(detector, np.nan)
        passes = outside is not None and outside.passes(p, alpha)
        if outside is not None:
            row |= {"outside": outside.heads, "outside_value": outside.value, "outside_p_holm": p}
            row |= {"behaviour": outside.behaviour}
            if len(tests[OUTSIDE]) / (1 + outside.planned) >= alpha:
                row["reason"] = _NO_OTHERS
        asked = select(scores, detector=detector)
        if not asked["reachable"].astype(bool).all():
            yield {**row, "verdict": UNKNOWN, "reason": _NO_NAMES}
        else:
            yield {**row, "verdict": EFFECT_ONLY if passes else NONE}


def _protocol_heads(scores: pd.DataFrame) -> int | None:
    """Heads that the original protocol names; None where it has no number."""
    known = scores[scores["protocol_value"].notna()]
    if known.empty:
        return None
    return len(
        known.loc[known["protocol_verdict"].astype(bool), ["layer", "head"]].drop_duplicates()
    )


def _tests(
    ablations: pd.DataFrame, by: str, detectors: Sequence[str], draws: int
) -> dict[str, SetTest]:
    found = {}
    for detector in detectors:
        rows = select(ablations, chosen_by=by, detector=detector)
        if rows.empty:
            continue
        themselves, others = select(rows, draw=THEMSELVES), rows[rows["draw"] >= 0]
        behaviours = themselves.set_index("behaviour")
        difference = next(b for b in behaviours.index if LESS in b)
        own, _, control = difference.partition(LESS)
        value = float(behaviours.loc[own, "value"])
        ranked = float(select(rows, draw=RANKED)["value"].iloc[0])
        hits = int((others["value"] >= ranked - 1e-12).sum())
        found[detector] = SetTest(
            str(behaviours.loc[own, "heads"]),
            own,
            value,
            float(behaviours.loc[own, "ci_low"]),
            float(behaviours.loc[own, "ci_high"]),
            float(behaviours.loc[control, "value"]),
            float(behaviours.loc[difference, "ci_low"]),
            DrawTest(hits, len(others)),
            min(draws, int(behaviours.loc[own, "possible"])),
        )
    return found


def _holm(p: Mapping[str, float]) -> dict[str, float]:
    if not p:
        return {}
    return dict(zip(p, map(float, holm(np.array(list(p.values())))), strict=True))


def _columns(test: SetTest, p_holm: float, least: float) -> dict[str, Any]:
    return {
        "heads": test.heads,
        "behaviour": test.behaviour,
        "value": test.value,
        "ci_low": finite(test.low),
        "ci_high": finite(test.high),
        "control": test.control,
        "control_low": finite(test.beyond),
        "draws": test.rank.draws,
        "hits": test.rank.hits,
        "p": test.rank.p,
        "p_holm": p_holm,
        "least_p": least,
    }


def _over_models(subject: str, rows: pd.DataFrame, alpha: float) -> Iterator[Row]:
    by_detector = {str(name): of for name, of in rows.groupby("detector", sort=False)}
    pooled = {d: p_over_ranks(_ranks(of)) for d, of in by_detector.items() if _can_be_pooled(of)}
    p_holm = _holm({d: p for d, (p, _) in pooled.items()})
    for detector, of in by_detector.items():
        words = [str(word) for word in of["verdict"]]
        common = over_trainings(cast("list[Answer]", words))
        row = {**_EMPTY, "subject": subject, "model": ALL_MODELS, "detector": detector}
        row |= {"verdict": common, "tally": tally(cast("list[Answer]", words))}
        if common == SKIPPED:
            row["reason"] = of["reason"].iloc[0]
        if len(of) == 1:
            only = {str(k): v for k, v in of.iloc[0].items()}
            row |= {k: v for k, v in only.items() if k in _EMPTY and k != "tally"}
        elif detector in pooled:
            p, least = pooled[detector]
            least = min(1.0, least * len(pooled))
            row |= {"value": float(of["value"].mean()), "control": float(of["control"].mean())}
            row |= {"hits": int(of["hits"].sum()), "draws": int(of["draws"].sum())}
            row |= {"p": p, "p_holm": p_holm[detector], "least_p": least}
            row |= {"behaviour": of["behaviour"].iloc[0]}
            if least < alpha:
                beyond = (of["control_low"].astype(float) > 0).mean() > 0.5
                row["verdict"] = YES if p_holm[detector] < alpha and beyond else PATTERN_ONLY
        if row["verdict"] == UNKNOWN and len(of) > 1:
            row["reason"] = next((r for r in of["reason"] if not pd.isna(r)), None)
        yield row


def _can_be_pooled(rows: pd.DataFrame) -> bool:
    """Whether several models each have a named set that they alone cannot tell of."""
    told = (rows["verdict"] == UNKNOWN) & (rows["heads"] != "")
    return len(rows) > 1 and bool(told.all())


def _ranks(rows: pd.DataFrame) -> list[tuple[int, int]]:
    return [(int(h), int(n)) for h, n in zip(rows["hits"], rows["draws"], strict=True)]
