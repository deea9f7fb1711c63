"""Hidden states of every prompt at every layer: a folder of Parquet files."""

from zscope.core.jobs import job
from zscope.studies.crosslingual.problems.parallel import LANGUAGES
from zscope.studies.crosslingual.problems.problem_rows import read_problems
from zscope.studies.crosslingual.space.activations import extract
from zscope.studies.crosslingual.subject import load_subject

if __name__ == "__main__":
    with job(snakemake, "torch", "transformers") as this:
        lm, loaded = load_subject(this.wildcards.model, this.input.weights, **this.slice["subject"])
        extract(
            lm,
            read_problems(this.input.problems),
            LANGUAGES,
            this.output.activations,
            this.slice["activations"]["dtype"],
            this.slice["batch_size"],
            {**this.provenance, **loaded},
        )
