"""Tables of the attribution part as if it had been run: deterministic, small, planted numbers.

The story: the QK fix is exact in the last layer of the bilinear condition, AtP alone misses queries
and keys; in the language model AtP finds what is there.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from fake_tables import frame
from zscope.config.base import Bootstrap
from zscope.studies.components.attribution.methods import UNSIGNED, passes
from zscope.studies.components.attribution.pretrained_scores import pretrained_score_rows
from zscope.studies.components.attribution.scores import ScoreRule, score_rows, work_rows
from zscope.studies.components.attribution.tables import (
    DEGREES,
    EFFECTS,
    NODES,
    PAIRS,
    PRETRAINED_NODES,
    PRETRAINED_PAIRS,
    PRETRAINED_SCORES,
    PRIMITIVES,
    SCORES,
    SUMMARY,
    TABLES,
    WORK,
)
from zscope.studies.components.attribution.verdicts import FindRule, summary_rows

SUBJECTS = ("toylang/reference", "toylang/softmax")
NAMED = "smollm2"
PROMPT = ["music", "alice", "sees", "the", "hat", "red", ".", "bob", "never", "finds", "the", "hat"]
EDIT, HEADS, LAYERS = 5, 3, 2
OF_PAIRS = ("induction", "induction", "skip", "skip", "bigram", "bigram")
NOISE = {"atp": 1.0, "atp_qk": 0.1, "graddrop": 1.5, "graddrop_all": 0.3, "ig": 0.6}


def node_rows(subject, model, seed):
    rng = np.random.default_rng(seed)
    last = len(PROMPT) - 1
    for pair, primitive in enumerate(OF_PAIRS):
        for layer in range(LAYERS):
            for kind in "qkvz":
                first = last if layer and kind in "qz" else EDIT
                end = EDIT if not layer and kind != "z" else last
                for head, position in np.ndindex(HEADS, end + 1 - first):
                    exact = float(rng.standard_normal() * 4 * rng.random())
                    exact_here = layer == 1 and subject == SUBJECTS[0]
                    row = {
                        **{"subject": subject, "model": model, "pair": pair, "kind": kind},
                        **{"primitive": primitive, "layer": layer, "head": head},
                        **{"position": first + position, "exact": exact},
                    }
                    for method, noise in NOISE.items():
                        size = abs(exact) if method in UNSIGNED else exact
                        off = 0 if exact_here and method != "atp" else noise
                        row[method] = size + off * float(rng.standard_normal())
                    yield row


def pretrained_rows():
    rng = np.random.default_rng(5)
    for pair in range(4):
        for i in range(20):
            exact = float(rng.standard_normal() * (2 if i < 8 else 0.05))
            yield {
                **{"subject": NAMED, "family": ("ioi", "repeats")[pair // 2], "pair": pair},
                **{"layer": i % 4, "head": i % 3, "position": i},
                **{"chosen": "top" if i < 8 else "random", "exact": exact},
                "atp": exact * 1.1 + 0.02 * float(rng.standard_normal()),
            }


def attribution_tables(models=3, level=0.95):
    """Frames by the name of their table; models: trainings of each condition."""
    bootstrap = Bootstrap(level=level, resamples=50)
    rule = ScoreRule(0.05, 0.025, 40, bootstrap, 0)
    nodes, scores, work, effects, degrees = [], [], [], [], []
    for subject in SUBJECTS:
        for seed in range(models):
            of = {"subject": subject, "model": f"{subject.partition('/')[2]}-s{seed}"}
            rows = frame(NODES, node_rows(*of.values(), seed))
            nodes.append(rows)
            scores += [of | row for row in score_rows(rows, rule)]
            cost = {"nodes": len(rows) / len(OF_PAIRS)}
            work += [
                of | row | cost | {"passes": passes(row["method"], LAYERS)}
                for row in work_rows(rows, 5, bootstrap)
            ]
            effects += [
                of | {"pair": i, "clean": 6.0, "corrupted": -2.0} for i in range(len(OF_PAIRS))
            ]
            if subject == SUBJECTS[0]:
                degrees += [
                    of
                    | {"layer": 0, "degree": d, "value": 0.5 / d**2, "ci_low": 0.4 / d**2}
                    | {"ci_high": 0.6 / d**2, "atp_off": 1e-12 if d == 1 else None, "n": 6}
                    for d in (1, 2, 3)
                ]
    pairs = [
        {
            **{"subject": subject, "pair": i, "primitive": primitive, "length": len(PROMPT)},
            **{"edit": EDIT, "prompt": " ".join(PROMPT), "token": PROMPT[EDIT]},
            **{"edited": "blue", "answer": "red", "p_clean": 0.9, "p_corrupted": 0.1},
        }
        for subject in SUBJECTS
        for i, primitive in enumerate(OF_PAIRS)
    ]
    primitives = [
        {"subject": subject, "primitive": name, "pairs": n, "tried": 2, "why": why}
        for subject in SUBJECTS
        for name, n, why in (("induction", 2, None), ("novel", 0, "no token has more than 0.17"))
    ]
    of_model = frame(PRETRAINED_NODES, pretrained_rows())
    asked = [
        {
            **{"subject": NAMED, "family": family, "pair": pair, "length": 20, "edit": 8},
            **{"prompt": "a text", "answer": " Mary", "other": " John", "clean": 4.0},
            **{"corrupted": -4.0, "nodes": 1350, "patched": 20},
        }
        for pair, family in enumerate(("ioi", "ioi", "repeats", "repeats"))
    ]
    scored = frame(SCORES, scores)
    found = {
        PRIMITIVES: frame(PRIMITIVES, primitives),
        PAIRS: frame(PAIRS, pairs),
        EFFECTS: frame(EFFECTS, effects),
        NODES: pd.concat(nodes, ignore_index=True),
        DEGREES: frame(DEGREES, degrees),
        SCORES: scored,
        WORK: frame(WORK, work),
        SUMMARY: frame(SUMMARY, summary_rows(scored, FindRule(0.9, 0.1, 0.05))),
        PRETRAINED_PAIRS: frame(PRETRAINED_PAIRS, asked),
        PRETRAINED_NODES: of_model,
        PRETRAINED_SCORES: frame(
            PRETRAINED_SCORES,
            ({"subject": NAMED, **row} for row in pretrained_score_rows(of_model, rule)),
        ),
    }
    assert set(found) == set(TABLES)
    return {table.name: rows for table, rows in found.items()}
