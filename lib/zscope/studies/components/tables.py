"""The tables of the components study: those of its three parts, and what they say together."""

from __future__ import annotations

from zscope.studies.components.attribution import tables as attribution
from zscope.studies.components.decomposition import tables as decomposition
from zscope.studies.components.dictionaries import tables as dictionaries
from zscope.studies.components.letters import tables as letters
from zscope.tables.schema import INT, TEXT, Column, Table

SUMMARY = Table(
    "components_summary",
    "a method and what it is asked to find, over all trainings or decompositions",
    "results/components/summary.parquet",
    (
        Column("part", TEXT, "", "attribution, dictionaries or decomposition"),
        Column("subject", TEXT, "", "the condition of the toy language, or the model"),
        Column("method", TEXT, "", "the method (docs/components.md)"),
        Column("question", TEXT, "", "what it should find: of what truth is known"),
        Column("verdict", TEXT, "", "found, not found, or as in docs/verdicts.md"),
        Column("tally", TEXT, "", "how many trainings, or decompositions, say what"),
        Column("n", INT, "", "trainings, or decompositions"),
    ),
    ("part", "subject", "method", "question"),
)
SUMMED = (attribution.SUMMARY, dictionaries.DICTIONARIES_VERDICTS, decomposition.VERDICTS)
"""The tables that it is made of."""
PARTS: dict[str, tuple[Table, ...]] = {
    "attribution": attribution.TABLES,
    "dictionaries": dictionaries.TABLES,
    "decomposition": decomposition.TABLES,
    "letters": letters.TABLES,
}
TABLES: tuple[Table, ...] = (*(table for tables in PARTS.values() for table in tables), SUMMARY)
