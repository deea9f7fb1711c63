"""Every research question of the study for one model: table crosslingual_summary."""

from collections.abc import Mapping

import pandas as pd

from zscope.core.jobs import Provenance, job
from zscope.studies.crosslingual.config import VerdictConfig, ZConfig
from zscope.studies.crosslingual.declared import declared_cell
from zscope.studies.crosslingual.questions.evidence import Evidence
from zscope.studies.crosslingual.questions.summary import summarise
from zscope.studies.crosslingual.sizes import read_sizes
from zscope.studies.crosslingual.tables import SUMMARY, TABLES
from zscope.tables.read import read_table
from zscope.tables.write import write_csv, write_table


def summarise_model(
    inputs: Mapping[str, str],
    summary: str,
    csv: str,
    *,
    model: str,
    rules: VerdictConfig,
    z: ZConfig,
    level: float,
    provenance: Provenance,
) -> None:
    """inputs: by the name of the table; all but sizes may be left out."""
    cell = declared_cell(rules, z, read_sizes(inputs["sizes"]))
    given = {t.name: read_table(inputs[t.short], t) for t in TABLES if t.short in inputs}
    rows = pd.DataFrame(summarise(Evidence(given, cell, rules, level, model))).assign(model=model)
    write_table(rows, summary, SUMMARY, provenance)
    write_csv(rows, csv)


if __name__ == "__main__":
    with job(snakemake, "scipy") as this:
        summarise_model(
            dict(this.input.items()),
            this.output.summary,
            this.output.csv,
            model=this.wildcards.model,
            rules=VerdictConfig.model_validate(this.slice["verdict"]),
            z=ZConfig.model_validate(this.slice["z"]),
            level=this.slice["level"],
            provenance=this.provenance,
        )
