"""The parallel problems that everything is measured on: table crosslingual_problems."""

from zscope.core.jobs import Provenance, job
from zscope.studies.crosslingual.config import ProblemsConfig
from zscope.studies.crosslingual.problems.few_shot import category_problems, number_word_problems
from zscope.studies.crosslingual.problems.measured import measured_problems
from zscope.studies.crosslingual.problems.parallel import load_problems
from zscope.studies.crosslingual.problems.problem_rows import problem_rows
from zscope.studies.crosslingual.tables import PROBLEMS
from zscope.tables.write import write_table


def make_problems(config: ProblemsConfig, output: str, provenance: Provenance) -> None:
    made = {
        "generated": measured_problems,
        "categories": category_problems,
        "number_words": number_word_problems,
    }
    if config.source in made:
        problems = made[config.source](config.n, config.seed)
    else:
        problems = load_problems(config.file)
    write_table(problem_rows(problems), output, PROBLEMS, provenance)


if __name__ == "__main__":
    with job(snakemake) as this:
        config = ProblemsConfig.model_validate(this.slice["problems"])
        make_problems(config, this.output.problems, this.provenance)
