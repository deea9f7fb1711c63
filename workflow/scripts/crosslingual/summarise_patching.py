"""Rates, paired tests and the protocol's table of patching one model."""

from typing import Any

import pandas as pd

from zscope.core.files import atomic_path
from zscope.core.jobs import run_job
from zscope.core.provenance import derive_seed
from zscope.studies.crosslingual.config import VerdictConfig, ZConfig
from zscope.studies.crosslingual.patching.paired_tests import (
    by_problem,
    declared_cell,
    paired_tests,
    patched_html,
    patched_table,
    rates,
)
from zscope.tables.read import read_provenance, read_table, write_table


def main(job: Any) -> None:
    """Inputs `outputs` (a file a layer) and `problems`."""
    tracked, model = job.params.tracked, job.wildcards.model
    part = tracked["slice"]
    wanted, z = VerdictConfig.model_validate(part["verdict"]), ZConfig.model_validate(part["z"])
    resolved = [read_provenance(path)["resolved"] for path in job.input.outputs]
    cell = declared_cell(wanted, z, resolved)
    outputs = pd.concat(
        [read_table(path, "crosslingual_outputs") for path in job.input.outputs], ignore_index=True
    )
    measures = by_problem(outputs)
    found, tests = rates(measures), paired_tests(measures, derive_seed(part["seed"], "patching"))
    table = patched_table(outputs, read_table(job.input.problems, "crosslingual_problems"), cell)
    for name, rows, kind in (
        ("rates", found, "crosslingual_rates"),
        ("tests", tests, "crosslingual_tests"),
        ("table", table, "crosslingual_patched"),
    ):
        write_table(rows.assign(model=model), job.output[name], kind, tracked)
    title = f"Patched outputs of {model}, {cell.direction}, layer {cell.layer}, k {cell.k}"
    with atomic_path(job.output.html) as temporary:
        temporary.write_text(patched_html(table, title), "utf-8")
    with atomic_path(job.output.csv) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


if __name__ == "__main__":
    run_job(snakemake, main)
