"""Every research question over all models: table crosslingual_verdicts."""

from collections.abc import Mapping, Sequence

import pandas as pd

from zscope.core.jobs import Provenance, job
from zscope.studies.crosslingual.questions.summary import over_models
from zscope.studies.crosslingual.tables import SUMMARY, VERDICTS
from zscope.tables.read import read_table
from zscope.tables.write import write_csv, write_table


def summarise_verdicts(
    summaries: Sequence[str],
    verdicts: str,
    csv: str,
    *,
    families: Mapping[str, str],
    provenance: Provenance,
) -> None:
    """summaries: a table of each model. families: the family of each model."""
    frames = pd.concat([read_table(path, SUMMARY) for path in summaries], ignore_index=True)
    rows = pd.DataFrame(over_models(frames, families))
    write_table(rows, verdicts, VERDICTS, provenance)
    write_csv(rows, csv)


if __name__ == "__main__":
    with job(snakemake) as this:
        summarise_verdicts(
            list(this.input.summaries),
            this.output.verdicts,
            this.output.csv,
            families=this.slice["families"],
            provenance=this.provenance,
        )
