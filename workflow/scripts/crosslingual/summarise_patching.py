"""Rates, paired tests and the declared cell's table of patching one model."""

from pathlib import Path

from zscope.config.base import Bootstrap
from zscope.core.files import atomic_path
from zscope.core.jobs import job
from zscope.core.provenance import derive_seed
from zscope.studies.crosslingual.config import VerdictConfig, ZConfig
from zscope.studies.crosslingual.declared import declared_cell
from zscope.studies.crosslingual.patching.paired_tests import by_problem, paired_tests, rates
from zscope.studies.crosslingual.patching.patched_table import patched_html, patched_table
from zscope.studies.crosslingual.sizes import read_sizes
from zscope.studies.crosslingual.tables import OUTPUTS, PATCHED, PROBLEMS, RATES, TESTS
from zscope.tables.read import read_table, read_tables
from zscope.tables.write import write_csv, write_table

if __name__ == "__main__":
    with job(snakemake, "numpy", "scipy") as this:
        model = this.wildcards.model
        rules = VerdictConfig.model_validate(this.slice["verdict"])
        z = ZConfig.model_validate(this.slice["z"])
        cell = declared_cell(rules, z, read_sizes(this.input.sizes))
        bootstrap = Bootstrap.model_validate(this.slice["bootstrap"])
        outputs = read_tables(this.input.outputs, OUTPUTS)
        measures = by_problem(outputs)
        table = patched_table(outputs, read_table(this.input.problems, PROBLEMS), cell)
        tests = paired_tests(measures, bootstrap, derive_seed(this.slice["seed"], "patching"))
        for path, rows, kind in (
            (this.output.rates, rates(measures, bootstrap.level), RATES),
            (this.output.tests, tests, TESTS),
            (this.output.table, table, PATCHED),
        ):
            write_table(rows.assign(model=model), path, kind, this.provenance)
        title = f"Patched outputs of {model}, {cell.direction}, layer {cell.layer}, k {cell.k}"
        with atomic_path(Path(this.output.html)) as temporary:
            temporary.write_text(patched_html(table, title), "utf-8")
        write_csv(table, this.output.csv)
