"""Onsets, their medians and comparisons over seeds, and the claims of the study."""

from typing import Any

import pandas as pd

from zscope.core.jobs import run_job
from zscope.core.provenance import versions
from zscope.studies.toylang.claims import summary_rows
from zscope.studies.toylang.config import REFERENCE, ToylangConfig
from zscope.studies.toylang.onsets import compare, run_onsets, summarise
from zscope.tables.read import read_table, read_tables, write_table


def main(job: Any) -> None:
    """Inputs are named by table, a path or a list of paths; a list may be empty."""
    tracked = job.params.tracked
    part = tracked["slice"]
    config, bootstrap = ToylangConfig.model_validate(part["toylang"]), part["bootstrap"]
    tables = read_tables(job.input)
    provenance = {**tracked, "versions": versions("python", "numpy", "pandas", "scipy")}

    def write(name: str, rows: list[dict[str, Any]], *counts: str) -> pd.DataFrame:
        """Write a table, whose columns `counts` are nullable whole numbers; return it."""
        frame = pd.DataFrame(rows).astype(dict.fromkeys(counts, "Int64"))
        write_table(frame, job.output[name], f"toylang_{name}", provenance)
        return read_table(job.output[name], f"toylang_{name}")

    readouts = tables.get("toylang_readouts")
    rows = run_onsets(tables["toylang_training"], readouts, config.onset)
    onsets = write("onsets", rows, "onset")
    tables["toylang_onsets"] = onsets
    tables["toylang_onset_summary"] = write("onset_summary", summarise(onsets, bootstrap))
    how = {name: (kind, changed) for name, (kind, changed) in part["comparisons"].items()}
    compared = write("comparisons", compare(onsets, how, REFERENCE, bootstrap))
    tables["toylang_comparisons"] = compared
    summary = write("summary", summary_rows(tables, config))
    summary.to_csv(job.output.csv, index=False)


if __name__ == "__main__":
    run_job(snakemake, main)
