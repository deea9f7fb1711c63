"""Tables of what heads do part by part, as if it had been measured: small, planted numbers.

The story: L0H1 carries what its layer takes from the token before, and the induction head L1H2
needs it. L1H0 moves names, L1H3 inhibits the subject, L1H5 suppresses copies.
"""

from __future__ import annotations

import numpy as np

from fake_tables import frame
from zscope.studies.heads.tables import (
    ABLATED,
    ALL_KEYS,
    CHANGE,
    CLEAN,
    CONDITION_ATTENTION,
    IOI,
    LAYER_OFFSETS,
    MOVED,
    OFFSETS,
    REDUNDANCY,
    UNDER_ABLATION,
)

SUBJECT = "toylang/reference"
BEST = (0, 1)
ROLES = {(1, 0): "name_mover", (1, 3): "s_inhibition", (1, 5): "copy_suppression"}


def around(name: str, value: float, reach: float = 0.05) -> dict[str, float]:
    """A measurement with its interval; `value` has the interval without a name."""
    prefix = "" if name == "value" else f"{name}_"
    return {name: value, f"{prefix}ci_low": value - reach, f"{prefix}ci_high": value + reach}


def offset_rows(models, n_layers=2, n_heads=8):
    for model in models:
        for layer, head, d in np.ndindex(n_layers, n_heads, 5):
            value = 0.7 if ((layer, head), d) == (BEST, 1) else 0.02 * head - 0.05 * d
            where = {"subject": SUBJECT, "model": model, "layer": layer, "head": head}
            yield {**where, "offset": d, **around("value", value), "n": 48}


def layer_offset_rows(models, n_layers=2):
    for model in models:
        for layer, d in np.ndindex(n_layers, 5):
            where = {"subject": SUBJECT, "model": model, "layer": layer, "offset": d}
            yield {**where, **around("value", 0.5 / (1 + d + layer)), "n": 48}


def redundancy_rows(models):
    for model in models:
        for d in range(3):
            where = {"subject": SUBJECT, "model": model, "layer": BEST[0], "head": BEST[1]}
            yield {
                **{**where, "offset": d, "beside": 0.01, "n": 48},
                **around("value", [0.1, 0.8, None][d] or 0.0),
                **around("alone", [0.2, 0.5, 0.0][d]),
                **({"value": None, "ci_low": None, "ci_high": None} if d == 2 else {}),
            }


def under_ablation_rows(models, n_heads=8):
    for model in models:
        for ablated in range(n_heads):
            value = 0.3 if (0, ablated) == BEST else 0.88 - 0.01 * ablated
            yield {
                **{"subject": SUBJECT, "model": model, "detector": "induction", "layer": 1},
                **{"head": 2, "token_class": "object", "ablated_layer": 0, "ablated_head": ablated},
                **{"exact": ablated < 5, **around("value", value), **around("clean", 0.9)},
                **{**around("change", value - 0.9), "rows": 120.0, "n": 48},
            }


def ioi_rows(models, n_layers=2, n_heads=8):
    for model in models:
        for layer, head in np.ndindex(n_layers, n_heads):
            role = ROLES.get((layer, head), "")
            direct = {"name_mover": -0.8, "copy_suppression": 0.5}.get(role, 0.01 * (head - 4))
            indirect = {"name_mover": 0.6, "s_inhibition": -1.5}.get(role, 0.01 * head)
            yield {
                **{"subject": SUBJECT, "model": model, "layer": layer, "head": head},
                **{x: x == role for x in ("name_mover", "s_inhibition", "copy_suppression")},
                **{"protocol_verdict": head == 1, "exact": bool(role)},
                **around("direct", direct),
                **around("indirect", indirect),
                **around("total", direct + indirect),
                **{"direct_q": 0.01 if role else 0.8, "indirect_q": 0.01 if role else 0.8},
                **{k: v for x in ("io", "s1", "s2", "abc") for k, v in around(x, 0.2).items()},
                **{k: v for x in ("copying", "suppression") for k, v in around(x, 0.1).items()},
                **{"abc_score_low": 0.2, "chance": 0.025, "raw_copy": 0.3, "n": 36},
            }


def condition_attention_rows(models, n_layers=2):
    """Without L0H1, layer 1 looks less at the token before, and more at the first."""
    kept = {"first": 0.3, "t-2": 0.1, "t-1": 0.5, "t-0": 0.1}
    change = {"first": 0.2, "t-2": 0.05, "t-1": -0.3, "t-0": 0.05}
    conditions = {
        "head-L0H1-mean": "L0H1, mean",
        "set-previous-mean": "the heads of previous, mean",
    }
    model = next(iter(models), None)
    for condition, label in conditions.items() if model else ():
        where = {"subject": SUBJECT, "model": model, "prompts": "crafted", "condition": condition}
        where |= {"label": label, "layer": n_layers - 1, "n": 40}
        for keys, clean in kept.items():
            offset = int(keys[2:]) if keys.startswith("t-") else None
            values = {CLEAN: clean, ABLATED: clean + change[keys], CHANGE: change[keys]}
            for metric, value in values.items():
                of = {"keys": keys, "offset": offset, "metric": metric}
                yield {**where, **of, **around("value", value)}
        yield {**where, "keys": ALL_KEYS, "offset": None, "metric": MOVED, **around("value", 0.3)}


def tables(models):
    made = {
        OFFSETS: offset_rows,
        LAYER_OFFSETS: layer_offset_rows,
        REDUNDANCY: redundancy_rows,
        UNDER_ABLATION: under_ablation_rows,
        IOI: ioi_rows,
        CONDITION_ATTENTION: condition_attention_rows,
    }
    return {table.name: frame(table, rows(models)) for table, rows in made.items()}
