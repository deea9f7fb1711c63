"""Tables of the cross-lingual study as if it had been run: deterministic, small, planted numbers.

The story is that of the protocol and its controls: patching Z changes answers and not the language,
and so do energy-matched spaces; only the site patch carries the source's answer. `tiny` has one
model per training seed, `real` one model of 36 layers that was not trained here.
"""

import math
import zlib
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from fake_tables import frame
from zscope.figures.registry import figure_modules
from zscope.figures.tables import Tables
from zscope.stats import wilson_interval
from zscope.studies.crosslingual import tables as declared_tables
from zscope.studies.crosslingual.accuracy import answer_rows
from zscope.studies.crosslingual.patching.matching import matched_on
from zscope.studies.crosslingual.patching.paired_tests import COMPARISONS, DRAWN
from zscope.studies.crosslingual.tables import TABLES
from zscope.verdicts import over_trainings, tally

CATEGORIES = ("add", "subtract", "double", "half", "sequence", "two_step")
KINDS = ("qk", "ov")
PENALTIES = (0.001, 0.01, 0.1)
INITS = ("zeros", "svd_z", "svd_random")
CAUSAL = "A. Is Z causal? Patching it changes answers, not the language"
NO_NULL = {"null": None, "null_mean": None, "null_low": None, "null_high": None, "draws": None}
DRAWS = 40
MATCHED = {
    "energy_input": ("layer input", 1.7),
    "energy_output": ("layer output", 1.5),
    "energy_own": ("input of Z's layer", 1.3),
}
# answer_changed, source_answer, correct, broken, language_switched with source mismatched.
RATES = {
    "z": (0.85, 0.06, 0.12, 0.03, 0.02),
    "energy": (0.80, 0.05, 0.15, 0.04, 0.04),
    "energy_perp": (0.50, 0.05, 0.35, 0.14, 0.40),
    "random": (0.20, 0.02, 0.78, 0.01, 0.01),
    "random_perp": (0.72, 0.06, 0.12, 0.15, 0.50),
    "z_perp": (0.35, 0.04, 0.45, 0.20, 0.50),
    "full": (0.92, 0.10, 0.05, 0.03, 0.90),
}
SITE = {"z": 0.30, "energy": 0.25, "energy_perp": 0.50, "z_perp": 0.45, "full": 0.90}
# Draws of a null that a verdict reads, and of the others.
N_DRAWS = {True: 40, False: 1}
Z_SHARE = 0.6


@dataclass(frozen=True)
class Study:
    """Sizes of a study."""

    models: tuple[str, ...]
    n_layers: int
    d: int
    layers: tuple[int, ...]
    sizes: tuple[int, ...]
    n_heads: int
    n: int


TINY = Study(("tiny-s0", "tiny-s1", "tiny-s2"), 4, 64, (2, 3), (16, 6), 4, 100)
REAL = Study(("qwen2.5-3b",), 36, 2048, (32, 33), (50, 20), 16, 24)


LEVEL = 0.95
FAMILY = "tiny"


def tiny(models=TINY.models, level=LEVEL):
    """The embedded model, one per training seed."""
    study = replace(TINY, models=models)
    return Tables(frames(study), level, declared(gate=0.95))


def real(level=LEVEL):
    """A model of the hub: one, with 36 layers, and no training."""
    return Tables(frames(REAL), level, declared(gate=None))


def empty(level=LEVEL):
    """No rows at all."""
    return Tables({t.name: frame(t, []) for t in TABLES}, level, declared(gate=0.95))


def of_figure(name, tables):
    """What the workflow gives to a figure: the tables that it needs, and the level of intervals."""
    needed = [getattr(declared_tables, n) for n in figure_modules("crosslingual")[name].needs]
    level = tables.level if any(t.has_interval for t in needed) else None
    return Tables({t.name: tables.frames[t.name] for t in needed}, level, tables.declared)


def figure_tables(level=LEVEL):
    """Every figure's tables of several models, of one, and without rows."""
    full, none = tiny(level=level), empty(level)
    one = {False: real(level), True: tiny(TINY.models[:1], level)}
    return {
        name: {
            "full": of_figure(name, full),
            "one": of_figure(name, one[name in ("training", "planted")]),
            "empty": of_figure(name, none),
        }
        for name in figure_modules("crosslingual")
    }


