"""The frames that the pages are made of, as tables. A page is of one subject."""

from __future__ import annotations

import pandas as pd

from zscope.core.errors import DataError
from zscope.tables.schema import FLOAT, INT, INTERVAL, METRIC, NUMBER, TEXT, Column, N, Table

LOGIT_UP, LOGIT_DOWN, P_UP, P_DOWN = RANKINGS = ("logit_up", "logit_down", "p_up", "p_down")
"""By the change of the logit, centred over the vocabulary, and by p_ablated - p_base."""

SUBJECT = Column("subject", TEXT, "", "the model, by its name in the config")
PROMPT = Column("prompt", TEXT, "", "id of the prompt")
LAYER = Column("layer", INT, "", "layer, from 0")
HEAD = Column("head", INT, "", "query head of the layer, from 0")
TOKEN = (
    Column("token_id", INT, "", "the token's id in the vocabulary"),
    Column("token", TEXT, "", "what it stands for, with its blanks"),
)
DETECTOR = (
    Column("detector", TEXT, "", "what the head is asked to do (docs/heads.md)"),
    Column("weights", TEXT, "", "attention, contribution or without_first"),
)
CONDITION = (
    PROMPT,
    Column("t", INT, "tokens", "position of the ablation and the prediction, from 0"),
    Column("condition", TEXT, "", "id of the ablation, or of a base run"),
)
_FOLDER = "results/heads/subjects/{subject}/prompts/{prompts}"

PROMPT_TOKENS = Table(
    "heads_prompt_tokens",
    "a token of a prompt",
    _FOLDER + "/tokens.parquet",
    (
        SUBJECT,
        PROMPT,
        Column("family", TEXT, "", "kind of prompt"),
        Column("position", INT, "tokens", "place in the prompt, from 0"),
        *TOKEN,
    ),
    ("subject", "prompt", "position"),
)
PROMPT_CONDITIONS = Table(
    "heads_prompt_conditions",
    "one prediction: a prompt under an ablation, or as it is",
    _FOLDER + "/conditions.parquet",
    (
        SUBJECT,
        *CONDITION,
        Column("label", TEXT, "", "the condition in words"),
        Column("base", TEXT, "", "condition that it is compared with; null: it is a base", True),
        Column("predicted_id", INT, "", "id of the likeliest token"),
        Column("predicted", TEXT, "", "the likeliest token"),
        Column("kl", FLOAT, "nats", "KL(base, ablated) of the next token; null: a base", True),
        Column("log_p", FLOAT, "nats", "log probability of the base's likeliest token"),
        Column("log_p_change", FLOAT, "nats", "minus the base's log_p; null: a base", True),
    ),
    ("subject", "prompt", "t", "condition"),
)
PROMPT_SHIFTS = Table(
    "heads_prompt_shifts",
    "a token that an ablation moves most",
    _FOLDER + "/shifts.parquet",
    (
        SUBJECT,
        *CONDITION,
        Column("ranking", TEXT, "", "logit_up, logit_down, p_up or p_down"),
        Column("rank", INT, "", "1: moved most"),
        *TOKEN,
        Column(
            "value",
            FLOAT,
            "nats, or a share",
            "change of the centred logit, or of p, from the base",
        ),
    ),
    ("subject", "prompt", "t", "condition", "ranking", "rank"),
)
CONDITION_SUMMARY = Table(
    "heads_condition_summary",
    "a measure of an ablation over all prompts",
    _FOLDER + "/summary.parquet",
    (
        SUBJECT,
        Column("condition", TEXT, "", "id of the ablation"),
        Column("label", TEXT, "", "the condition in words"),
        Column("base", TEXT, "", "condition that it is compared with"),
        METRIC,
        NUMBER,
        *INTERVAL,
        N,
    ),
    ("subject", "condition", "metric"),
)
HEAD_MAP = Table(
    "heads_map",
    "a head under a detector",
    "results/heads/subjects/{subject}/map.parquet",
    (
        SUBJECT,
        *DETECTOR,
        LAYER,
        HEAD,
        Column("raw", FLOAT, "share", "weight on the targets; null: undefined", True),
        Column("null", FLOAT, "share", "what the null puts there; null: undefined", True),
        Column("score", FLOAT, "share", "(raw - null) / (1 - null); null: undefined", True),
        *INTERVAL,
        Column("q", FLOAT, "", "adjusted p of raw > null; null: not tested", True),
        Column("named_by", TEXT, "", "all, or the class of tokens; null: not named", True),
        Column("effect", FLOAT, "nats", "exact mean ablation; > 0: needed; null: not run", True),
        Column("effect_low", FLOAT, "nats", "lower end of the effect's interval", True),
        Column("effect_high", FLOAT, "nats", "upper end of the effect's interval", True),
        Column("first_order", FLOAT, "nats", "first-order estimate; null: not run", True),
        N,
    ),
    ("subject", "detector", "weights", "layer", "head"),
)
PATTERNS = Table(
    "heads_patterns",
    "an entry of a head's attention pattern on a prompt",
    _FOLDER + "/patterns.parquet",
    (
        SUBJECT,
        PROMPT,
        LAYER,
        HEAD,
        Column("query", INT, "tokens", "position that attends, from 0"),
        Column("key", INT, "tokens", "position that is attended to, at most the query's"),
        Column("weight", FLOAT, "share", "the pattern; bilinear ones are signed, and no shares"),
    ),
    ("subject", "prompt", "layer", "head", "query", "key"),
)
TABLES = (
    PROMPT_TOKENS,
    PROMPT_CONDITIONS,
    PROMPT_SHIFTS,
    CONDITION_SUMMARY,
    HEAD_MAP,
    PATTERNS,
)


def checked(frame: pd.DataFrame, table: Table, *, by_key: bool = True) -> pd.DataFrame:
    """The frame, which must have the table's columns and be of one subject at most.

    Raises DataError, in one line, if it is not so, or, unless `by_key` is false, if two rows have
    the same key.
    """
    missing = [c.name for c in table.columns if c.name not in frame.columns]
    if missing:
        raise DataError(f"page: the frame of {table.name} has no column {', '.join(missing)}")
    if frame["subject"].nunique() > 1:
        subjects = ", ".join(sorted(frame["subject"].unique()))
        raise DataError(f"page: {table.name} is of several subjects: {subjects}; give those of one")
    if by_key and frame.duplicated(list(table.key)).any():
        twice = frame.loc[frame.duplicated(list(table.key)), list(table.key)].iloc[0].to_dict()
        raise DataError(f"page: the frame of {table.name} has two rows with {twice}")
    return frame
