"""Hidden states of every prompt at every layer: a folder of Parquet files."""

from typing import Any

from zscope.core.jobs import run_job
from zscope.core.provenance import versions
from zscope.models.language_model import load_for_job
from zscope.studies.crosslingual.problems.parallel import LANGUAGES
from zscope.studies.crosslingual.problems.problem_rows import read_problems
from zscope.studies.crosslingual.space.activations import extract


def main(job: Any) -> None:
    tracked = job.params.tracked
    part = tracked["slice"]
    lm = load_for_job(job)
    provenance = {
        **tracked,
        "model": lm.name,
        "device": str(lm.device),
        "versions": versions("python", "torch", "transformers"),
    }
    extract(
        lm,
        read_problems(job.input.problems),
        LANGUAGES,
        job.output.activations,
        part["activations"]["dtype"],
        part["batch_size"],
        provenance,
    )


if __name__ == "__main__":
    run_job(snakemake, main)
