"""Every research question of the study for one model: table crosslingual_summary."""

import pandas as pd

from zscope.core.jobs import job
from zscope.studies.crosslingual.config import VerdictConfig, ZConfig
from zscope.studies.crosslingual.declared import declared_cell
from zscope.studies.crosslingual.questions.evidence import Evidence
from zscope.studies.crosslingual.questions.summary import summarise
from zscope.studies.crosslingual.sizes import read_sizes
from zscope.studies.crosslingual.tables import SUMMARY, TABLES
from zscope.tables.read import read_table
from zscope.tables.write import write_csv, write_table

if __name__ == "__main__":
    with job(snakemake, "scipy") as this:
        rules = VerdictConfig.model_validate(this.slice["verdict"])
        z = ZConfig.model_validate(this.slice["z"])
        cell = declared_cell(rules, z, read_sizes(this.input.sizes))
        paths, model = dict(this.input.items()), this.wildcards.model
        given = {t.name: read_table(paths[t.short], t) for t in TABLES if t.short in paths}
        answers = summarise(Evidence(given, cell, rules, this.slice["level"], model))
        rows = pd.DataFrame(answers).assign(model=model)
        write_table(rows, this.output.summary, SUMMARY, this.provenance)
        write_csv(rows, this.output.csv)
