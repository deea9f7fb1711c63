"""Make the page of a subject's heads: their scores, their effects, and what they attend to."""

from collections.abc import Mapping
from pathlib import Path

from zscope.core.files import atomic_path
from zscope.core.jobs import job
from zscope.studies.heads.pages.detector_texts import detector_texts
from zscope.studies.heads.pages.head_map import head_map_page
from zscope.studies.heads.tables import (
    ABLATIONS,
    MAP,
    PATTERNS,
    PROMPT_TOKENS,
    VERDICTS,
)
from zscope.tables.read import read_table


def make_head_map(
    tables: Mapping[str, str],
    output: str,
    *,
    subject: str,
    asks: Mapping[str, str],
    level: float,
) -> None:
    """tables: files by the short name of their table. asks: what each detector asks, in words."""
    read = {
        table.short: read_table(tables[table.short], table)
        for table in (MAP, PROMPT_TOKENS, PATTERNS, ABLATIONS, VERDICTS)
    }
    page = head_map_page(
        read[MAP.short],
        read[PROMPT_TOKENS.short],
        read[PATTERNS.short],
        detector_texts(read[MAP.short], read[ABLATIONS.short], read[VERDICTS.short], asks),
        subject=subject,
        level=level,
    )
    with atomic_path(Path(output)) as temporary:
        temporary.write_text(page, "utf-8")


if __name__ == "__main__":
    with job(snakemake, "numpy", "pandas") as this:
        make_head_map(
            dict(this.input.items()),
            this.output.page,
            subject=this.slice["subject"],
            asks=this.slice["asks"],
            level=this.slice["level"],
        )
