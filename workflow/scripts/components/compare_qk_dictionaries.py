"""Compare ways to train dictionaries of the queries and keys of a toy model's induction head."""

from collections.abc import Mapping, Sequence
from typing import Any

from zscope.config.base import Bootstrap
from zscope.core.jobs import job
from zscope.core.provenance import derive_seed
from zscope.studies.components.dictionaries.config import QkConfig
from zscope.studies.components.dictionaries.qk_dictionaries import qk_rows
from zscope.studies.components.dictionaries.tables import DICTIONARIES_QK
from zscope.tables.write import write_table


def compare_qk_dictionaries(
    weights: Sequence[str],
    output: str,
    *,
    subject: Mapping[str, Any],
    config: QkConfig,
    seed: int,
    bootstrap: Bootstrap,
    provenance: Mapping[str, Any],
) -> None:
    """weights: the checkpoints of each model of the subject."""
    rows = qk_rows(
        dict(zip(subject["models"], weights, strict=True)),
        subject["settings"],
        config,
        seed=derive_seed(seed, "qk dictionaries"),
        bootstrap=bootstrap,
    )
    full = [{"subject": subject["name"], **row} for row in rows]
    write_table(full, output, DICTIONARIES_QK, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch") as this:
        compare_qk_dictionaries(
            list(this.input.weights),
            this.output.qk,
            subject=this.slice["subject"],
            config=QkConfig.model_validate(this.slice["qk"]),
            seed=this.slice["seed"],
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            provenance=this.provenance,
        )
