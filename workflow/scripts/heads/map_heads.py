"""Put scores, exact effects and first-order effects of every head side by side."""

from collections.abc import Mapping
from typing import Any

from zscope.core.jobs import job
from zscope.figures.frames import select
from zscope.studies.heads.head_map_rows import head_map_rows
from zscope.studies.heads.tables import ABLATIONS, DETECTORS, MAP, SCORES, SCREEN
from zscope.tables.read import read_table
from zscope.tables.write import write_table


def map_heads(
    scores: str,
    detectors: str,
    screen: str,
    ablations: str,
    output: str,
    *,
    model: str,
    provenance: Mapping[str, Any],
) -> None:
    """model: the one of the subject that is shown."""
    files = ((scores, SCORES), (detectors, DETECTORS), (screen, SCREEN), (ablations, ABLATIONS))
    frames = (select(read_table(path, table), model=model) for path, table in files)
    write_table(head_map_rows(*frames), output, MAP, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "pandas") as this:
        map_heads(
            this.input.scores,
            this.input.detectors,
            this.input.screen,
            this.input.ablations,
            this.output.map,
            model=this.slice["model"],
            provenance=this.provenance,
        )
