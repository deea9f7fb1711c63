"""Tables of the toy language study as if it had been run: deterministic, small, planted numbers.

The story: the bigram and the category come first, induction last; without the bigram suppression
comes later; softmax attention learns induction in three seeds of five. `smoke` has learned nothing.
"""

from __future__ import annotations

import itertools
import zlib
from functools import cache
from importlib import import_module

import numpy as np

from fake_tables import frame
from zscope.figures.registry import figure_modules
from zscope.figures.tables import Tables
from zscope.studies.toylang.tables import (
    ABLATIONS,
    COMPARISONS,
    DEGREES,
    FLOORS,
    MATRICES,
    ONSET_SUMMARY,
    ONSETS,
    PHENOMENA,
    READOUTS,
    RULES,
    SEARCH,
    SUMMARY,
    TRAINING,
)

SEEDS = (0, 1, 2, 3, 4)
FEW = (0, 1, 2)
LAST = 1200
STEPS = (0, 1, 2, 4, 8, 16, 32, 50, *range(100, LAST + 1, 50))
CHECKPOINTS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, LAST)
NAMES = ("alice", "bob", "carol", "dave", "erin", "frank")
VERBS = ("sees", "helps", "finds", "knows", "likes", "meets", "calls", "tells")
PLACES = ("beach", "garden", "lake", "office", "forest", "market")
ADJECTIVES = ("big", "old", "new", "small", "quiet", "bright")
FUNCTIONS = ("at", "and", "or", "to", "the", "with")
OBJECTS = ("ball", "cup", "hat", "key", "lamp", "box")
SKIP_RULES = (
    ("beach", "big", "at"),
    ("garden", "old", "and"),
    ("lake", "new", "or"),
    ("office", "small", "to"),
)
HEADS = tuple(f"L{layer}H{head}" for layer in (0, 1) for head in range(4))
N_VOCAB = 65
MAX_SKIP = 8
# frequency, floor in nats, excess at step 0, step at which half of it is gone, share left at last
PRIMITIVES = {
    "long_range": (0.016, 0.349, 3.8, 200, 0.004),
    "induction": (0.038, 0.421, 3.7, 500, 0.015),
    "novel": (0.062, 1.792, 2.4, 60, 0.001),
    "skip": (0.015, 0.621, 3.5, 250, 0.008),
    "suppress": (0.015, 0.637, 3.5, 220, 0.006),
    "bigram": (0.073, 0.802, 3.3, 40, 0.001),
    "bracket": (0.178, 2.447, 1.7, 150, 0.003),
    "category": (0.587, 3.072, 1.1, 50, 0.002),
    "all": (1.0, 2.488, 1.7, 90, 0.003),
}
READ = {  # primitive -> metric and threshold of its onset in the weights
    "bigram": ("kl_self", 0.3),
    "skip": ("rank_all_paths", 10.5),
    "induction": ("hits", 0.8),
    "suppress": ("below", 0.8),
}
CHANGED = {  # condition -> how, changed, and by how much onsets are later, in doublings
    "without_bigram": ("removed", "bigram", {"suppress": 1.2}),
    "without_skip": ("removed", "skip", {"induction": -0.1}),
    "without_bracket": ("removed", "bracket", {"long_range": 0.4}),
    "delayed_skip": ("delayed", "skip", {"skip": 1.4}),
}


def study(seeds=SEEDS, *, softmax=True, dependency=True, learned=True, level=0.95):
    """The whole study, with fewer seeds or conditions, or one whose runs learned nothing."""
    conditions = {"reference": seeds}
    if softmax:
        conditions["softmax"] = seeds
    if dependency:
        conditions |= {name: [s for s in FEW if s in seeds] for name in CHANGED}
    rows = {
        FLOORS: floors(),
        RULES: rules(),
        TRAINING: training(conditions, learned),
        READOUTS: readouts(seeds, learned),
        MATRICES: matrices(seeds, learned),
        SEARCH: search(seeds, learned),
        ABLATIONS: ablations(conditions, learned),
        DEGREES: degrees(seeds),
        PHENOMENA: phenomena(conditions, learned),
        ONSETS: onsets(conditions, learned),
        ONSET_SUMMARY: onset_summary(conditions, learned),
        COMPARISONS: comparisons(conditions, learned),
        SUMMARY: summary(conditions, learned),
    }
    return Tables({table.name: frame(table, found) for table, found in rows.items()}, level)


