"""Read the weights of a condition's checkpoints: numbers, matrices, rule search, degrees."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zscope.core.jobs import job, progress
from zscope.models.checkpoints import CheckpointFile
from zscope.models.tensor_checkpoints import load_tensor_model
from zscope.studies.toylang.config import ReadoutConfig
from zscope.studies.toylang.readouts.degrees import degree_rows
from zscope.studies.toylang.readouts.readout_rows import Reading
from zscope.studies.toylang.readouts.weights import TensorWeights
from zscope.studies.toylang.tables import DEGREES, MATRICES, OF_WEIGHTS, READOUTS, RULES, SEARCH
from zscope.tables.read import read_table
from zscope.tables.schema import Row, Table
from zscope.tables.write import write_table
from zscope.toy_language.config import LanguageConfig
from zscope.toy_language.language import ToyLanguage
from zscope.toy_language.rules import rules_of


def read_toy_weights(
    condition: str,
    checkpoints: dict[int, Path],
    rules_path: Path,
    outputs: dict[Table, Path],
    *,
    language: ToyLanguage,
    config: ReadoutConfig,
    provenance: dict[str, Any],
) -> None:
    """checkpoints: the file of each seed. All tables but READOUTS are of its last checkpoint."""
    rules = rules_of(read_table(rules_path, RULES))
    rows: dict[Table, list[Row]] = {table: [] for table in outputs}

    def add(table: Table, found: Sequence[Row], **run: Any) -> None:
        rows[table] += [{"condition": condition, **run, **row} for row in found]

    for seed, path in checkpoints.items():
        file = CheckpointFile(path)
        for step in progress(file.steps, desc=f"weights {condition}-s{seed}"):
            model = load_tensor_model(file, step)
            reading = Reading(TensorWeights.from_model(model), language, rules, config)
            add(READOUTS, reading.numbers(), seed=seed, step=step)
        add(MATRICES, reading.matrices(), seed=seed)
        add(SEARCH, reading.search(), seed=seed)
        add(DEGREES, degree_rows(model, language, seed), seed=seed)
    for table, path in outputs.items():
        write_table(rows[table], path, table, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch") as this:
        read_toy_weights(
            this.wildcards.condition,
            dict(zip(this.slice["seeds"], this.input.checkpoints, strict=True)),
            this.input.rules,
            {table: this.output[table.short] for table in OF_WEIGHTS},
            language=ToyLanguage(LanguageConfig.model_validate(this.slice["language"])),
            config=ReadoutConfig.model_validate(this.slice["readouts"]),
            provenance=this.provenance,
        )
