"""Run the three experiments on a condition's last checkpoints."""

from pathlib import Path
from typing import Any

from zscope.config.base import Bootstrap
from zscope.core.jobs import job, progress
from zscope.models.tensor_checkpoints import load_last_tensor_model
from zscope.studies.toylang.phenomena.experiments import phenomena_rows
from zscope.studies.toylang.tables import PHENOMENA
from zscope.tables.schema import Row
from zscope.tables.write import write_table
from zscope.toy_language.config import LanguageConfig
from zscope.toy_language.language import ToyLanguage


def measure_toy_phenomena(
    condition: str,
    checkpoints: dict[int, Path],
    phenomena: Path,
    *,
    language: ToyLanguage,
    bootstrap: Bootstrap,
    provenance: dict[str, Any],
) -> None:
    """checkpoints: the file of each seed."""
    rows: list[Row] = []
    for seed, path in progress(checkpoints.items(), desc=f"phenomena {condition}"):
        found = phenomena_rows(load_last_tensor_model(path), language, bootstrap, seed)
        rows += [{"condition": condition, "seed": seed, **row} for row in found]
    write_table(rows, phenomena, PHENOMENA, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch") as this:
        measure_toy_phenomena(
            this.wildcards.condition,
            dict(zip(this.slice["seeds"], this.input.checkpoints, strict=True)),
            this.output.phenomena,
            language=ToyLanguage(LanguageConfig.model_validate(this.slice["language"])),
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            provenance=this.provenance,
        )