def smoke(level=0.95):
    """A run of a few steps: nothing learned, nothing set in, every rank that of chance."""
    return study((0,), dependency=False, learned=False, level=level)


@cache
def figure_tables(level: float = 0.95) -> dict[str, dict[str, Tables]]:
    """Of every figure what it is drawn from: all seeds and models, the smoke run, no rows."""
    cases = {"full": study(level=level), "one": smoke(level)}
    return {
        name: {
            **{case: of_figure(module.module, tables) for case, tables in cases.items()},
            "empty": of_figure(module.module, None, level),
        }
        for name, module in figure_modules("toylang").items()
    }


def of_figure(module, tables, level=None):
    """The tables that a figure needs; None: without rows. No level if no table has intervals."""
    needs = import_module(module).NEEDS
    level = level if tables is None else tables.level
    return Tables(
        {t.name: frame(t, []) if tables is None else tables.frames[t.name] for t in needs},
        level if any(table.has_interval for table in needs) else None,
    )


def noise(name, scale=1.0):
    return float(np.random.default_rng(zlib.crc32(name.encode())).normal(0, scale))


def within(value, width):
    return {"value": value, "ci_low": value - width, "ci_high": value + width}


def floors():
    for name, (frequency, floor, *_) in PRIMITIVES.items():
        n = round(500_000 * frequency)
        se = 0.9 / n**0.5
        gap = noise(name, se)
        for metric, value, error in (
            ("frequency", frequency, 0.0 if name == "all" else frequency / 100),
            ("floor", floor, se / 3),
            ("nll", floor + gap, se),
            ("gap", gap, se),
        ):
            row = {"primitive": name, "metric": metric, "se": error, "n": n}
            yield row | within(value, 2 * error)


def rules():
    common = {"n": 30}
    for place, adjective, function in SKIP_RULES:
        where = {"key": place, "query": adjective, "output": function}
        yield (
            common
            | where
            | {
                "primitive": "skip",
                "effect": 0.85,
                "min_distance": 1,
                "max_distance": MAX_SKIP,
            }
        )
    for i, name in enumerate(NAMES):
        top = VERBS[3 * i % 8]
        yield common | {
            "primitive": "suppress",
            "key": "never",
            "query": name,
            "output": top,
            "effect": -0.7,
            "min_distance": 1,
            "max_distance": 6,
        }
        for j, p in enumerate((0.7, 0.2, 0.1)):
            yield common | {
                "primitive": "bigram",
                "key": None,
                "query": name,
                "output": VERBS[(3 * i + j) % 8],
                "effect": p,
            }


def onset_step(condition, seed, primitive, learned):
    """When a primitive's excess halves; None: never."""
    if not learned or CHANGED.get(condition, ("", ""))[:2] == ("removed", primitive):
        return None
    late = CHANGED.get(condition, ("", "", {}))[2].get(primitive, 0.0)
    if condition == "softmax":
        if primitive == "induction" and seed % 2:
            return None
        late = 0.6
    step = PRIMITIVES[primitive][3] * 2 ** (late + noise(f"{condition}{seed}{primitive}", 0.15))
    return int(round(step / 10) * 10) if step < LAST else None


def primitives_of(condition):
    how, changed, _ = CHANGED.get(condition, ("", "", {}))
    return [p for p in PRIMITIVES if (how, changed) != ("removed", p)]


def training(conditions, learned):
    for condition, seeds in conditions.items():
        for seed, primitive in itertools.product(seeds, primitives_of(condition)):
            start, left = PRIMITIVES[primitive][2], PRIMITIVES[primitive][4]
            half = onset_step(condition, seed, primitive, learned) or 4 * LAST
            for step in STEPS:
                value = start * (left + (1 - left) / (1 + (step / half) ** 4))
                yield {
                    "condition": condition,
                    "seed": seed,
                    "step": step,
                    "split": "held_out",
                    "primitive": primitive,
                    "metric": "excess",
                    "value": value,
                    "ci_low": 0.9 * value,
                    "ci_high": 1.12 * value,
                    "n": 300,
                }
        for seed, step in itertools.product(seeds, STEPS[1:]):
            yield {
                "condition": condition,
                "seed": seed,
                "step": step,
                "split": "train",
                "primitive": "all",
                "metric": "lr",
                "value": 0.01 * (1 - step / LAST),
                "n": 1,
            }