def declared(**changes):
    return {
        "layer": "0.5",
        "k": "0.5",
        "kind": "qk",
        "design": "mean",
        "source": "mismatched",
        "where": "prefill",
        "position_0": "exclude",
        "direction": "zh->en",
        "family": FAMILY,
    } | changes


def cell(study):
    return declared(layer=study.layers[-1], k=study.sizes[0])


def frames(study):
    """Every table that a figure is drawn from."""
    makers = {
        declared_tables.SIZES: sizes,
        declared_tables.TRAINING: training,
        declared_tables.ACCURACY: accuracy,
        declared_tables.RATES: rates,
        declared_tables.DRAWS: draws,
        declared_tables.TESTS: paired_tests,
        declared_tables.WEIGHTS: weights,
        declared_tables.GEOMETRY: geometry,
        declared_tables.UPDATES: updates,
        declared_tables.ARD: ard,
        declared_tables.ARD_HISTORY: ard_history,
        declared_tables.LENGTHSCALES: lengthscales,
        declared_tables.BRIDGE: bridge,
        declared_tables.SUMMARY: summary,
    }
    found = {
        table.name: frame(
            table,
            [{"model": model} | row for model in study.models for row in make(study, model)],
        )
        for table, make in makers.items()
    }
    seeds = range(min(3, len(study.models)))
    of_all = {
        declared_tables.PLANTED: planted(seeds),
        declared_tables.VERDICTS: verdicts(found["crosslingual_summary"]),
    }
    return found | {table.name: frame(table, list(rows)) for table, rows in of_all.items()}


def sizes(study, model):
    for size, values in (("layer", study.layers), ("k", study.sizes[::-1])):
        for given, value in zip(("0.1", "0.5"), values, strict=True):
            yield {"size": size, "given": given, "value": value}


def noise(name, scale=0.02):
    return float(np.random.default_rng(zlib.crc32(name.encode())).normal(0, scale))


def between(value, width):
    return {"value": value, "ci_low": value - width, "ci_high": value + width}


def null(name, mean, width, matched_on=None):
    return {
        "null": name,
        "null_mean": mean,
        "null_low": mean - width,
        "null_high": mean + width,
        "draws": None if name == "chance" else 200 if name == "permutation" else DRAWS,
        "matched_on": matched_on,
    }


def training(study, model):
    for step in range(0, 3601, 600) if study is not REAL else ():
        for language in ("en", "zh"):
            late = 0.9 if language == "zh" else 1.0
            common = {"step": step, "split": "held_out", "language": language, "n": 300}
            loss = 5.5 * math.exp(-step * late / 500) + 0.05 + abs(noise(f"{model}{language}"))
            yield common | {"metric": "loss", "value": loss}
        if step:
            common = {"step": step, "split": "train", "language": "both", "n": 1000}
            yield common | {"metric": "train_loss", "value": 5.4 * math.exp(-step / 500) + 0.04}


def accuracy(study, model):
    yield from answer_rows(pd.DataFrame(outputs(study, model)), LEVEL)
    for step in range(0, 3601, 600) if study is not REAL else ():
        for language, late in (("en", 1.0), ("zh", 0.9)):
            share = 0.97 * (1 - math.exp(-step * late / 700)) + noise(f"{model}{step}", 0.005)
            share = min(max(share, 0.0), 1.0)
            common = {"step": step, "language": language, "category": "all", "n": 300}
            yield common | {"metric": "exact_accuracy"} | between(share, 0.02)


def outputs(study, model):
    """Which answers are right: the columns that accuracy is counted from."""
    rng = np.random.default_rng(zlib.crc32(model.encode()))
    for i in range(study.n):
        for language, share in (("en", 0.97), ("zh", 0.93)):
            yield {
                "problem": f"p{i:03d}",
                "category": CATEGORIES[i % len(CATEGORIES)],
                "design": "none",
                "space": "none",
                "direction": f"->{language}",
                "correct": bool(rng.random() < share),
            }


