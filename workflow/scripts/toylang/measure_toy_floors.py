"""Measure how often each primitive of the reference's language governs, and its floor."""

from pathlib import Path

import numpy as np

from zscope.config.base import Bootstrap
from zscope.core.jobs import job
from zscope.core.provenance import derive_seed
from zscope.studies.toylang.tables import FLOORS
from zscope.tables.write import write_table
from zscope.toy_language.config import LanguageConfig
from zscope.toy_language.floors import floor_rows
from zscope.toy_language.language import ToyLanguage


def measure_toy_floors(
    config: LanguageConfig, floors: Path, *, n: int, bootstrap: Bootstrap, provenance: dict
) -> None:
    rng = np.random.Generator(np.random.PCG64(derive_seed(0, "floors")))
    write_table(floor_rows(ToyLanguage(config), n, rng, bootstrap), floors, FLOORS, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy") as this:
        measure_toy_floors(
            LanguageConfig.model_validate(this.slice["language"]),
            this.output.floors,
            n=this.slice["floor_sequences"],
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            provenance=this.provenance,
        )
