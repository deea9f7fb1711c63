"""Frames for pages of a model that there is not: of any size, with the texts given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from zscope.studies.heads.pages.head_map import DetectorText
from zscope.studies.heads.tables import AS_IT_IS, ONE_SHOT, P_DOWN, P_UP, PERSISTENT, RANKINGS

SUBJECT = "smollm2"
PROMPTS = {
    "bigram-peanut-butter": ("bigram", ["pe", "anut", " butter", " and"], " jelly"),
    "code-imports": ("code", ["import", " os", "\n", "import"], " sys"),
    "format-dear": ("format", ["Dear", " Dr", "."], " Smith"),
    "list-days": ("list", ["Monday", " Tuesday", " Wednesday"], " Thursday"),
    "repetition-cat": ("repetition", ["cat", " mat", " cat", " mat", " cat"], " mat"),
    "name-san": ("name", ["San"], " Francisco"),
    "own-mixed": ("own", ["<s>", "研究", " caf", "é", "\u200b", "\t", "Ã"], " \u0301x"),
}
LABELS = {
    "head-L16H0-zero": "L16H0, zero",
    "head-L16H0-mean": "L16H0, mean",
    "head-L16H5-mean": "L16H5, mean (random head of the layer)",
    "heads-previous-mean": "the four heads above .5, mean",
    "values-t1-head": "values t\u22121, L16H0",
    "values-t1-layer": "values t\u22121, layer 16",
    "values-t12-layer": "values t\u22121 and t\u22122, layer 16",
    "values-all-layer": "values all previous, layer 16",
    "values-t1-model": "values t\u22121, all layers",
    "values-all-but-first-model": "values all previous but key 0, all layers",
}
WORDS = [" the", " a", " of", "ETS", "ortium", " jam", " cream", "\n", ".", "研", " is", "</p>"]


def token_frame(prompts: dict = PROMPTS) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "subject": SUBJECT,
            "model": SUBJECT,
            "prompt": prompt,
            "family": family,
            "position": position,
            "token_id": 100 + position,
            "token": token,
        }
        for prompt, (family, tokens, _) in prompts.items()
        for position, token in enumerate(tokens)
    )


def condition_frame(prompts: dict = PROMPTS, labels: dict[str, str] = LABELS) -> pd.DataFrame:
    """A base run and an ablation per label; KL grows along the labels, and some predict another."""
    rng = np.random.default_rng(0)
    rows = []
    for prompt, (_, tokens, answer) in prompts.items():
        where = {"subject": SUBJECT, "model": SUBJECT, "prompt": prompt, "t": len(tokens) - 1}
        log_p = -float(rng.exponential(0.7))
        base = {"condition": "base", "label": "as it is", "base": None, "predicted_id": 5}
        base |= {"predicted": answer, "kl": None, "log_p": log_p, "log_p_change": None}
        rows.append(where | base)
        for i, (condition, label) in enumerate(labels.items()):
            kl = float(0.0001 * 2.8**i * rng.lognormal(0, 0.8))
            change = float(rng.normal(-kl / 2, 0.02))
            other = rng.random() < min(0.9, kl)
            rows.append(
                where
                | {"condition": condition, "label": label, "base": "base"}
                | {"predicted_id": 9 if other else 5, "predicted": " a" if other else answer}
                | {"kl": kl, "log_p": log_p + change, "log_p_change": change}
            )
    return pd.DataFrame(rows)


def shift_frame(conditions: pd.DataFrame, k: int = 5, words: Sequence[str] = WORDS) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    rows = []
    for row in conditions[conditions["base"].notna()].itertuples():
        for ranking in RANKINGS:
            size = (row.kl**0.5) * (0.1 if ranking in (P_UP, P_DOWN) else 1.0)
            sizes = np.sort(rng.exponential(size, k))[::-1]
            sign = -1 if ranking.endswith("down") else 1
            for rank, value in enumerate(sizes, 1):
                token = int(rng.integers(len(words)))
                rows.append(
                    {"subject": SUBJECT, "model": SUBJECT, "prompt": row.prompt, "t": row.t}
                    | {"condition": row.condition, "ranking": ranking, "rank": rank}
                    | {"token_id": token, "token": words[token], "value": sign * float(value)}
                )
    return pd.DataFrame(rows)


def continuation_frame(conditions: pd.DataFrame, words: Sequence[str] = WORDS) -> pd.DataFrame:
    """Of the first prompt: persistent edits are other from the step that is the condition's number
    on, where there is such a step; one-shot edits from the first on, or never."""
    first = conditions[conditions["prompt"] == conditions["prompt"].iloc[0]]
    rows = []
    for number, row in enumerate(first.itertuples()):
        modes = (AS_IT_IS,) if pd.isna(row.base) else (PERSISTENT, ONE_SHOT)
        for mode in modes:
            begins = {AS_IT_IS: None, PERSISTENT: number, ONE_SHOT: 1 if number % 2 else None}[mode]
            for step in range(1, 4):
                other = begins is not None and step >= begins
                rows.append(
                    {"subject": SUBJECT, "model": SUBJECT, "prompt": row.prompt, "t": row.t}
                    | {"condition": row.condition, "mode": mode, "step": step}
                    | {"token_id": step + 10 * other, "token": words[step + 3 * other]}
                    | {"first_step": None if begins is None or begins > 3 else begins}
                )
    return pd.DataFrame(rows).astype({"first_step": "Int64"})


DETECTORS = (
    DetectorText(
        "previous",
        "attention",
        "previous token \u00b7 attention",
        "Attention to the token before, over rows from 2 on, on text; null: uniform attention.",
        "rise of the loss on the second copy of repeats",
        "pattern only",
    ),
    DetectorText(
        "induction",
        "contribution",
        "induction \u00b7 contribution",
        "Contribution of the tokens after earlier copies of the query; null: mismatched masks.",
        "rise of the loss on the second copy of repeats",
        "yes",
    ),
    DetectorText(
        "successor",
        "attention",
        "successor \u00b7 attention",
        "Attention to the element before in ordinal lists; null: shuffled lists.",
        "fall of the next element's logit",
        "skipped",
        "the vocabulary has 3 ordinals of a class, fewer than 5",
    ),
)


def map_frame(n_layers: int = 30, n_heads: int = 9) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    rows = []
    for detector in DETECTORS[:2]:
        null = 0.05
        for layer in range(n_layers):
            for head in range(n_heads):
                strong = rng.random() < 0.03
                score = float(rng.uniform(0.4, 0.95) if strong else rng.normal(0.02, 0.06))
                undefined = rng.random() < 0.01
                run = strong or rng.random() < 0.05
                effect = float(rng.exponential(0.8) if strong else rng.normal(0, 0.05))
                rows.append(
                    {"subject": SUBJECT, "model": SUBJECT, "detector": detector.detector}
                    | {"weights": detector.weights, "layer": layer, "head": head}
                    | {"raw": None if undefined else null + score * (1 - null)}
                    | {"null": 1.0 if undefined else null}
                    | {"score": None if undefined else score}
                    | {"ci_low": None if undefined else score - 0.03}
                    | {"ci_high": None if undefined else score + 0.03}
                    | {"q": None if undefined else (0.001 if strong else 0.6)}
                    | {"named_by": "all" if strong and not undefined else None}
                    | {"effect": effect if run else None}
                    | {"effect_low": effect - 0.1 if run else None}
                    | {"effect_high": effect + 0.1 if run else None}
                    | {"first_order": effect + float(rng.normal(0, 0.03)), "n": 48}
                )
    return pd.DataFrame(rows)


def softmax_patterns(n: int, seq: int, seed: int = 3) -> np.ndarray:
    """[n, seq, seq]: a third look at the token before, a third at the first, the rest anywhere."""
    rng = np.random.default_rng(seed)
    query, key = np.arange(seq)[:, None], np.arange(seq)
    logits = rng.normal(0, 1, (n, seq, seq))
    logits += 4 * (np.arange(n) % 3 == 0)[:, None, None] * (key == query - 1)
    logits += 4 * (np.arange(n) % 3 == 1)[:, None, None] * (key == 0)
    weights = np.where(key <= query, np.exp(logits), 0)
    return weights / weights.sum(-1, keepdims=True)


def pattern_frame(prompt: str, patterns: np.ndarray, n_heads: int) -> pd.DataFrame:
    """patterns: [layers * heads, seq, seq], of which the lower triangles are kept."""
    query, key = np.tril_indices(patterns.shape[1])
    head = np.arange(len(patterns)).repeat(len(query))
    return pd.DataFrame(
        {
            "subject": SUBJECT,
            "model": SUBJECT,
            "prompt": prompt,
            "layer": head // n_heads,
            "head": head % n_heads,
            "query": np.tile(query, len(patterns)),
            "key": np.tile(key, len(patterns)),
            "weight": patterns[:, query, key].ravel(),
        }
    )
