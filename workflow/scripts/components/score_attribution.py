"""Score every method of attribution on the nodes of a condition's models."""

from typing import Any

import pandas as pd

from zscope.config.base import Bootstrap
from zscope.core.jobs import job
from zscope.core.provenance import derive_seed
from zscope.studies.components.attribution.config import AttributionConfig
from zscope.studies.components.attribution.methods import passes
from zscope.studies.components.attribution.scores import ScoreRule, score_rows, work_rows
from zscope.studies.components.attribution.tables import NODES, SCORES, WORK
from zscope.tables.read import read_table
from zscope.tables.write import write_table


def score_attribution(
    nodes: str,
    scores: str,
    work: str,
    *,
    config: AttributionConfig,
    seed: int,
    bootstrap: Bootstrap,
    provenance: dict[str, Any],
) -> None:
    """nodes: the table of the condition."""
    rows = read_table(nodes, NODES)
    rule = ScoreRule(
        config.large, config.missed, config.draws, bootstrap, derive_seed(seed, "attribution")
    )
    scored: list[dict[str, Any]] = []
    worked: list[dict[str, Any]] = []
    for (subject, model), of_model in rows.groupby(["subject", "model"], sort=False):
        columns = {"subject": subject, "model": model}
        scored += [columns | row for row in score_rows(of_model, rule)]
        worked += [
            columns | row | _cost(of_model, row)
            for row in work_rows(of_model, config.top, bootstrap)
        ]
    write_table(scored, scores, SCORES, provenance)
    write_table(worked, work, WORK, provenance)


def _cost(nodes: pd.DataFrame, row: dict[str, Any]) -> dict[str, float]:
    """Forward passes of a pair, by the method and by patching each of its live nodes."""
    return {
        "passes": passes(row["method"], int(nodes["layer"].max()) + 1),
        "nodes": len(nodes) / nodes["pair"].nunique(),
    }


if __name__ == "__main__":
    with job(snakemake, "numpy", "pandas", "scipy") as this:
        score_attribution(
            this.input.nodes,
            this.output.scores,
            this.output.work,
            config=AttributionConfig.model_validate(this.slice["attribution"]),
            seed=this.slice["seed"],
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            provenance=this.provenance,
        )
