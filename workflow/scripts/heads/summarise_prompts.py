"""Say what every ablation does over all prompts of a set."""

from collections.abc import Mapping
from typing import Any

from zscope.config.base import Bootstrap
from zscope.core.jobs import job
from zscope.studies.heads.pages.attention_summary import summarise_attention
from zscope.studies.heads.pages.condition_summary import summarise_conditions
from zscope.studies.heads.tables import (
    CONDITION_ATTENTION,
    CONDITION_SUMMARY,
    PROMPT_ATTENTION,
    PROMPT_CONDITIONS,
)
from zscope.tables.read import read_table
from zscope.tables.write import write_table


def summarise_prompts(
    conditions: str,
    attention: str,
    output: str,
    attention_output: str,
    *,
    prompts: str,
    bootstrap: Bootstrap,
    provenance: Mapping[str, Any],
) -> None:
    of_prompts = read_table(conditions, PROMPT_CONDITIONS)
    rows = summarise_conditions(of_prompts, bootstrap)
    write_table(rows, output, CONDITION_SUMMARY, provenance)
    of_layers = read_table(attention, PROMPT_ATTENTION)
    moved = summarise_attention(of_layers, of_prompts, prompts, bootstrap)
    write_table(moved, attention_output, CONDITION_ATTENTION, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "pandas", "scipy") as this:
        summarise_prompts(
            this.input.prompt_conditions,
            this.input.prompt_attention,
            this.output.condition_summary,
            this.output.condition_attention,
            prompts=this.wildcards.prompts,
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            provenance=this.provenance,
        )
