"""Draw one figure of the toy language study from the tables of all its runs."""

from importlib import import_module
from typing import Any

import pandas as pd

from zscope.figures.style import save_figure
from zscope.figures.toylang.data import Tables
from zscope.jobs import run_job
from zscope.tables import read_table


def main(job: Any) -> None:
    """Inputs are named by table, a path or a list of paths; a list may be empty."""
    tracked = job.params.tracked
    frames = {}
    for name, paths in job.input.items():
        found = [read_table(p, name) for p in ([paths] if isinstance(paths, str) else paths)]
        if found:
            frames[name] = pd.concat(found, ignore_index=True)
    draw = import_module(f"zscope.figures.toylang.{tracked['slice']['figure']}").draw
    save_figure(draw(Tables(frames)), [job.output.svg, job.output.png], tracked)


if __name__ == "__main__":
    run_job(snakemake, main)
