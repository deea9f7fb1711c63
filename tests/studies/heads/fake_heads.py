"""Tables of the heads study as if it had been run: deterministic, small, planted numbers.

The story: head L1H2 is an induction head that the behaviour needs; L0H1 looks one token back and is
not needed; nothing looks for duplicates, but L0H0 matters.
"""

from __future__ import annotations

from importlib import import_module

import numpy as np

import fake_parts
from fake_tables import frame
from zscope.config.base import Bootstrap
from zscope.figures.registry import figure_modules
from zscope.figures.tables import Tables
from zscope.studies.heads.head_sets import heads_text
from zscope.studies.heads.onsets.times import OnsetRule, median_rows, onset_rows
from zscope.studies.heads.tables import (
    ABLATIONS,
    CHECKPOINTS,
    DETECTORS,
    LESS,
    ONSET_MEDIANS,
    ONSETS,
    PROFILES,
    RANKED,
    SCORES,
    SUMMARY,
    VERDICTS,
)
from zscope.studies.heads.verdicts import verdict_rows

SUBJECT = "toylang/reference"
DRAWS = 140
STREAMS = {"induction": "repeats", "previous": "text", "duplicate": "text", "successor": "ordinals"}
NAMED = {"induction": {(1, 2)}, "previous": {(0, 1)}}
OWN = {"induction": "repeats", "previous": "repeats", "duplicate": "repeats"}
MATTERS = {(1, 2): 2.0, (0, 0): 0.9}
"""What the ablation of a head costs; of all others nearly nothing."""
STEPS = (0, 1, 4, 8, 16, 32, 64, 128, 256, 512, 1000)


def score_rows(models, n_layers=2, n_heads=8):
    for model in models:
        for detector, stream in STREAMS.items():
            if detector == "successor":
                continue
            for layer, head in np.ndindex(n_layers, n_heads):
                named = (layer, head) in NAMED.get(detector, set())
                value = 0.8 if named else 0.02 * head - 0.05
                yield {
                    **{"subject": SUBJECT, "model": model, "detector": detector, "stream": stream},
                    **{"weights": "attention", "layer": layer, "head": head, "names": True},
                    **{"raw": 0.1 + 0.9 * max(value, 0), "null": 0.1, "value": value},
                    **{"ci_low": value - 0.05, "ci_high": value + 0.05, "p": 0.001},
                    **{"q": 0.001 if named else 0.9, "named": named, "named_by_class": False},
                    **{"protocol_value": value, "protocol_verdict": value > 0.3},
                    **{"reachable": True, "rows": 100.0, "n": 48},
                }


def position_rows(models, n_layers=2, n_heads=8):
    """L0H1 is positional; the first key is reported and names nobody, and contributes less."""
    of = {
        ("first", "attention"): 0.1,
        ("first", "contribution"): 0.04,
        ("positional", "attention"): 0.02,
    }
    for model in models:
        for (detector, weights), share in of.items():
            for layer, head in np.ndindex(n_layers, n_heads):
                named = detector == "positional" and (layer, head) == (0, 1)
                raw = 0.8 if named else share * (1 + head)
                yield {
                    **{"subject": SUBJECT, "model": model, "detector": detector, "stream": "text"},
                    **{"weights": weights, "layer": layer, "head": head, "raw": raw, "null": 0.1},
                    **{"value": (raw - 0.1) / 0.9, "ci_low": raw - 0.12, "ci_high": raw + 0.1},
                    **{"p": 0.001, "q": None, "named": named, "named_by_class": False},
                    **{"names": weights == "attention", "protocol_value": None},
                    **{"protocol_verdict": False, "reachable": True, "rows": 100.0, "n": 48},
                }


def profile_rows(models, n_layers=2, n_heads=8):
    """L0H1 looks one token back; the others evenly, or nearly so."""
    for model in models:
        for layer, head, d in np.ndindex(n_layers, n_heads, 5):
            value = 0.8 if (layer, head, d) == (0, 1, 1) else 0.1 + 0.01 * head - 0.01 * d
            yield {
                **{"subject": SUBJECT, "model": model, "stream": "text", "weights": "attention"},
                **{"layer": layer, "head": head, "offset": d, "value": value, "null": 0.1},
                **{"ci_low": value - 0.03, "ci_high": value + 0.03, "n": 48},
            }


def effect_row(model, detector, by, heads, value, behaviour="repeats", draw=-1, possible=None):
    return {
        **{"subject": SUBJECT, "model": model, "behaviour": behaviour, "chosen_by": by},
        **{"detector": detector, "draw": draw, "heads": heads_text(heads), "kind": "mean"},
        **{"value": value, "ci_low": value - 0.1, "ci_high": value + 0.1},
        **{"possible": possible, "n": 8},
    }


