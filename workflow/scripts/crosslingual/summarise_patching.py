"""Rates, paired tests and the declared cell's table of patching one model."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from zscope.config.base import Bootstrap
from zscope.core.files import atomic_path
from zscope.core.jobs import Provenance, job
from zscope.studies.crosslingual.config import VerdictConfig, ZConfig
from zscope.studies.crosslingual.declared import DeclaredCell, declared_cell, verdict_nulls
from zscope.studies.crosslingual.patching.paired_tests import (
    by_output,
    draw_rates,
    paired_tests,
    rates,
    units_of,
)
from zscope.studies.crosslingual.patching.patched_table import patched_html, patched_table
from zscope.studies.crosslingual.sizes import read_sizes
from zscope.studies.crosslingual.tables import (
    DRAWS,
    ENERGY_SHARES,
    OUTPUTS,
    PATCHED,
    PROBLEMS,
    RATES,
    TESTS,
)
from zscope.tables.read import read_table, read_tables
from zscope.tables.write import write_csv, write_table


def summarise_patching(
    problems: str,
    unpatched: str,
    outputs: Sequence[str],
    energy_shares: Sequence[str],
    written: Mapping[str, str],
    *,
    model: str,
    cell: DeclaredCell,
    bootstrap: Bootstrap,
    provenance: Provenance,
) -> None:
    """unpatched: the answers without a patch. outputs, energy_shares: one file per layer. written:
    paths of rates, draws, tests, table, html and csv."""
    texts = read_tables(outputs, OUTPUTS)
    known = read_table(problems, PROBLEMS)
    measures = by_output(texts, read_table(unpatched, OUTPUTS))
    shares = read_tables(energy_shares, ENERGY_SHARES)
    draws = draw_rates(measures, shares, verdict_nulls(cell))
    table = patched_table(texts, known, cell)
    tests = paired_tests(measures, units_of(known), bootstrap)
    for path, rows, kind in (
        (written["rates"], rates(measures, bootstrap.level), RATES),
        (written["draws"], draws, DRAWS),
        (written["tests"], tests, TESTS),
        (written["table"], table, PATCHED),
    ):
        write_table(rows.assign(model=model), path, kind, provenance)
    title = f"Patched outputs of {model}, {cell.direction}, layer {cell.layer}, k {cell.k}"
    with atomic_path(Path(written["html"])) as temporary:
        temporary.write_text(patched_html(table, title), "utf-8")
    write_csv(table, written["csv"])


if __name__ == "__main__":
    with job(snakemake, "numpy", "scipy") as this:
        rules = VerdictConfig.model_validate(this.slice["verdict"])
        z = ZConfig.model_validate(this.slice["z"])
        summarise_patching(
            this.input.problems,
            this.input.unpatched,
            this.input.outputs,
            this.input.energy_shares,
            dict(this.output.items()),
            model=this.wildcards.model,
            cell=declared_cell(rules, z, read_sizes(this.input.sizes)),
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            provenance=this.provenance,
        )
