"""Draw one figure of the toy language study from the tables of all its runs."""

from importlib import import_module
from typing import Any

from zscope.figures.style import save_figure
from zscope.figures.toylang.data import Tables
from zscope.jobs import run_job
from zscope.tables import read_tables


def main(job: Any) -> None:
    """Inputs are named by table, a path or a list of paths; a list may be empty."""
    tracked = job.params.tracked
    draw = import_module(f"zscope.figures.toylang.{tracked['slice']['figure']}").draw
    save_figure(draw(Tables(read_tables(job.input))), [job.output.svg, job.output.png], tracked)


if __name__ == "__main__":
    run_job(snakemake, main)
