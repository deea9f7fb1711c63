"""Every research question of the study for one model: table crosslingual_summary."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from zscope.core.jobs import job
from zscope.studies.crosslingual import tables
from zscope.studies.crosslingual.config import VerdictConfig, ZConfig
from zscope.studies.crosslingual.declared import declared_cell
from zscope.studies.crosslingual.questions.evidence import Evidence
from zscope.studies.crosslingual.questions.summary import summarise
from zscope.studies.crosslingual.sizes import read_sizes
from zscope.tables.read import read_table
from zscope.tables.write import write_csv, write_table

NEEDED = (
    tables.ACCURACY,
    tables.WEIGHTS,
    tables.GEOMETRY,
    tables.UPDATES,
    tables.RATES,
    tables.TESTS,
    tables.ARD,
    tables.BRIDGE,
)


def summarise_model(
    sizes: str,
    paths: Mapping[str, str],
    summary: str,
    csv: str,
    *,
    model: str,
    verdict: VerdictConfig,
    z: ZConfig,
    level: float,
    provenance: Mapping[str, Any],
) -> None:
    """paths: of NEEDED, by short name; those that were not made may be left out."""
    cell = declared_cell(verdict, z, read_sizes(sizes))
    found = {t.name: read_table(paths[t.short], t) for t in NEEDED if t.short in paths}
    rows = pd.DataFrame(summarise(Evidence(found, cell, verdict, level, model))).assign(model=model)
    write_table(rows, summary, tables.SUMMARY, provenance)
    write_csv(rows, csv)


if __name__ == "__main__":
    with job(snakemake, "scipy") as this:
        summarise_model(
            this.input.sizes,
            dict(this.input.items()),
            this.output.summary,
            this.output.csv,
            model=this.wildcards.model,
            verdict=VerdictConfig.model_validate(this.slice["verdict"]),
            z=ZConfig.model_validate(this.slice["z"]),
            level=this.slice["level"],
            provenance=this.provenance,
        )
