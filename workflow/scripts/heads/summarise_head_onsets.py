"""Say of every model of a subject when its heads set in, and in which order."""

from typing import Any

from zscope.config.base import Bootstrap
from zscope.core.jobs import job
from zscope.studies.heads.onsets.order import order_rows
from zscope.studies.heads.onsets.times import OnsetRule, median_rows, onset_rows
from zscope.studies.heads.tables import CHECKPOINTS, ONSET_MEDIANS, ONSET_ORDER, ONSETS
from zscope.tables.read import read_table
from zscope.tables.write import write_table


def summarise_head_onsets(
    checkpoints: str,
    onsets: str,
    medians: str,
    order: str,
    *,
    rule: OnsetRule,
    alpha: float,
    bootstrap: Bootstrap,
    provenance: dict[str, Any],
) -> None:
    """checkpoints: the table of a subject."""
    rows = onset_rows(read_table(checkpoints, CHECKPOINTS), rule)
    write_table(rows, onsets, ONSETS, provenance)
    found = read_table(onsets, ONSETS)
    write_table(median_rows(found, bootstrap), medians, ONSET_MEDIANS, provenance)
    ordered = order_rows(found, alpha=alpha, level=bootstrap.level)
    write_table(ordered, order, ONSET_ORDER, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "pandas", "scipy") as this:
        summarise_head_onsets(
            this.input.checkpoints,
            this.output.onsets,
            this.output.medians,
            this.output.order,
            rule=OnsetRule(**this.slice["rule"]),
            alpha=this.slice["alpha"],
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            provenance=this.provenance,
        )
