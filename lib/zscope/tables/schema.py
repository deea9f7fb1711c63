"""What tables are made of, and the columns that all studies share. Standard library only."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from string import Formatter
from typing import Any, Literal

Row = dict[str, Any]
"""A row of a table, by column."""

Type = Literal["int", "float", "text", "bool"]
INT: Type = "int"
FLOAT: Type = "float"
TEXT: Type = "text"
BOOL: Type = "bool"


@dataclass(frozen=True)
class Column:
    """A column: its type, unit ("" if it has none) and one-line meaning."""

    name: str
    type: Type
    unit: str
    meaning: str
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """A table: what a row is, its columns, where its files are, and which columns identify a row.

    name: `{study}_{short}`, unique among all studies; it is written into every file. path: of one
    file, with wildcards in braces.
    """

    name: str
    row: str
    path: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()

    @property
    def study(self) -> str:
        return self.name.partition("_")[0]

    @property
    def short(self) -> str:
        """The name within its study; rules and figures call the table's files so."""
        return self.name.partition("_")[2]

    @property
    def has_interval(self) -> bool:
        """Whether a column is the end of an interval, which depends on the config's `bootstrap`."""
        return any(column.name.endswith(("ci_low", "null_low")) for column in self.columns)

    @property
    def wildcards(self) -> tuple[str, ...]:
        """The names in braces in its path."""
        return tuple(name for _, name, _, _ in Formatter().parse(self.path) if name)

    def paths(self, **wildcards: Iterable[object] | str) -> list[str]:
        """The files for every combination of these wildcards, in the order given."""
        values = [[v] if isinstance(v, str) else list(v) for v in wildcards.values()]
        return [
            self.path.format(**dict(zip(wildcards, chosen, strict=True)))
            for chosen in itertools.product(*values)
        ]


SEED = Column("seed", INT, "", "the run's random seed")
STEP = Column("step", INT, "optimizer steps", "steps done; 0 is the untrained model")
METRIC = Column("metric", TEXT, "", "what was measured (the study's page in docs/ defines each)")
INTERVAL = (
    Column("ci_low", FLOAT, "as value", "lower end of the interval; null: none", True),
    Column("ci_high", FLOAT, "as value", "upper end of the interval; null: none", True),
)
VALUE = Column("value", FLOAT, "nats, or a share", "the measurement; losses are in nats")
NUMBER = Column("value", FLOAT, "as metric", "the measurement; null: undefined", True)
N = Column("n", INT, "examples", "examples that the value is a mean of")
