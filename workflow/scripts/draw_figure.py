"""Draw one figure of any study from the tables that its module names."""

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

# A notebook's `!snakemake` hands down its own backend, which matplotlib refuses where that package
# is not installed.
os.environ["MPLBACKEND"] = "agg"

from zscope.core.jobs import job
from zscope.figures.style import save_figure
from zscope.figures.tables import Tables
from zscope.tables.read import read_tables


def draw_figure(
    study: str,
    name: str,
    inputs: Mapping[str, Sequence[str]],
    outputs: Sequence[str],
    *,
    level: float | None,
    declared: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> None:
    """inputs: the files of each table, by its short name. outputs: one file per format."""
    figure = import_module(f"zscope.studies.{study}.figures.{name}")
    frames = {
        table.name: read_tables(paths, table)
        for table in figure.NEEDS
        if (paths := inputs.get(table.short))
    }
    save_figure(figure.draw(Tables(frames, level, declared)), outputs, provenance)


def _lists(inputs: Any) -> dict[str, list[str]]:
    """Snakemake gives a table with one file as its path."""
    return {name: [v] if isinstance(v, str) else list(v) for name, v in inputs.items()}


if __name__ == "__main__":
    with job(snakemake, "matplotlib", "numpy", "pandas") as this:
        draw_figure(
            this.slice["study"],
            this.slice["figure"],
            _lists(this.input),
            [this.output.svg, this.output.png],
            level=this.slice["level"],
            declared=this.slice["declared"],
            provenance=this.provenance,
        )
