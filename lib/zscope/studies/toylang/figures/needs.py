"""The figures of the toy language study, and which tables each is drawn from. No matplotlib."""

from __future__ import annotations

from typing import Literal

ToylangFigure = Literal[
    "floors",
    "learning",
    "onsets",
    "dependency",
    "models",
    "direct",
    "skip",
    "search",
    "window",
    "induction",
    "suppression_weights",
    "timeline",
    "ablations",
    "degrees",
    "suppression",
    "error_correction",
    "reuse",
    "dashboard",
]

NEEDS: dict[ToylangFigure, tuple[str, ...]] = {
    "floors": ("toylang_floors",),
    "learning": ("toylang_training",),
    "onsets": ("toylang_onsets", "toylang_onset_summary"),
    "dependency": ("toylang_comparisons", "toylang_onsets"),
    "models": ("toylang_comparisons", "toylang_onsets", "toylang_training"),
    "direct": ("toylang_matrices", "toylang_readouts"),
    "skip": ("toylang_matrices", "toylang_rules"),
    "search": ("toylang_search", "toylang_readouts"),
    "window": ("toylang_matrices", "toylang_readouts"),
    "induction": ("toylang_matrices", "toylang_readouts", "toylang_training"),
    "suppression_weights": ("toylang_matrices", "toylang_readouts"),
    "timeline": ("toylang_readouts", "toylang_training"),
    "ablations": ("toylang_ablations",),
    "degrees": ("toylang_degrees",),
    "suppression": ("toylang_phenomena",),
    "error_correction": ("toylang_phenomena",),
    "reuse": ("toylang_phenomena",),
    "dashboard": (
        "toylang_training",
        "toylang_onsets",
        "toylang_onset_summary",
        "toylang_matrices",
        "toylang_readouts",
        "toylang_ablations",
        "toylang_summary",
    ),
}
