"""The table in which a study hands its sequences to another, which cannot import it."""

from __future__ import annotations

from zscope.tables.schema import BOOL, INT, TEXT, Column, Table

ROWS = Table(
    "text_rows",
    "a token of a sequence that a model was trained on, or one like it",
    "results/{study}/rows/{name}.parquet",
    (
        Column("sequence", INT, "", "index of the sequence"),
        Column("position", INT, "tokens", "place in it, from 0"),
        Column("token_id", INT, "", "the token's id in the model's vocabulary"),
        Column("token", TEXT, "", "the token"),
        Column("special", BOOL, "", "whether it only marks a place, such as a beginning"),
        Column("measured", BOOL, "", "whether the model is asked for it, from those before"),
    ),
    ("sequence", "position"),
)
TABLES = (ROWS,)
