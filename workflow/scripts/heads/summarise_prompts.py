"""Say what every ablation does over all prompts of a set."""

from collections.abc import Mapping
from typing import Any

from zscope.config.base import Bootstrap
from zscope.core.jobs import job
from zscope.studies.heads.pages.condition_summary import summarise_conditions
from zscope.studies.heads.tables import CONDITION_SUMMARY, PROMPT_CONDITIONS
from zscope.tables.read import read_table
from zscope.tables.write import write_table


def summarise_prompts(
    conditions: str, output: str, *, bootstrap: Bootstrap, provenance: Mapping[str, Any]
) -> None:
    rows = summarise_conditions(read_table(conditions, PROMPT_CONDITIONS), bootstrap)
    write_table(rows, output, CONDITION_SUMMARY, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "pandas", "scipy") as this:
        summarise_prompts(
            this.input.prompt_conditions,
            this.output.condition_summary,
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            provenance=this.provenance,
        )
