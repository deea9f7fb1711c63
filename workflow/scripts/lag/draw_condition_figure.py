"""Draw one figure of a condition from its training metrics and probes, all seeds together."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from zscope.figures.lag.data import ConditionTables
from zscope.figures.style import save_figure
from zscope.jobs import run_job
from zscope.tables import read_table


def main(job: Any) -> None:
    tracked = job.params.tracked
    metrics = [read_table(p, "lag_metrics") for p in job.input.metrics]
    tables = ConditionTables(
        metrics=pd.concat(metrics, ignore_index=True),
        probes={Path(p).stem: read_table(p, "lag_probe") for p in job.input.probes},
        runs=read_table(job.input.runs, "lag_condition_runs"),
        onsets=read_table(job.input.onsets, "lag_condition_onsets"),
    )
    draw = import_module(f"zscope.figures.lag.{tracked['slice']['figure']}").draw
    save_figure(draw(tables), [job.output.svg, job.output.png], tracked)


if __name__ == "__main__":
    run_job(snakemake, main)