def rates(study, model):
    for layer in study.layers:
        for direction in ("zh->en", "en->zh"):
            where = {"layer": layer, "position_0": "exclude", "direction": direction}
            for forced in ("none", "site_answer"):
                same = where | {"design": forced, "source": "none", "where": "none"}
                unpatched = {"correct": 1.0, "broken": 0.0}
                yield from _rate_rows(study, same | {"space": "none"}, unpatched)
    for same in conditions(study):
        for space in RATES:
            if space == "full" and same["k"] != study.sizes[0]:
                continue
            values = _values(study, model, same, space)
            if space == "full":
                same = same | {"k": None, "kind": None}
            yield from _rate_rows(study, same | {"space": space}, values)


def conditions(study):
    """Every patched condition, without its space."""
    designs = [
        ("mean", source, where)
        for source in ("matched", "mismatched", "own", "placebo", "mean")
        for where in ("prefill", "all")
    ]
    designs += [("site_answer", source, "prefill") for source in ("mismatched", "mean")]
    for layer in study.layers:
        for direction in ("zh->en", "en->zh"):
            for design, source, where in designs:
                for k in study.sizes:
                    yield {
                        "layer": layer,
                        "k": k,
                        "kind": "qk",
                        "design": design,
                        "source": source,
                        "where": where,
                        "position_0": "exclude",
                        "direction": direction,
                    }


def is_read_by_a_verdict(study, same, space):
    """In the declared cell, its mean ablation, and with its source at the answer's site."""
    read = {
        ("mean", "mismatched"): ("energy", "energy_perp"),
        ("mean", "mean"): ("energy", "random"),
        ("site_answer", "mismatched"): ("energy",),
    }
    own = cell(study)
    return all(same[c] == own[c] for c in ("layer", "k", "kind", "where", "direction")) and (
        space in read.get((same["design"], same["source"]), ())
    )


def _values(study, model, same, space):
    """The rate of every metric; the mean over the draws of a random space."""
    answers, source, right, broken, switched = RATES[space]
    if same["source"] == "placebo":
        answers, right = 0.9 * answers, 0.1
    if same["source"] == "matched":
        answers, right = 0.9 * answers, right + 0.05
    if same["where"] == "all":
        switched = min(1 - broken, 1.2 * switched)
    if same["design"] == "site_answer":
        source = SITE.get(space, 0.02)
    shift = noise(f"{model}{space}{same}", 0.03)
    answers = min(max(answers + shift, 0.0), 1 - broken)
    values = {
        "answer_changed": answers,
        "source_answer": min(max(source + shift, 0.0), answers),
        "correct": min(max(right - shift, 0.0), 1 - answers - broken),
        "broken": broken,
        "language_switched": switched,
    }
    if same["source"] != "mismatched":
        del values["source_answer"]
    return values


def _of_draws(study, model, same, space):
    """Rates of each draw, around `_values`."""
    n = N_DRAWS[is_read_by_a_verdict(study, same, space)]
    for metric, value in _values(study, model, same, space).items():
        rng = np.random.default_rng(zlib.crc32(f"{model}{same}{space}{metric}".encode()))
        spread = rng.normal(0, 0.08, n)
        yield metric, np.clip(value + spread - spread.mean(), 0, 1)


def _rate_rows(study, what, tested):
    values = dict(tested)
    if what["space"] != "none":
        broken = tested["broken"]
        values |= {
            "raw_answer_changed": tested["answer_changed"] + broken,
            "answer_kept": 1 - tested["answer_changed"] - broken,
            "raw_language_changed": tested["language_switched"] + broken,
            "language_kept": 1 - tested["language_switched"] - broken,
        }
    for stratum, n in strata(study):
        for metric, value in values.items():
            low, high = wilson_interval(min(max(value, 0.0), 1.0) * n, n, LEVEL)
            yield what | {
                "stratum": stratum,
                "metric": metric,
                "value": min(max(value, 0.0), 1.0),
                "ci_low": float(low),
                "ci_high": float(high),
                "n": n,
            }


def strata(study):
    n = study.n
    return (
        ("all", n),
        ("baseline_correct", round(0.95 * n)),
        ("both_correct", round(0.9 * n)),
    )


