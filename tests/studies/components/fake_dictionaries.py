"""Tables of the dictionaries part as if it had been run: deterministic, small, planted numbers.

The story: TopK finds what is planted, L1 at four directions per dimension does not; latents say
what governs the next token better than untrained ones, and not what the topic is.
"""

from __future__ import annotations

from fake_tables import frame
from zscope.studies.components.dictionaries.tables import (
    ALL_MODELS,
    DICTIONARIES_CAUSAL,
    DICTIONARIES_CURVES,
    DICTIONARIES_FEATURES,
    DICTIONARIES_MATCHES,
    DICTIONARIES_PLANTED,
    DICTIONARIES_QK,
    DICTIONARIES_TEXT,
    DICTIONARIES_VERDICTS,
)

SUBJECTS = ("toylang/reference", "toylang/softmax")
CONDITIONS = {"ratio 1": 1, "ratio 2": 2, "ratio 4": 4, "correlated": 2}
VARIANTS = ("l1", "topk", "jump_relu")
GROUPS = ("token", "previous", "bracket", "topic", "governs", "output", "rare")
PRIMITIVES = ("induction", "skip", "bracket", "category", "all")


def around(value, by=0.02):
    return {"value": value, "ci_low": value - by, "ci_high": value + by}


def planted_rows(seeds):
    for condition, ratio in CONDITIONS.items():
        for i, variant in enumerate(VARIANTS):
            for seed in seeds:
                good = 0.98 - 0.06 * ratio * (variant == "l1") - 0.01 * seed
                key = {"condition": condition, "variant": variant, "strength": 2.0 + i}
                null = {"null": 0.45, "null_low": 0.43, "null_high": 0.47}
                for metric, value in (
                    ("mmcs", good),
                    ("one_to_one", good - 0.02),
                    ("share_close", good**3),
                    ("f1", good - 0.1),
                    ("f1_probe", 0.95),
                ):
                    band = null if metric in ("mmcs", "one_to_one") else {"null": 0.2}
                    yield {**key, "seed": seed, "metric": metric, **around(value), **band, "n": 32}


def match_rows(seeds):
    for condition in CONDITIONS:
        for i, variant in enumerate(VARIANTS):
            for seed in seeds:
                key = {"condition": condition, "variant": variant, "strength": 2.0 + i}
                for direction in ("truth", "latent"):
                    for b in range(20):
                        value = 0.8 - 0.1 * i if b == 19 else 0.02 * (b == 9 + i)
                        null = 0.25 if 7 <= b < 11 else 0.0
                        place = {"direction": direction, "cosine": b / 20}
                        yield {**key, "seed": seed, **place, "value": value, "null": null, "n": 64}


def curve_rows(models):
    for subject, model in models:
        for layer in (0, 1, 2):
            for i, variant in enumerate(VARIANTS if layer == 1 else ("topk",)):
                for strength in (2.0, 8.0, 32.0):
                    key = {"subject": subject, "model": model, "layer": layer, "of": "trained"}
                    key |= {"variant": variant, "strength": strength, "seed": 0}
                    l0 = strength * (1 + 0.2 * i)
                    for metric, value in (
                        ("l0", l0),
                        ("fvu", 0.1 * (1 + layer + i) / l0),
                        ("dead", 0.4 / l0),
                    ):
                        yield {**key, "metric": metric, **around(value, 0.003), "n": 40}


def feature_rows(models):
    for subject, model in models:
        for g, group in enumerate(GROUPS):
            for b, basis in enumerate(("dictionary", "untrained", "random", "neurons")):
                for k in (1, 2, 5, 16):
                    value = 0.2 + 0.03 * k**0.5 - 0.02 * b + 0.05 * g
                    yield feature(subject, model, basis, k, group, value)
            for basis, value in (("probe", 0.4 + 0.05 * g), ("probe_untrained", 0.3 + 0.05 * g)):
                yield feature(subject, model, basis, 0, group, value)


