"""The parallel problems that everything is measured on: table crosslingual_problems."""

from typing import Any

from zscope.core.jobs import run_job
from zscope.studies.crosslingual.config import ProblemsConfig
from zscope.studies.crosslingual.problems.parallel import generate, load_problems
from zscope.studies.crosslingual.problems.problem_rows import problem_rows
from zscope.tables.read import write_table


def main(job: Any) -> None:
    tracked = job.params.tracked
    config = ProblemsConfig.model_validate(tracked["slice"]["problems"])
    if config.source == "generated":
        problems = generate(config.n, config.seed, held_out=True)
    else:
        problems = load_problems(config.file)
    write_table(problem_rows(problems), job.output.problems, "crosslingual_problems", tracked)


if __name__ == "__main__":
    run_job(snakemake, main)