def _matching(same, space):
    """The columns that say what a space is matched on."""
    if not space.startswith("energy"):
        return {"matched_on": None}
    return {"matched_on": matched_on(same["design"], same["where"])}


def draws(study, model):
    for same in conditions(study):
        for space in DRAWN:
            if not is_read_by_a_verdict(study, same, space):
                continue
            share = {"energy": Z_SHARE, "energy_perp": 1 - Z_SHARE}.get(space)
            shares = {"energy_share": share, "z_energy_share": share}
            for metric, values in _of_draws(study, model, same, space):
                for stratum, n in strata(study):
                    row = same | {"space": space, "stratum": stratum, "metric": metric, "n": n}
                    row |= shares | _matching(same, space)
                    for draw, value in enumerate(values):
                        yield row | {"draw": draw, "value": value}


def paired_tests(study, model):
    for same in conditions(study):
        for first, second in COMPARISONS:
            other, space = (same, second)
            if second == "own":
                other, space = same | {"source": "own"}, first
            if second == "own" and (same["source"] == "own" or same["design"] != "mean"):
                continue
            values = _values(study, model, same, first)
            against = _values(study, model, other, space)
            for metric in sorted(values.keys() & against.keys()):
                difference = values[metric] - against[metric]
                row = same | {"metric": metric, "first": first, "second": second}
                row |= between(difference, 0.07) | _matching(same, second)
                row |= _ranks(study, model, same, second, metric, values[metric])
                for stratum, n in strata(study):
                    yield row | _test(difference, n) | {"stratum": stratum}


def _ranks(study, model, same, second, metric, value):
    if second not in DRAWN:
        return {"draws": None, "draws_above": None, "draws_below": None}
    null = dict(_of_draws(study, model, same, second))[metric]
    above, below = int((null >= value).sum()), int((null <= value).sum())
    return {"draws": len(null), "draws_above": above, "draws_below": below}


def _test(difference, n):
    """A normal approximation of the paired test; sd .4 throughout."""
    z = abs(difference) / (0.4 / math.sqrt(n))
    p = max(math.erfc(z / math.sqrt(2)), 2.0 ** (1 - n))
    return {
        "p": p,
        "p_holm": min(1.0, 5 * p),
        "test": "exact sign flips",
        "p_least_above": 2.0**-20,
        "p_least_below": 2.0**-20,
        "sd": 0.4,
        "n": n,
        "n_units": n - 5,
    }


def weights(study, model):
    top = {"entropy_rank": 30, "energy_rank": 20, "participation_ratio": 14, "stable_rank": 6}
    size = study.d / 64 * 0.7
    for layer in range(study.n_layers):
        for kind in KINDS:
            for metric, rank in top.items():
                what = {"layer": layer, "kind": kind, "metric": metric}
                collapse = 1 - 0.4 * layer / study.n_layers
                band = null("gaussian", 0.8 * size * rank, 0.1 * size * rank)
                for head in range(study.n_heads):
                    value = 0.5 * size * rank * collapse + noise(f"{model}{layer}{head}", rank / 20)
                    yield what | {"head": head, "value": value} | band
                yield (
                    what | {"value": 0.9 * size * rank * collapse + noise(model, rank / 20)} | band
                )
                cv = what | {
                    "metric": f"{metric}_cv",
                    "value": 0.06 + abs(noise(f"{model}{layer}")),
                }
                yield cv | null("gaussian", 0.03, 0.01)
            for k in study.sizes:
                chance = k / study.d
                for metric, ratio in (
                    ("ffn_write_share", 0.8),
                    ("ffn_read_share", 1.1),
                    ("ffn_write_span", 0.9),
                ):
                    value = chance * (ratio - 0.2 * layer / study.n_layers + noise(f"{model}{k}"))
                    what = {"layer": layer, "kind": kind, "k": k, "metric": metric, "value": value}
                    yield what | null("random", chance, 0.12 * chance)
                for other in range(layer + 1, study.n_layers):
                    value = chance + 0.4 * 0.6 ** (other - layer) + noise(f"{model}{layer}{other}")
                    what = {
                        "layer": layer,
                        "layer_2": other,
                        "kind": kind,
                        "k": k,
                        "metric": "layer_similarity",
                        "value": value,
                    }
                    yield what | null("random", chance, 0.03)


