"""The table of letters as if it had been made: labels in order teach the letter of the position."""

from __future__ import annotations

import numpy as np

from fake_tables import frame
from zscope.studies.components.letters.tables import READOUTS


def rows(seeds):
    for permuted, seed in ((p, s) for p in (0.0, 1.0) for s in range(seeds)):
        for tested in ("in order", "permuted"):
            of = {"permuted": permuted, "seed": seed, "tested": tested, "n": 500}
            right = 1.0 if tested == "in order" or permuted else 0.3
            place = 1.0 if tested == "in order" else 0.4 * (1 - permuted)
            for metric, value in (("label", right), ("letter_of_position", place)):
                yield of | measured(metric, value, 0.25)
            for layer, head in np.ndindex(2, 2):
                at = {"layer": layer, "head": head}
                yield of | measured("attention_label", 0.1 + 0.02 * head, 0.1) | at
                yield of | measured("attention_content", 0.3 + 0.2 * layer, 0.05) | at


def measured(metric, value, null):
    ends = {"ci_low": max(value - 0.03, 0), "ci_high": min(value + 0.03, 1)}
    return {"metric": metric, "value": value, "null": null, **ends}


def letters_tables(models=3, level=0.95):
    """Frames by the name of their table; models: seeds of each condition."""
    return {READOUTS.name: frame(READOUTS, rows(models))}
