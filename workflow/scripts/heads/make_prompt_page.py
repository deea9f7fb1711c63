"""Make the page of a set of prompts: a table for each prompt, a row for each ablation."""

from collections.abc import Mapping
from pathlib import Path

from zscope.core.files import atomic_path
from zscope.core.jobs import job
from zscope.studies.heads.pages.ablation_page import ablation_page
from zscope.studies.heads.tables import (
    CONDITION_SUMMARY,
    CONTINUATIONS,
    PROMPT_CONDITIONS,
    PROMPT_SHIFTS,
    PROMPT_TOKENS,
)
from zscope.tables.read import read_table


def make_prompt_page(tables: Mapping[str, str], output: str, *, subject: str, level: float) -> None:
    """tables: files by the short name of their table."""
    frames = {
        table.short: read_table(tables[table.short], table)
        for table in (
            *(PROMPT_TOKENS, PROMPT_CONDITIONS, PROMPT_SHIFTS),
            *(CONDITION_SUMMARY, CONTINUATIONS),
        )
    }
    page = ablation_page(
        frames[PROMPT_TOKENS.short],
        frames[PROMPT_CONDITIONS.short],
        frames[PROMPT_SHIFTS.short],
        frames[CONDITION_SUMMARY.short],
        frames[CONTINUATIONS.short],
        subject=subject,
        level=level,
    )
    with atomic_path(Path(output)) as temporary:
        temporary.write_text(page, "utf-8")


if __name__ == "__main__":
    with job(snakemake, "numpy", "pandas") as this:
        make_prompt_page(
            dict(this.input.items()),
            this.output.page,
            subject=this.slice["subject"],
            level=this.slice["level"],
        )
