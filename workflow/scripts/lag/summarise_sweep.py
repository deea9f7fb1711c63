"""The tables of a sweep's conditions in one, and medians over seeds."""

from typing import Any

import pandas as pd

from zscope.core.files import atomic_path
from zscope.core.jobs import run_job
from zscope.studies.lag.onsets import summarise_onsets
from zscope.tables.read import read_table, write_table


def main(job: Any) -> None:
    tracked = job.params.tracked
    sweep = tracked["slice"]["sweep"]
    members = pd.DataFrame(tracked["slice"]["members"])

    def gather(name: str) -> pd.DataFrame:
        parts = [read_table(path, f"lag_condition_{name}") for path in job.input[name]]
        columns = ["run", "label", *(["design"] if name == "runs" else [])]
        # In the order of the config, which is the order of the figures.
        return members[columns].merge(pd.concat(parts), on="run").assign(sweep=sweep)

    tables = {name: gather(name) for name in ("runs", "curves", "onsets", "phases")}
    summary = summarise_onsets(tables["onsets"], tables["curves"], tracked["slice"]["bootstrap"])
    tables["summary"] = pd.DataFrame(summary).assign(sweep=sweep)
    for name, rows in tables.items():
        write_table(rows, job.output[name], f"lag_{name}", tracked)
    with atomic_path(job.output.csv) as temporary:
        read_table(job.output.summary, "lag_summary").to_csv(temporary, index=False)


if __name__ == "__main__":
    run_job(snakemake, main)