def rule_name(rule):
    return "{} .. {} -> {}".format(*rule)


def grown(step, half):
    return 1 / (1 + (max(half, 1) / max(step, 1e-9)) ** 4)


def readouts(seeds, learned):
    chance = (N_VOCAB**3 + 1) / 2
    for seed, step in itertools.product(seeds, CHECKPOINTS):
        run = {"condition": "reference", "seed": seed, "step": step}

        def row(readout, item, metric, value, n, run=run):
            return run | {
                "readout": readout,
                "item": item,
                "metric": metric,
                "value": value,
                "n": n,
            }

        share = {
            p: grown(step, onset_step("reference", seed, p, learned) or 1e9) for p in PRIMITIVES
        }
        direct = None if step == 0 else 0.97 * share["bigram"] + noise(f"{seed}{step}", 0.004)
        yield row("direct", "all", "r", direct, 18)
        yield row("direct", "all", "r_self", None if step == 0 else direct + 0.01, 18)
        yield row("direct", "all", "top1", float(round(6 * share["bigram"])), 6)
        yield row("direct", "all", "top1_self", float(round(6 * share["bigram"])), 6)
        yield row("direct", "all", "kl", 2.7 * (1 - share["bigram"]) + 0.7, 6)
        yield row("direct", "all", "kl_self", 3.4 * (1 - share["bigram"]) + 0.002, 6)
        for i, rule in enumerate(SKIP_RULES):
            rank = chance ** (1 - share["skip"]) * (i + 1) ** share["skip"]
            rank = chance if step == 0 else max(1.0, round(rank))
            for metric in ("rank", "rank_all_paths"):
                yield row("rules", rule_name(rule), metric, rank, N_VOCAB**3)
            edge = float(MAX_SKIP) if share["skip"] > 0.5 else None
            yield row("window", rule_name(rule), "edge", edge, 16)
        for metric, top in (
            ("precision_at_10", 0.8),
            ("precision_at_10_all_paths", 0.8),
            ("precision_at_10_alone_all_paths", 1.0),
            ("average_precision", 0.8),
        ):
            yield row("rules", "all", metric, top * share["skip"], 10)
        yield row("rules", "all", "chance", 40 / N_VOCAB**3, N_VOCAB**3)
        yield row("rules", "all", "recall_at_10", 0.4 * share["skip"], 10)
        for item in (f"L0H{seed % 4}->L1H0", "all"):
            yield row("induction", item, "hits", float(round(6 * share["induction"])), 6)
            yield row("induction", item, "contrast", 4 * share["induction"], 6)
            yield row("induction", item, "most_hits", float(round(6 * share["induction"])), 6)
        yield row("induction", "all", "most_hits_p", 1 / 720, 720)
        yield row("suppression", "all", "below", float(round(6 * share["suppress"])), 6)
        yield row("suppression", "all", "drop", 5 * share["suppress"], 6)


