"""What the study says of one model, question by question: table crosslingual_summary."""

from typing import Any

from zscope.config.sizes import check_k, check_layer
from zscope.core.files import atomic_path
from zscope.core.jobs import run_job
from zscope.studies.crosslingual.config import VerdictConfig, ZConfig
from zscope.studies.crosslingual.patching.paired_tests import declared_cell
from zscope.studies.crosslingual.questions import Declared, Evidence, summarise
from zscope.tables.read import read_table, write_table

NAMES = ("outputs", "weights", "geometry", "updates", "ard", "bridge", "rates", "tests")


def main(job: Any) -> None:
    """Input `model`, and tables by name (NAMES); those that were not made may be left out."""
    tracked, model = job.params.tracked, job.wildcards.model
    part = tracked["slice"]
    wanted, z = VerdictConfig.model_validate(part["verdict"]), ZConfig.model_validate(part["z"])
    shape = read_table(job.input.model, "crosslingual_models").iloc[0]
    here = {
        "layer": [wanted.layer, check_layer(wanted.layer, int(shape["n_layers"]))],
        "k": [[wanted.k, check_k(wanted.k, int(shape["n_kv_heads"] * shape["d_head"]))]],
    }
    cell = declared_cell(wanted, z, [here])
    declared = Declared(cell, wanted.high, wanted.margin, wanted.alpha, model)
    paths = {name: job.input.get(name) for name in NAMES}
    evidence = Evidence(
        {name: read_table(path, f"crosslingual_{name}") for name, path in paths.items() if path}
    )
    rows = summarise(evidence, declared).assign(model=model)
    write_table(rows, job.output.summary, "crosslingual_summary", tracked)
    with atomic_path(job.output.csv) as temporary:
        rows.to_csv(temporary, index=False, lineterminator="\n")


if __name__ == "__main__":
    run_job(snakemake, main)
