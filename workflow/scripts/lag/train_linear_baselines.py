"""Train the linear baselines of the contrast figure."""

from typing import Any

from zscope.core.jobs import run_job
from zscope.studies.lag.linear_baselines import (
    LinearSettings,
    ill_conditioned_regression,
    planted_selector,
)
from zscope.tables.read import write_table


def main(job: Any) -> None:
    linear = dict(job.params.tracked["slice"]["linear"])
    seeds = linear.pop("seeds")
    settings = LinearSettings(**linear)
    rows = [
        row
        for seed in seeds
        for baseline in (ill_conditioned_regression, planted_selector)
        for row in baseline(settings, seed)
    ]
    write_table(rows, job.output.losses, "lag_linear", job.params.tracked)


if __name__ == "__main__":
    run_job(snakemake, main)