def matrices(seeds, learned):
    size = 1.0 if learned else 0.0
    for seed in seeds:

        def cells(readout, item, rows, columns, value, truth=None, seed=seed):
            for (i, row), (j, column) in itertools.product(enumerate(rows), enumerate(columns)):
                error = noise(f"{seed}{readout}{item}{row}{column}")
                yield {
                    "condition": "reference",
                    "seed": seed,
                    "readout": readout,
                    "item": item,
                    "row": row,
                    "column": str(column),
                    "value": value(i, j, error),
                    "truth": None if truth is None else truth(i, j),
                }

        def verb(i, j):
            return (0.7, 0.2, 0.1, 0, 0, 0, 0, 0)[(j - 3 * i) % 8]

        def bigram(i, j, error, verb=verb):
            return max(0.0, 0.125 * (1 - size) + size * verb(i, j) + 0.01 * abs(error))

        def logit(i, j, error, verb=verb):
            return size * (np.log(max(verb(i, j), 0.002)) + 3) + 0.2 * error

        def true_logit(i, j, verb=verb):
            return float(np.log(verb(i, j)) + 1.4) if verb(i, j) else None

        yield from cells("direct", "all", NAMES, VERBS, bigram, verb)
        yield from cells("direct_logit", "all", NAMES, VERBS, logit, true_logit)
        for n, head in enumerate(HEADS):
            big = size * (2.0 if n in (5, 6) else 0.05)
            sign = -1 if n == 5 else 1

            def qk(i, j, error, big=big, sign=sign):
                return sign * big * (i == j and i < 4) + 0.1 * error

            yield from cells("skip_qk", head, ADJECTIVES, PLACES, qk)
            yield from cells("skip_ov", head, PLACES, FUNCTIONS, qk)
        names = [rule_name(rule) for rule in SKIP_RULES]
        for n, head in enumerate((*HEADS, "all")):
            yield from cells(
                "skip_product",
                head,
                names,
                FUNCTIONS,
                lambda i, j, e, n=n: size * (5 if n in (5, 6, 8) else 0.1) * (i == j) + 0.2 * e,
                (lambda i, j: 3.9 if i == j else -0.8) if head == "all" else None,
            )
        yield from cells(
            "window",
            "all",
            names,
            range(1, 17),
            lambda i, j, e: size * 5 / (1 + 2 ** (2 * (j - 8))) + 0.15 * e,
            lambda i, j: 4.5 * (j < MAX_SKIP),
        )
        yield from cells(
            "induction",
            f"L0H{seed % 4}->L1H0",
            OBJECTS,
            OBJECTS,
            lambda i, j, e: size * 3 * (i == j) + 0.2 * e,
            lambda i, j: 3.9 * (i == j),
        )
        for item in ("without", "with"):

            def logits(i, j, e, item=item, verb=verb):
                top = -4.0 * (item == "with") * (verb(i, j) == 0.7)
                return size * (np.log(max(verb(i, j), 0.002)) + 2.2 + top) + 0.1 * e

            def truth(i, j, item=item, true_logit=true_logit):
                known = true_logit(i, j)
                return None if item == "with" and known and known > 0.9 else known

            yield from cells("suppression", item, NAMES, VERBS, logits, truth)


def search(seeds, learned, n=30):
    true = [(q, k, o, "skip") for k, q, o in SKIP_RULES]
    for seed in seeds:
        hits = 0
        for rank in range(1, n + 1):
            hit = learned and rank <= 4
            q, k, o, primitive = (
                true[(rank + seed) % 4] if hit else (f"query{rank}", f"key{seed}", "the", None)
            )
            hits += hit
            yield {
                "condition": "reference",
                "seed": seed,
                "rank": rank,
                "query": q,
                "key": k,
                "output": o,
                "boost": 4.0 / rank,
                "d_prob": 0.9 * 0.9**rank if learned else 1e-4 / rank,
                "primitive": primitive,
                "precision": hits / rank,
                "recall": hits / len(SKIP_RULES),
            }


NAMED = {
    "induction": ("L0H1+L1H0", "induction"),
    "rules": ("L1H1+L1H2", "skip"),
    "suppression": ("L1H3", "suppress"),
}


def ablations(conditions, learned):
    size = 1.0 if learned else 0.01
    for condition in ("reference", "softmax"):
        for seed in conditions.get(condition, ()):
            sets = [("none", "", 0)] + [("single", h, 0) for h in HEADS]
            if condition == "reference":
                for chosen, (heads, _) in NAMED.items():
                    sets.append((chosen, heads, 0))
                    layers = [h[:2] for h in heads.split("+")]
                    for draw in range(6):
                        own = [f"{x}H{(draw + i) % 4}" for i, x in enumerate(layers)]
                        sets.append(("random", "+".join(own), draw))
            for (chosen, heads, draw), primitive in itertools.product(
                dict.fromkeys(sets), PRIMITIVES
            ):
                hit = size * sum(
                    2.0 * (p == primitive) * (h in of.split("+")) / len(of.split("+"))
                    for of, p in NAMED.values()
                    for h in heads.split("+")
                )
                hit += size * 0.05 * abs(noise(f"{condition}{seed}{heads}{primitive}"))
                run = {
                    "condition": condition,
                    "seed": seed,
                    "chosen_by": chosen,
                    "heads": heads,
                    "draw": draw,
                    "primitive": primitive,
                    "n": 300,
                }
                yield run | {"metric": "excess"} | within(0.03 + (hit if heads else 0), 0.01)
                if heads:
                    yield run | {"metric": "change"} | within(hit, 0.02)


