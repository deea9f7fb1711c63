"""Draw the facts of one run."""

from typing import Any

from zscope.core.jobs import run_job
from zscope.core.provenance import derive_seed
from zscope.studies.lag.config import RunConfig
from zscope.studies.lag.facts import make_facts
from zscope.tables.read import write_table


def data_seed(run: RunConfig) -> int:
    """Seed of the facts: the run's, unless the config fixes the data."""
    return derive_seed(run.seed if run.data_seed is None else run.data_seed, "data")


def main(job: Any) -> None:
    tracked = job.params.tracked
    run = RunConfig.model_validate(tracked["slice"]["run"])
    facts = make_facts(run.data, data_seed(run))
    write_table(facts, job.output.facts, "lag_facts", tracked)


if __name__ == "__main__":
    run_job(snakemake, main)