def feature(subject, model, basis, k, group, value):
    return {
        **{"subject": subject, "model": model, "layer": 1, "basis": basis, "seed": 0, "k": k},
        **{"group": group, "metric": "f1", **around(value), "base_rate": 0.1, "labels": 4},
        "n": 40,
    }


def causal_rows(models):
    for subject, model in models:
        for p, primitive in enumerate(PRIMITIVES):
            for replaced, value in (("dictionary", 0.003), ("random", 0.08), ("mean", 2.0)):
                key = {"subject": subject, "model": model, "layer": 1, "replaced": replaced}
                value = value * (1 + p)
                row = {"primitive": primitive, "metric": "rise", **around(value, value / 5)}
                yield {**key, "seed": 0, **row, "n": 100}


def verdict_rows(models):
    words = {"governs": "found", "topic": "cannot be told", "rare": "varies between trainings"}
    for subject in {s: None for s, _ in models}:
        every = [m for s, m in models if s == subject]
        for g, group in enumerate(GROUPS):
            for i, model in enumerate((*every, ALL_MODELS)):
                whole = model == ALL_MODELS
                f1 = 0.35 + 0.05 * g + 0.01 * i
                tests = dict.fromkeys(("p", "p_least", "rank_p", "detectable"), None)
                yield {
                    **{"subject": subject, "model": model, "group": group, **around(0.05)},
                    **{"verdict": words.get(group, "not found"), "f1": f1, "untrained": f1 - 0.05},
                    **{"random": f1 - 0.1, "probe": f1 + 0.25, "probe_untrained": f1 + 0.1},
                    **{"there": True, "draws": 40, "labels": 4, "n": 40},
                    **(tests if whole else dict.fromkeys(tests, 0.01)),
                }


def text_rows():
    key = {"subject": "smollm2", "layer": 15, "variant": "topk", "n": 6}
    yield {**key, "replaced": "nothing", "strength": 0.0, "metric": "loss", **around(3.5, 0.2)}
    yield {**key, "replaced": "mean", "strength": 0.0, "metric": "rise", **around(5.0, 0.4)}
    for strength in (8.0, 32.0, 128.0):
        of = {**key, "replaced": "dictionary", "strength": strength}
        yield {**of, "metric": "l0", **around(strength, 0)}
        yield {**of, "metric": "fvu", **around(1.4 / strength**0.35)}
        yield {**of, "metric": "dead", **around(0.9 / strength**0.5)}
        yield {**of, "metric": "rise", **around(4 / strength**0.5, 0.1)}
        random = {**key, "replaced": "random", "strength": strength, "metric": "rise"}
        yield {**random, **around(6 / strength**0.4, 0.1)}


def qk_rows(models):
    for subject, model in models:
        if subject != SUBJECTS[1]:
            continue
        key = {"subject": subject, "model": model, "layer": 1, "head": 2, "score": 0.9, "n": 64}
        yield {**key, "training": "uniform", "width": 0, "codes": 0.0, **around(1.5)}
        for width in (1, 4):
            for i, training in enumerate(("joint", "joint_alone", "separate", "random")):
                for codes in (1.0, 2.0, 4.0, 8.0):
                    value = 0.5 * (1 + i) / codes / width
                    row = {"training": training, "width": width, "codes": codes}
                    yield {**key, **row, **around(value, value / 4)}


def dictionaries_tables(seeds=(0, 1, 2)):
    """Frames by the name of their table; seeds: of trainings and of dictionaries."""
    models = [(s, f"{s.partition('/')[2]}-s{i}") for s in SUBJECTS for i in seeds]
    rows = {
        DICTIONARIES_PLANTED: planted_rows(seeds),
        DICTIONARIES_MATCHES: match_rows(seeds),
        DICTIONARIES_CURVES: curve_rows(models),
        DICTIONARIES_FEATURES: feature_rows(models),
        DICTIONARIES_CAUSAL: causal_rows(models),
        DICTIONARIES_VERDICTS: verdict_rows(models),
        DICTIONARIES_TEXT: text_rows(),
        DICTIONARIES_QK: qk_rows(models),
    }
    return {table.name: frame(table, found) for table, found in rows.items()}