def degrees(seeds):
    for seed, head, reads in itertools.product(seeds, HEADS, ("here", "later")):
        if head.startswith("L1") and reads == "later":
            continue
        top = {"L0here": 5, "L0later": 3, "L1here": 1}[head[:2] + reads]
        parts = np.array([0.3**d * np.exp(noise(f"{seed}{head}{d}", 0.5)) for d in range(top)])
        share = parts / parts.sum()
        common = {
            "condition": "reference",
            "seed": seed,
            "patch": f"{head} of another sequence",
            "reads": reads,
            "error": 1e-13 * np.exp(noise(f"{seed}{head}{reads}")),
            "n": 16,
        }
        yield common | {"degree": 0, "value": float(parts.sum()), "share": 0.9 if top > 1 else 1.0}
        for d in range(top):
            yield common | {"degree": d + 1, "value": float(parts[d]), "share": float(share[d])}


def phenomena(conditions, learned):
    for condition in ("reference", "softmax"):
        for seed in conditions.get(condition, ()):
            for part in (suppression, error_correction, repair, reuse):
                for row in part(f"{condition}{seed}", condition == "reference", learned):
                    yield {"condition": condition, "seed": seed, "n": 200} | row


def suppression(run, polynomial, learned):
    size = 1.0 if learned else 0.0
    common = {"experiment": "suppression"}
    for d in range(1, 13):
        for case in ("with never", "without never"):
            truth = 0.0 if case == "with never" and d <= 6 else 0.7
            p = 0.05 + size * (0.9 * truth + noise(f"{run}{d}{case}", 0.02))
            row = common | {"case": case, "x": float(d), "metric": "p_top", "truth": truth}
            yield row | within(max(p, 0.0), 0.03) | {"n": 3 if d == 3 else 48}
    for case, truth in (("within window", 0.7), ("beyond window", 0.0), ("placebo", 0.0)):
        drop = size * (0.9 * truth + noise(f"{run}{case}", 0.02))
        yield common | {"case": case, "metric": "drop", "truth": truth} | within(drop, 0.03)
    for n, head in enumerate(HEADS):
        change = size * ((-0.4 if n == 7 else 0.0) + noise(f"{run}{head}", 0.02))
        for case in (f"{head} ablated", f"named {head} ablated"):
            if case.startswith("named") and not (polynomial and n == 7):
                continue
            row = common | {"case": case}
            yield row | {"metric": "drop", "truth": 0.7} | within(0.6 * size + change, 0.03)
            yield row | {"metric": "change"} | within(change, 0.03)
            if polynomial:
                yield row | {"metric": "by_weights"} | within(-8 * change, 0.5)


def error_correction(run, polynomial, learned):
    common = {"experiment": "error_correction"}
    for case, most in (("third occurrence", 1), ("fourth occurrence", 2)):
        for x in range(most + 1):
            first = 0.92 - 0.3 * x + noise(f"{run}{case}{x}", 0.02) if learned else 0.02
            last = 0.02 + 0.25 * x if learned else 0.02
            row = common | {"case": case, "x": float(x)}
            yield row | {"metric": "p_first", "truth": 0.917} | within(first, 0.03)
            yield row | {"metric": "p_last", "truth": 0.017} | within(last, 0.03)
            yield (
                row
                | {"metric": "corrects", "truth": 1.0}
                | within(0.95 - 0.1 * x if learned else 0.5, 0.05)
            )
            if x:
                yield row | {"metric": "fall", "truth": 0.0} | within(0.3 * x, 0.03)


def repair(run, polynomial, learned):
    for n in range(4):
        direct = (0.1 + 0.1 * n + abs(noise(f"{run}{n}", 0.02))) if learned else 0.0
        for metric, value in (("direct", direct), ("total", 1.5 * direct), ("repair", -direct / 2)):
            row = {"experiment": "error_correction", "case": f"L0H{n}", "metric": metric}
            yield row | within(value, 0.02)


def reuse(run, polynomial, learned):
    for n, read in itertools.product(range(4), ("keys", "queries", "values", "direct")):
        for end in ("", " placebo"):
            case = {"experiment": "reuse", "case": f"L0H{n}:{read}{end}"}
            size = (
                2.0 if learned and not end and (n, read) in ((1, "keys"), (2, "direct")) else 0.01
            )
            found = 0
            for primitive in PRIMITIVES:
                hit = primitive in ("induction", "skip") or read == "direct"
                value = size * hit + abs(noise(f"{run}{case}{primitive}", 0.01))
                found += value > 0.06 and primitive != "all"
                yield case | {"metric": f"change_{primitive}"} | within(value, 0.01)
            if not end:
                yield case | {"metric": "n_primitives", "value": float(found), "n": 8}


