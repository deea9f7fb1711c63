"""Curves, onsets and phases of every seed of one condition."""

from typing import Any

import pandas as pd

from zscope.core.jobs import run_job
from zscope.studies.lag.config import OnsetConfig, RunConfig
from zscope.studies.lag.onsets import (
    describe_run,
    find_onsets,
    find_phases,
    probe_curves,
    training_curves,
)
from zscope.tables.read import read_table, write_table


def main(job: Any) -> None:
    tracked = job.params.tracked
    configs = {r: RunConfig.model_validate(c) for r, c in tracked["slice"]["runs"].items()}
    runs = pd.DataFrame([describe_run(run, config) for run, config in configs.items()])
    curves = pd.concat(
        [training_curves(read_table(path, "lag_metrics")) for path in job.input.metrics]
        + [probe_curves(read_table(path, "lag_probe")) for path in job.input.get("probes", [])]
    )
    onsets = find_onsets(curves, runs, OnsetConfig.model_validate(tracked["slice"]["onset"]))
    phases = find_phases(curves, onsets)
    curves = curves.merge(runs[["condition", "run", "seed"]], on="run", validate="many_to_one")
    tables: dict[str, Any] = {"runs": runs, "curves": curves, "onsets": onsets, "phases": phases}
    for name, rows in tables.items():
        write_table(rows, job.output[name], f"lag_condition_{name}", tracked)


if __name__ == "__main__":
    run_job(snakemake, main)