def set_rows(
    model,
    detector,
    heads,
    value,
    *,
    control=0.0,
    beyond=None,
    hits=0,
    draws=DRAWS,
    possible=1000,
    by="set",
):
    """The rows of one set: itself, its control, their difference, and random sets."""
    beyond = value - control - 0.1 if beyond is None else beyond
    common = {"possible": possible}
    yield effect_row(model, detector, by, heads, value, **common)
    yield effect_row(model, detector, by, heads, control, "text", **common)
    difference = f"repeats{LESS}text"
    row = effect_row(model, detector, by, heads, value - control, difference, **common)
    yield {**row, "ci_low": beyond}
    yield effect_row(model, detector, by, heads, value, draw=RANKED, **common)
    for draw in range(draws):
        of_draw = value + 1 if draw < hits else value - 1 - draw / 1000
        yield effect_row(model, detector, by, ((9, draw),), of_draw, draw=draw, **common)


def ablation_rows(models, n_layers=2, n_heads=8):
    for model in models:
        for layer, head in np.ndindex(n_layers, n_heads):
            value = MATTERS.get((layer, head), 0.01 * head)
            yield effect_row(model, "", "layer", ((layer, head),), value)
        for head in MATTERS:
            yield effect_row(model, "", "screen", (head,), MATTERS[head])
        for detector, named in NAMED.items():
            for head in named:
                yield effect_row(model, detector, "named", (head,), MATTERS.get(head, 0.01))
        yield effect_row(model, "", "random", ((1, 5),), 0.02)
        yield from set_rows(model, "induction", ((1, 2),), 2.0)
        yield from set_rows(model, "previous", ((0, 1),), 0.01, hits=60)
        outside = {"by": "outside", "beyond": 0.5}
        yield from set_rows(model, "duplicate", tuple(MATTERS), 2.9, **outside)


def detector_rows(models):
    for model in models:
        for detector in STREAMS:
            why = "no ordinal class" if detector == "successor" else None
            yield {"subject": SUBJECT, "model": model, "detector": detector, "skipped": why}


def checkpoint_rows(models):
    """Over steps: the pattern at 32, its effect at 128 (of L1H2 alone), the behaviour at 256."""
    for i, model in enumerate(models):
        for step in STEPS:
            pattern, effect, behaviour = (_risen(step, at + 3 * i) for at in (32, 128, 192))
            for detector in OWN:
                where = {"subject": SUBJECT, "model": model, "detector": detector, "step": step}

                def row(metric, by, value, heads="", like="", where=where, **columns):
                    ends = {"ci_low": value - 0.03, "ci_high": value + 0.03}
                    of = {"metric": metric, "chosen_by": by, "heads": heads, "like": like}
                    return {**where, **of, "value": value, **ends, "n": 64, **columns}

                yield row("excess", "model", 3.4 - 3.3 * behaviour)
                for layer, head in NAMED.get(detector, ()):
                    name = heads_text([(layer, head)])
                    yield row("score", "named", 0.8 * pattern, name, null=0.1)
                    for other in ("0", "5"):
                        value = 0.02 * int(other) - 0.05
                        yield row("score", "other", value, f"L{layer}H{other}", name, null=0.1)
                        yield row("effect", "random", value, f"L{layer}H{other}", name)
                    own = MATTERS.get((layer, head), 0.0) * effect
                    yield row("effect", "set", own, name)
                    yield row("effect_on_control", "set", 0.1 * own, name)


def _risen(step, at):
    """From 0 to 1, a half at a step."""
    return step**4 / (step**4 + at**4)


def study(models):
    """Every table, from planted scores and effects; verdicts and onsets are the study's own."""
    tables = {
        SCORES.name: frame(SCORES, [*score_rows(models), *position_rows(models)]),
        DETECTORS.name: frame(DETECTORS, detector_rows(models)),
        ABLATIONS.name: frame(ABLATIONS, ablation_rows(models)),
    }
    verdicts = list(verdict_rows(*tables.values(), draws=DRAWS, alpha=0.05))
    checkpoints = frame(CHECKPOINTS, checkpoint_rows(models))
    onsets = frame(ONSETS, onset_rows(checkpoints, OnsetRule(1 / 3, 0.1, 2)))
    medians = frame(ONSET_MEDIANS, median_rows(onsets, Bootstrap(resamples=100)))
    return {
        **tables,
        **{t.name: frame(t, verdicts) for t in (VERDICTS, SUMMARY)},
        CHECKPOINTS.name: checkpoints,
        ONSETS.name: onsets,
        ONSET_MEDIANS.name: medians,
        PROFILES.name: frame(PROFILES, profile_rows(models)),
        **fake_parts.tables(models),
    }


def figure_tables(level: float = 0.95) -> dict[str, dict[str, Tables]]:
    """Of every figure what it is drawn from: two models, one, and no rows."""
    cases = {"full": study(["reference-s0", "reference-s1"]), "one": study(["reference-s0"])}
    found: dict[str, dict[str, Tables]] = {}
    for name, module in figure_modules("heads").items():
        needs = import_module(module.module).NEEDS
        given = level if any(table.has_interval for table in needs) else None
        found[name] = {
            case: Tables({t.name: of[t.name] for t in needs}, given, {"subject": SUBJECT})
            for case, of in cases.items()
        }
        empty = {t.name: frame(t, []) for t in needs}
        found[name]["empty"] = Tables(empty, given, {"subject": SUBJECT})
    return found