def onsets(conditions, learned):
    for condition, seeds in conditions.items():
        for seed, primitive in itertools.product(seeds, primitives_of(condition)):
            run = {
                "condition": condition,
                "seed": seed,
                "primitive": primitive,
                "last_step": LAST,
            }
            step = onset_step(condition, seed, primitive, learned)
            yield (
                run
                | {"kind": "behaviour", "metric": "excess", "onset": step}
                | {"threshold": 0.1 * PRIMITIVES[primitive][2]}
            )
            if condition == "reference" and primitive in READ:
                metric, threshold = READ[primitive]
                censored = primitive == "suppress" and seed == 1
                later = (
                    None if step is None or censored else next(c for c in CHECKPOINTS if c >= step)
                )
                yield run | {
                    "kind": "weights",
                    "metric": metric,
                    "threshold": threshold,
                    "onset": later,
                }


def onset_summary(conditions, learned):
    found = frame(ONSETS, onsets(conditions, learned))
    for key, rows in found.groupby(["condition", "kind", "primitive", "metric"]):
        steps = rows["onset"].astype(float).fillna(np.inf).sort_values()
        middle = float(steps.median())
        several = len(steps) > 1
        low, high = steps.iloc[0], steps.iloc[-1]
        yield dict(zip(("condition", "kind", "primitive", "metric"), key, strict=True)) | {
            "median": middle if np.isfinite(middle) else None,
            "ci_low": low if several and np.isfinite(low) else None,
            "ci_high": high if several and np.isfinite(high) else None,
            "n": len(rows),
            "n_censored": int(rows["onset"].isna().sum()),
        }


def comparisons(conditions, learned):
    for condition, seeds in conditions.items():
        if condition == "reference":
            continue
        how, changed, _ = CHANGED.get(condition, ("model", condition, {}))
        for primitive in primitives_of(condition):
            pairs = [
                [onset_step(c, s, primitive, learned) for c in ("reference", condition)]
                for s in seeds
            ]
            shifts = [np.log2(b / a) for a, b in pairs if a and b]
            censored = len(pairs) - len(shifts)
            shift = float(np.median(shifts)) if shifts else None
            verdict = "unclear"
            if (how, changed) == ("delayed", primitive):
                verdict = "changed"
            elif len(shifts) >= 3 and min(shifts) > 0.05 and not censored:
                verdict = "later" if condition == "without_bigram" else "all later"
            yield {
                "condition": condition,
                "reference": "reference",
                "how": how,
                "changed": changed,
                "primitive": primitive,
                "shift": shift,
                "ci_low": min(shifts) if len(shifts) > 1 else None,
                "ci_high": max(shifts) if len(shifts) > 1 else None,
                "p": 0.0625 if len(seeds) > 3 else None,
                "p_adjusted": 1.0 if len(seeds) > 3 else None,
                "verdict": verdict,
                "n": len(pairs),
                "n_censored": censored,
            }


def summary(conditions, learned):
    n = len(conditions["reference"])
    claims = {
        "excess_overall": ("the excess over the floor is at most 0.01 nats", 0.005),
        "excess_every_primitive": ("the excess is at most 0.05 nats on every primitive", 0.06),
        "bigram_in_weights": ("the weights give names to within 0.05 nats", 0.002),
        "skip_rules_first_all_paths": ("every skip rule is among the first 10 triples", 4.0),
        "induction_in_weights": ("one pair of heads matches every object to itself", 6.0),
        "ablation_induction": ("ablating the named heads hurts their primitive most of all", 2.0),
    }
    for i, (claim, (text, value)) in enumerate(claims.items()):
        held = (n, n - 1, 0)[i % 3 if n > 1 else 0] if learned else 0
        yield {
            "condition": "reference",
            "claim": claim,
            "text": text,
            "measured": f"median {value:.3g} ({0.9 * value:.3g} to {1.1 * value:.3g})",
            "verdict": "yes" if held == n else "partly" if held else "no",
            "value": value,
            "low": 0.9 * value,
            "high": 1.1 * value,
            "unit": "nats",
            "n": n,
            "n_held": held,
        }
