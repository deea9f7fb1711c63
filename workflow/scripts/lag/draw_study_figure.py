"""Draw one figure of the study from the tables of its sweep."""

from importlib import import_module
from typing import Any

from zscope.figures.lag.data import SweepTables
from zscope.figures.style import save_figure
from zscope.jobs import run_job
from zscope.tables import read_table


def main(job: Any) -> None:
    tracked = job.params.tracked
    draw = import_module(f"zscope.figures.lag.{tracked['slice']['figure']}").draw
    tables = {name: read_table(path, f"lag_{name}") for name, path in job.input.items() if path}
    save_figure(draw(SweepTables(**tables)), [job.output.svg, job.output.png], tracked)


if __name__ == "__main__":
    run_job(snakemake, main)
