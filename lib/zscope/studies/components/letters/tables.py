"""The table of the experiment on letters."""

from __future__ import annotations

from zscope.tables.schema import FLOAT, INT, INTERVAL, SEED, TEXT, Column, Table

READOUTS = Table(
    "components_letters_readouts",
    "what a model that answers with labels does on one kind of prompt",
    "results/components/letters/readouts.parquet",
    (
        Column("permuted", FLOAT, "", "share of its training prompts with labels in random order"),
        SEED,
        Column("tested", TEXT, "", "in order; permuted: where label and position disagree"),
        Column(
            "metric",
            TEXT,
            "",
            "label, letter_of_position: share of such answers; attention_label, attention_content: "
            "from the end to these tokens of the option that is asked for",
        ),
        Column("layer", INT, "", "layer, from 0; null: of the model", True),
        Column("head", INT, "", "head, from 0; null: of the model", True),
        Column("value", FLOAT, "", "the share, or the mean weight"),
        *INTERVAL,
        Column("null", FLOAT, "as value", "chance; of attention that to the other options"),
        Column("n", INT, "prompts", "prompts that the value is a mean of"),
    ),
    ("permuted", "seed", "tested", "metric", "layer", "head"),
)
TABLES: tuple[Table, ...] = (READOUTS,)
