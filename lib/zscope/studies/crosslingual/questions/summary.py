"""Every question of the study: for one model (crosslingual_summary), and over all models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from zscope.studies.crosslingual.questions import fitted, observed, patched
from zscope.studies.crosslingual.questions.evidence import Evidence
from zscope.verdicts import over_trainings, tally


def summarise(evidence: Evidence) -> list[dict[str, Any]]:
    """Rows without the model, in the order of the study."""
    causal, ard = patched.is_causal(evidence), fitted.ard_finds_z(evidence)
    succeeded = any(row["protocol_verdict"] in ("yes", "partial") for row in (causal, ard))
    return [
        observed.solves_more_in_chinese(evidence),
        observed.heads_collapse(evidence),
        observed.ffn_avoids_z(evidence),
        observed.z_separates(evidence),
        observed.language_is_outside(evidence),
        causal,
        patched.carries_the_answer(evidence),
        patched.carries_the_answer_at_site(evidence),
        patched.is_necessary(evidence),
        observed.z_dominated_layer(evidence),
        ard,
        fitted.bridge_is_linear(evidence, succeeded),
        fitted.bridge_is_orthogonal(evidence, succeeded),
    ]


def over_models(summaries: pd.DataFrame, family_of: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Rows of crosslingual_verdicts, from crosslingual_summary of all models, in their order.

    family_of: the family of each model. Only models of one family are trainings alike, so that
    their verdicts are taken as one.
    """
    named = summaries.assign(family=[family_of[model] for model in summaries["model"]])
    for (family, question), rows in named.groupby(["family", "question"], sort=False):
        values = rows["value"].astype(float)
        out: dict[str, Any] = {"family": family, "question": question}
        out |= {"text": rows["text"].iloc[0]}
        for rule in ("protocol", "controlled"):
            answers = rows[f"{rule}_verdict"].to_list()
            out |= {f"{rule}_verdict": over_trainings(answers), f"{rule}_tally": tally(answers)}
        yield out | {"low": values.min(), "high": values.max(), "n_models": len(rows)}
