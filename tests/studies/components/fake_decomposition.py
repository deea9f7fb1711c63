"""Tables of the decomposition part as if it had been run: deterministic, small, planted numbers.

The story: planted components are found at the middle penalty; on the toy language skip has
components of its own, long_range shares them with skip, bigram has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from fake_tables import frame
from zscope.studies.components.decomposition import tables as t
from zscope.tables.schema import Row

MODEL = "reference-s0"
NAMES = ("q1", "k1", "q2", "k2", "v", "o")
MATRICES = tuple(f"{layer}.{name}" for layer in range(2) for name in NAMES)
PRIMITIVES = ("bigram", "long_range", "skip", "suppress")
PHASES = ("stochastic", "adversarial")
N, HEADS, DRAWS = 12, 4, 40
OWN = {"skip": 0.6, "long_range": 1.4, "bigram": 0.02}
"""What the components chosen for a primitive do to it; suppress has none that pass the rule."""
KL = {
    "unmasked": 0.001,
    "random": 0.03,
    "importance": 0.08,
    "rounded_0": 0.06,
    "rounded_0.1": 0.05,
    "none": 0.8,
}


def ends(value: float, reach: float = 0.1) -> Row:
    return {"value": value, "ci_low": value * (1 - reach), "ci_high": value * (1 + reach)}


def planted_rows(seeds: Sequence[int]) -> Iterator[Row]:
    for kind, best in (("linear", 0.03), ("superposition", 0.003), ("compiled", 0.003)):
        for seed in seeds[:2]:
            for penalty in (0.0003, 0.003, 0.03):
                for step in (0, 400, 800):
                    found = 0.3 + 0.6 * (step / 800) * (penalty == best) + 0.02 * seed
                    yield {
                        **{"kind": kind, "seed": seed, "penalty": penalty, "step": step},
                        **{"matrix": "all", "metric": "both", "value": found},
                        **{"null_low": 0.2, "null_high": 0.35, "svd": 0.5},
                    }


def reconstruction_rows(seeds: Sequence[int]) -> Iterator[Row]:
    for seed in seeds:
        for i, phase in enumerate(PHASES):
            of = {"model": MODEL, "seed": seed, "phase": phase, "n": 500}
            for j, primitive in enumerate(("all", *PRIMITIVES)):
                where = {**of, "primitive": primitive, "metric": "kl"}
                for masks, kl in KL.items():
                    value = kl * (1 + 0.2 * j) * (1 + 0.1 * seed)
                    yield {**where, "masks": masks, "attack_steps": -1, **ends(value)}
                for step in (0, 5, 20, 80):
                    value = 0.03 * (1 + step) ** (2 - i) * (1 + 0.1 * seed)
                    yield {**where, "masks": "adversary", "attack_steps": step, **ends(value)}


def component_rows(seeds: Sequence[int]) -> Iterator[Row]:
    for seed in seeds:
        for i, matrix in enumerate(MATRICES):
            for c in range(N):
                g = 0.3 * 0.5**c * (1 + 0.1 * seed)
                yield {
                    **{"model": MODEL, "seed": seed, "phase": "stochastic", "matrix": matrix},
                    **{"component": c, "importance": g, "alive": g > 0.01, "firings": 100 - c},
                    **{"norm": 1 + 0.1 * c, "activation": 0.5, "spread": 0.99 - 0.001 * (i + c)},
                    **{"head": c % HEADS, "share": 0.3 + 0.01 * c},
                }


def head_norm_rows(seeds: Sequence[int]) -> Iterator[Row]:
    for row in component_rows(seeds):
        if row["alive"]:
            of = {k: row[k] for k in ("model", "seed", "phase", "matrix", "component")}
            for head in range(HEADS):
                norm = 0.4 + 0.3 * ((row["component"] + head) % HEADS)
                yield {**of, "head": head, "norm": norm, "weighted": 0.5 * norm}


def spread_null_rows(seeds: Sequence[int]) -> Iterator[Row]:
    for seed in seeds:
        for draw in range(60):
            of = {"model": MODEL, "seed": seed, "phase": "stochastic", "draw": draw}
            yield {**of, "spread": 0.98 + 0.0003 * draw, "share": 0.3 + 0.002 * draw}


def rise_rows(seeds: Sequence[int]) -> Iterator[Row]:
    rng = np.random.default_rng(0)
    for seed in seeds:
        of = {"model": MODEL, "seed": seed, "phase": "stochastic", "metric": "rise", "n": 300}
        for rule, factor in (("strict", 1.0), ("loose", 2.0)):
            for chosen, own in OWN.items():
                sets = [("components", -1, own)]
                sets += [("random", draw, 0.1 * rng.random()) for draw in range(DRAWS)]
                for name, draw, effect in sets:
                    for primitive in ("all", *PRIMITIVES):
                        value = factor * effect * (1.0 if primitive == chosen else 0.1)
                        yield {
                            **of,
                            **{"set": name, "rule": rule, "chosen_for": chosen, "draw": draw},
                            **{"head": "", "components": 9, "importance": 0.05, "norm": 1.3},
                            **{"primitive": primitive, **ends(value + 0.01 * seed)},
                        }
        for head in range(HEADS):
            for i, primitive in enumerate(("all", *PRIMITIVES)):
                yield {
                    **of,
                    **{"set": "head", "rule": "none", "chosen_for": "none", "draw": -1},
                    **{"head": f"L1H{head}", "components": 0},
                    **{"primitive": primitive, **ends(0.5 if head == i else 0.02)},
                }


def pair_rows(seeds: Sequence[int]) -> Iterator[Row]:
    for seed in seeds:
        of = {"model": MODEL, "seed": seed, "phase": "stochastic"}
        for layer, factor in ((0, 1), (0, 2), (1, 1), (1, 2)):
            chosen = [("all", head) for head in (*range(HEADS), -1)]
            chosen += [(primitive, -1) for primitive in PRIMITIVES]
            for chosen_on, head in chosen:
                for rank in range(3):
                    for offset in range(5):
                        value = 0.1 * (3 - rank) * (-1) ** rank * (1 + 0.2 * (offset == 1))
                        yield {
                            **of,
                            **{"layer": layer, "factor": factor, "head": head, "rank": rank},
                            **{"chosen_on": chosen_on, "query": rank, "key": rank + 1},
                            **{"offset": offset, "value": value},
                        }


def coactivation_rows(seeds: Sequence[int]) -> Iterator[Row]:
    for seed in seeds:
        of = {"model": MODEL, "seed": seed, "phase": "stochastic"}
        for layer, matrix in ((0, "k1"), (0, "k2"), (1, "k1"), (1, "k2")):
            for key in range(4):
                for value in range(5):
                    phi = 0.8 if key == value else 0.05
                    yield {
                        **of,
                        **{"layer": layer, "key_matrix": matrix, "key": key},
                        **{"value_component": value, "key_firings": 90 - key},
                        **{"value_firings": 80 - value, "together": 40, "phi": phi},
                        **{"null_low": -0.02, "null_high": 0.1, "jaccard": 0.5 * phi},
                        **{"value_given_key": phi, "key_given_value": phi},
                    }


def buildup_rows(seeds: Sequence[int]) -> Iterator[Row]:
    for seed in seeds:
        of = {"model": MODEL, "seed": seed, "phase": "stochastic", "metric": "kl", "n": 300}
        for order, steep in (("importance", 0.9), ("random", 0.3)):
            for components in (0, 1, 4, 16, 64, 144):
                for i, primitive in enumerate(("all", *PRIMITIVES)):
                    value = (1 + 0.2 * i) / (1 + components) ** steep
                    yield {
                        **of,
                        **{"order": order, "components": components, "primitive": primitive},
                        **ends(value),
                    }


def logit_rows(seeds: Sequence[int]) -> Iterator[Row]:
    for seed in seeds:
        for sample in range(20):
            of = {"model": MODEL, "seed": seed, "phase": "stochastic", "sample": sample}
            yield {**of, "target": sample - 10.0, "reconstruction": 0.8 * (sample - 10)}


def induction_rows(seeds: Sequence[int]) -> Iterator[Row]:
    for seed in seeds:
        of = {"model": MODEL, "seed": seed, "phase": "stochastic"}
        for head in range(HEADS):
            here = {**of, "head": head}
            yield {
                **here,
                **{"matrix": "none", "component": -1, "score": 0.4, "drop": 0.0, "rise": 0.0},
            }
            for matrix in ("1.q1", "1.k1", "0.v", "0.o"):
                for component in range(3):
                    drop = 0.1 if head == 0 and matrix == "1.q1" else 0.01 * component
                    yield {
                        **here,
                        **{"matrix": matrix, "component": component, "score": 0.4 - drop},
                        **{"drop": drop, "rise": 2 * drop},
                    }


def attention_rows(seeds: Sequence[int]) -> Iterator[Row]:
    for seed in seeds:
        of = {"model": MODEL, "seed": seed, "phase": "stochastic", "layer": 1, "query": 9}
        for chosen in ("skip", "long_range"):
            for head in range(HEADS):
                for key in range(10):
                    before = 1.0 if (head, key) == (0, 3) else 0.05
                    yield {
                        **of,
                        **{"chosen_for": chosen, "head": head, "key": key, "token": "word"},
                        **{"before": before, "after": 0.05},
                    }


def similarity_rows(seeds: Sequence[int]) -> Iterator[Row]:
    for first in seeds:
        for second in seeds:
            for phase in PHASES:
                for i, matrix in enumerate(MATRICES):
                    if first != second:
                        yield {
                            **{"model": MODEL, "phase": phase, "first": first, "second": second},
                            **{"matrix": matrix, "alive": N, "value": 0.3 + 0.02 * i},
                            **{"null_low": 0.1, "null_high": 0.15},
                        }


def verdict_rows() -> Iterator[Row]:
    words = ("not found", "varies between trainings", "found", "cannot be told")
    for rule in ("strict", "loose"):
        for primitive, verdict in zip(PRIMITIVES, words, strict=True):
            of = {"model": MODEL, "rule": rule, "primitive": primitive, "verdict": verdict}
            yield {**of, "tally": "yes 3", "seeds": 3}


def decomposition_tables(seeds: Sequence[int] = (0, 1, 2)) -> dict[str, pd.DataFrame]:
    """Every table that a figure of this part reads, by its name; the similarity of one seed alone
    is that of no pair."""
    rows = {
        t.PLANTED: planted_rows(seeds),
        t.RECONSTRUCTION: reconstruction_rows(seeds),
        t.COMPONENTS: component_rows(seeds),
        t.HEAD_NORMS: head_norm_rows(seeds),
        t.SPREAD_NULL: spread_null_rows(seeds),
        t.RISES: rise_rows(seeds),
        t.PAIRS: pair_rows(seeds),
        t.COACTIVATION: coactivation_rows(seeds),
        t.BUILDUP: buildup_rows(seeds),
        t.LOGITS: logit_rows(seeds),
        t.INDUCTION: induction_rows(seeds),
        t.ATTENTION: attention_rows(seeds),
        t.SIMILARITY: similarity_rows(seeds if len(seeds) > 1 else (0, 1)),
        t.VERDICTS: verdict_rows(),
    }
    return {table.name: frame(table, found) for table, found in rows.items()}