def geometry(study, model):
    for layer in range(study.n_layers + 1):
        for k in study.sizes:
            for pooling, gap in (("mean", -0.09), ("last", 0.06)):
                for position_0 in ("exclude", "include"):
                    what = {"layer": layer, "k": k, "kind": "qk", "pooling": pooling, "n": study.n}
                    what |= {"position_0": position_0}
                    depth = layer / study.n_layers
                    perp = 0.95 - 0.1 * depth + noise(f"{model}{layer}")
                    z = perp + gap * depth + noise(f"{model}{layer}{k}")
                    chance = k / study.d
                    values = {
                        "ratio_z": (z, 0.03, perp, perp - 0.06),
                        "ratio_z_perp": (perp, 0.02, perp, perp),
                        "ratio_difference": (z - perp, 0.02, 0.0, -0.06),
                        "language_energy": (0.8 * chance, 0.1 * chance, chance, 1.5 * chance),
                    }
                    for metric, (value, width, random, energy) in values.items():
                        row = what | {"metric": metric} | between(value, width)
                        small = chance / 4 if metric == "language_energy" else 0.02
                        yield row | null("random", random, small)
                        on = "mean-pooled vectors" if pooling == "mean" else "last tokens"
                        yield row | null("energy", energy, small, on)
                        if metric == "language_energy":
                            yield row | null("chance", chance, math.nan)


def updates(study, model):
    for layer in range(study.n_layers):
        for k in study.sizes:
            for pooling in ("mean", "token"):
                for position_0 in ("exclude", "include"):
                    what = {"layer": layer, "basis_layer": study.layers[-1], "k": k, "kind": "qk"}
                    what |= {"pooling": pooling, "position_0": position_0, "n": study.n}
                    yield from _update_rows(study, model, what)
    for k in study.sizes:
        yield from _largest_rows(study, model, k)


def _update_rows(study, model, what):
    chance = math.sqrt(what["k"] / (study.d - what["k"]))
    over = 1.5 + what["layer"] / study.n_layers + noise(f"{model}{what}", 0.1)
    for language, shift in (("zh", 1.05), ("en", 0.95), ("both", 1.0)):
        row = what | {"language": language}
        value = between(over * shift * chance, 0.1 * chance)
        scaled = between(over * shift, 0.1)
        yield row | {"metric": "ratio"} | value | null("chance", chance, math.nan)
        yield row | {"metric": "ratio_over_null"} | scaled | null("chance", 1.0, math.nan)
        tested = row | {"metric": "ratio", "z": 2.0, "p": 0.1} | value
        yield tested | null("random", chance, 0.2 * chance)
        for name, (words, times) in MATCHED.items():
            yield tested | null(name, times * chance, 0.2 * chance, words)
    row = what | {"language": "both", "metric": "asymmetry"} | between(0.1 * over * chance, 0.05)
    yield row | null("random", 0.0, 0.03)
    for name, (words, _) in MATCHED.items():
        yield row | null(name, 0.0, 0.03, words)


def _largest_rows(study, model, k):
    chance = math.sqrt(k / (study.d - k))
    for position_0 in ("exclude", "include"):
        what = {"layer": None, "basis_layer": study.layers[-1], "k": k, "kind": "qk"}
        what |= {"pooling": "mean", "position_0": position_0, "n": study.n, "language": "both"}
        row = what | {"metric": "largest_ratio", "z": 1.0, "p": 0.2}
        row |= between((2.4 + noise(f"{model}{what}", 0.1)) * chance, 0.1 * chance)
        yield row | null("random", 1.1 * chance, 0.2 * chance)
        for name, (words, times) in MATCHED.items():
            yield row | null(name, 1.1 * times * chance, 0.2 * chance, words)


def _fits():
    for init in INITS:
        for penalty in PENALTIES:
            yield {
                "objective": "original",
                "basis": "coordinates",
                "init": init,
                "penalty": penalty,
            }


