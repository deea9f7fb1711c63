"""Every question of the study, for one model: table crosslingual_summary."""

from __future__ import annotations

from typing import Any

from zscope.studies.crosslingual.questions import fitted, observed, patched
from zscope.studies.crosslingual.questions.evidence import Evidence


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
        patched.is_necessary(evidence),
        observed.z_dominated_layer(evidence),
        ard,
        fitted.bridge_is_linear(evidence, succeeded),
        fitted.bridge_is_orthogonal(evidence, succeeded),
    ]
