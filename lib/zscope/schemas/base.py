"""What tables are made of, and the columns that all studies share."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class Column:
    """A column: its Arrow type, unit ("" if it has none) and one-line meaning."""

    name: str
    type: pa.DataType
    unit: str
    meaning: str
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """A table: what a row is, its columns, where it lies, and which columns identify a row."""

    name: str
    row: str
    path: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([pa.field(c.name, c.type, c.nullable) for c in self.columns])


INT, FLOAT, TEXT, BOOL = pa.int64(), pa.float64(), pa.string(), pa.bool_()
SEED = Column("seed", INT, "", "the run's seed")
STEP = Column("step", INT, "optimizer steps", "steps done; 0 is the untrained model")
METRIC = Column("metric", TEXT, "", "what was measured (the study's page in docs/ defines each)")
INTERVAL = (
    Column("ci_low", FLOAT, "as value", "lower end of the interval; null: none", True),
    Column("ci_high", FLOAT, "as value", "upper end of the interval; null: none", True),
)
VALUE = Column("value", FLOAT, "nats, or a share", "the measurement; losses are in nats")
NUMBER = Column("value", FLOAT, "as metric", "the measurement; null: undefined", True)
N = Column("n", INT, "examples", "examples that the value is a mean of")
