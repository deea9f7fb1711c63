"""Measure a decomposition: its evidence, its components, and what they do."""

from collections.abc import Mapping
from typing import Any

from zscope.config.base import Bootstrap
from zscope.core.jobs import job, progress
from zscope.core.provenance import derive_seed
from zscope.studies.components.decomposition.config import DecompositionConfig
from zscope.studies.components.decomposition.measured import load_phases
from zscope.studies.components.decomposition.measuring import Measuring, measure_phase
from zscope.studies.components.decomposition.tables import MEASURED
from zscope.tables.schema import Row
from zscope.tables.write import write_table
from zscope.toy_language.config import LanguageConfig
from zscope.toy_language.language import ToyLanguage


def measure_decomposition(
    checkpoints: str,
    weights: str,
    outputs: Mapping[str, str],
    *,
    model: str,
    seed: int,
    measuring: Measuring,
    provenance: Mapping[str, Any],
) -> None:
    """outputs: the file of each table, by its short name."""
    rows: dict[str, list[Row]] = {table.short: [] for table in MEASURED}
    phases = load_phases(checkpoints, weights)
    for number, (phase, decomposition) in enumerate(progress(phases.items(), desc="phases")):
        of = {"model": model, "seed": seed, "phase": phase}
        for short, found in measure_phase(decomposition, measuring, first=number == 0).items():
            rows[short] += [{**of, **row} for row in found]
    for table in MEASURED:
        names = {column.name for column in table.columns}
        kept = [{k: v for k, v in row.items() if k in names} for row in rows[table.short]]
        write_table(kept, outputs[table.short], table, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch") as this:
        measure_decomposition(
            this.input.checkpoints,
            this.input.weights,
            dict(this.output.items()),
            model=this.slice["model"],
            seed=this.slice["seed"],
            measuring=Measuring(
                ToyLanguage(LanguageConfig.model_validate(this.slice["language"])),
                DecompositionConfig.model_validate(this.slice["config"]),
                derive_seed(this.slice["study_seed"], "measuring"),
                Bootstrap.model_validate(this.slice["bootstrap"]),
            ),
            provenance=this.provenance,
        )