def ard(study, model):
    n = study.n // 2
    for layer in study.layers:
        for fit in _fits():
            what = fit | {"layer": layer}
            near = {"zeros": 0.0, "svd_z": 0.9, "svd_random": 0.8}[fit["init"]]
            chance = study.sizes[0] / study.d
            values = {
                "drift": 0.4 * fit["penalty"] ** 0.3 + noise(f"{model}{what}", 0.01),
                "n_below_median": study.d // 2,
                "n_below_3sd": round(study.d * (0.9 - 0.3 * near)),
                "value_at_infinity": 0.0,
            }
            for metric, value in values.items():
                dimensions = study.d if metric.startswith("n_") else n
                yield what | {"metric": metric, "value": value, "n": dimensions}
            if fit["init"] != "zeros":
                largest = study.sizes[:1]
                value = 0.45 + 0.2 * near
                yield from _overlaps(study, model, what, "overlap_init", value, largest)
            yield from _overlaps(study, model, what, "overlap", chance + 0.3 * (near == 0.9))
            yield from _retrievals(study, model, what, 0.35)
        for basis in ("coordinates", "pca", "z"):
            for objective, share in (
                ("gap", 0.8),
                ("info_nce", 0.85),
                ("uniform", 0.6),
                ("random", 0.55),
            ):
                what = {"layer": layer, "objective": objective, "basis": basis}
                yield from _retrievals(study, model, what, share)
                if objective in ("gap", "info_nce"):
                    directions = 0.3 * study.d + noise(f"{model}{what}", 1.0)
                    row = {"metric": "effective_directions", "value": directions, "n": study.d}
                    yield what | row
                    chance = study.sizes[0] / study.d
                    yield from _overlaps(study, model, what, "overlap", 1.3 * chance)


def _overlaps(study, model, what, metric, value, sizes=None):
    for k in sizes or study.sizes:
        chance = k / study.d
        row = what | {"k": k, "metric": metric, "n": study.d}
        row |= {"value": value + noise(f"{model}{what}{k}")}
        yield row | null("chance", chance, math.nan)
        yield row | null("shuffled", chance, 0.05)


def _retrievals(study, model, what, share):
    n = study.n // 2
    for scope, chance in (("all", 1 / n), ("category", 6 / n)):
        for direction in ("zh_en", "en_zh"):
            value = share * (1.0 if scope == "category" else 0.7) + noise(f"{model}{what}{scope}")
            row = what | {"metric": f"retrieval_{scope}_{direction}", "n": n}
            yield row | between(value, 0.1) | null("chance", chance, math.nan)


def ard_history(study, model):
    for layer in study.layers:
        for fit in _fits():
            start = {"zeros": 6.0, "svd_z": 4.0, "svd_random": 5.0}[fit["init"]]
            for step in range(0, 501, 50):
                value = start * math.exp(-step / 700) + fit["penalty"] + abs(noise(model, 0.1))
                yield fit | {"layer": layer, "step": step, "metric": "value", "value": value}


