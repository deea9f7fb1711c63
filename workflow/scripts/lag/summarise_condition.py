"""Find the curves, onsets and phases of every run of one condition."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from zscope.core.jobs import job
from zscope.studies.lag.config import OnsetConfig
from zscope.studies.lag.onsets import (
    describe_run,
    find_onsets,
    find_phases,
    probe_curves,
    training_curves,
)
from zscope.studies.lag.run_config import RunConfig
from zscope.studies.lag.tables import GATHERED, METRICS, PROBE
from zscope.tables.read import read_table
from zscope.tables.write import write_table


def summarise_condition(
    metrics: Sequence[str],
    probes: Sequence[str],
    outputs: Mapping[str, str],
    *,
    runs: Mapping[str, RunConfig],
    onset: OnsetConfig,
    provenance: Mapping[str, Any],
) -> None:
    """metrics: one file per run. probes: one file per probe. outputs: by the name of the table."""
    described = pd.DataFrame([describe_run(run, config) for run, config in runs.items()])
    curves = pd.concat(
        [training_curves(read_table(path, METRICS)) for path in metrics]
        + [probe_curves(read_table(path, PROBE)) for path in probes]
    )
    onsets = find_onsets(curves, described, onset)
    found: dict[str, Any] = {
        "runs": described,
        "curves": curves.merge(described[["condition", "run", "seed"]], on="run"),
        "onsets": onsets,
        "phases": find_phases(curves, onsets),
    }
    for of_sweep, table in GATHERED.items():
        write_table(found[of_sweep.short], outputs[of_sweep.short], table, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "pandas") as this:
        summarise_condition(
            this.input.metrics,
            this.input.get("probes", []),
            dict(this.output.items()),
            runs={r: RunConfig.model_validate(c) for r, c in this.slice["runs"].items()},
            onset=OnsetConfig.model_validate(this.slice["onset"]),
            provenance=this.provenance,
        )