def lengthscales(study, model):
    rng = np.random.default_rng(zlib.crc32(model.encode()))
    contrasts = [
        {"objective": o, "basis": b, "init": None, "penalty": None}
        for o in ("gap", "info_nce")
        for b in ("coordinates", "pca")
    ]
    for layer in study.layers:
        for fit in [*_fits(), *contrasts]:
            values = rng.normal(0.6, 0.2, study.d)
            if fit["objective"] != "original":
                values[study.d // 4 :] += 1.0
            for j, value in enumerate(values):
                yield fit | {"layer": layer, "dimension": j, "log10_lengthscale": float(value)}


def planted(seeds):
    fits = [(f["objective"], f["init"], f["penalty"]) for f in _fits() if f["init"] != "svd_z"]
    fits += [("gap", None, None), ("info_nce", None, None), ("uniform", None, None)]
    for seed in seeds:
        for objective, init, penalty in fits:
            what = {"seed": seed, "objective": objective, "init": init, "penalty": penalty}
            good = objective in ("gap", "info_nce")
            for scope, chance in (("all", 0.03), ("category", 0.2)):
                yield what | {
                    "metric": f"retrieval_{scope}",
                    "value": 1.0 if good else 0.6 + noise(f"{seed}{init}{penalty}"),
                    "chance": chance,
                }
            if objective != "uniform":
                for metric, low in (("auc_shared_vs_language", 0.4), ("auc_shared_vs_noise", 0.2)):
                    value = 1.0 if good else low + noise(f"{seed}{init}{penalty}", 0.05)
                    yield what | {"metric": metric, "value": value, "chance": 0.5}


def bridge(study, model):
    base = {
        "protocol_r2": (0.98, 0.9, 0.97),
        "ols_r2": (0.98, 0.9, 0.97),
        "loo_r2": (0.4, 0.1, 0.38),
        "ridge_loo_r2": (0.5, 0.2, 0.48),
        "procrustes_r2": (0.6, 0.3, 0.55),
        "orthogonality_error": (0.1, 0.1, 0.1),
    }
    for layer in study.layers:
        for k in study.sizes:
            for direction in ("en->zh", "zh->en"):
                for pooling in ("mean", "last"):
                    what = {"layer": layer, "k": k, "kind": "qk", "pooling": pooling, "n": study.n}
                    what |= {"direction": direction}
                    for metric, values in base.items():
                        for space, value in zip(("z", "random", "energy"), values, strict=True):
                            row = what | {"metric": metric, "space": space}
                            value += noise(f"{model}{metric}{space}")
                            if metric == "loo_r2" and study.n < k:
                                value = -3.0
                            drawn = between(value, 0.05) if space != "z" else {"value": value}
                            band = {"draws": DRAWS}
                            if space == "z":
                                band = null("permutation", values[0] / 4, 0.1)
                            yield row | drawn | (NO_NULL | band)
                    for space, top in (("z", 1.4), ("random", 1.0), ("energy", 1.2)):
                        for i in range(k):
                            row = what | {"metric": "singular_value", "space": space}
                            yield row | {"component": i, "value": top * math.exp(-i / k)}


def summary(study, model):
    questions = {
        "solves_more_in_chinese": ("0. Does the model solve more in Chinese?", "no", "no"),
        "heads_collapse": ("1. Do the heads collapse to a common rank?", "yes", "partial"),
        "ffn_avoids_z": ("2. Does the FFN avoid the attention subspace?", "yes", "no"),
        "z_separates": ("2. Does Z separate problem from language?", "yes", "no"),
        "language_is_outside": ("2. Is the language energy in Z below chance?", "yes", "partial"),
        "is_causal": (CAUSAL, "partial", "no"),
        "is_necessary": ("A. Is Z necessary? Mean ablation", "cannot be told", "no"),
        "z_dominated_layer": ("B. Is there a Z-dominated layer (R >> 1)?", "no", "no"),
        "ard_finds_z": ("C. Does ARD find Z?", "yes", "cannot be told"),
        "bridge_is_linear": ("D. Is the bridge linear?", "yes", "partial"),
        "bridge_is_orthogonal": ("D. Is the bridge orthogonal?", "yes", "no"),
    }
    for question, (text, protocol, controlled) in questions.items():
        if question == "is_causal" and model.endswith("s1"):
            protocol = "yes"
        yield {
            "question": question,
            "text": text,
            "protocol_criterion": "as in the protocol",
            "protocol_verdict": protocol,
            "controlled_criterion": "against energy-matched spaces",
            "controlled_verdict": controlled,
            **between(0.05 + noise(f"{model}{question}"), 0.07),
            "numbers": "none",
            "n": 95,
            **({"draws": 40, "detectable": 0.12} if text.startswith("A.") else {}),
        }


def verdicts(rows):
    """The models' words as one, of rows of `summary`."""
    for question, of in rows.groupby("question", sort=False):
        words = {
            f"{rule}_{what}": make(list(of[f"{rule}_verdict"]))
            for rule in ("protocol", "controlled")
            for what, make in (("verdict", over_trainings), ("tally", tally))
        }
        ends = {"low": of["value"].min(), "high": of["value"].max()}
        common = {"question": question, "text": of["text"].iloc[0], "n_models": len(of)}
        common |= {"family": FAMILY}
        yield common | words | ends
