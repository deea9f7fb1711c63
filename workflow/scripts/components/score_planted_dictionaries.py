"""Train dictionaries on inputs with planted directions, and score them against these."""

from collections.abc import Mapping
from typing import Any

import torch  # noqa: F401  (the job helper limits its threads)

from zscope.config.base import Bootstrap
from zscope.core.jobs import job
from zscope.studies.components.dictionaries.config import PlantedConfig
from zscope.studies.components.dictionaries.planted_scores import planted_rows
from zscope.studies.components.dictionaries.tables import DICTIONARIES_MATCHES, DICTIONARIES_PLANTED
from zscope.tables.write import write_table


def score_planted_dictionaries(
    planted: str,
    matches: str,
    *,
    config: PlantedConfig,
    seed: int,
    bootstrap: Bootstrap,
    provenance: Mapping[str, Any],
) -> None:
    scores, histograms = planted_rows(config, seed, bootstrap)
    write_table(scores, planted, DICTIONARIES_PLANTED, provenance)
    write_table(histograms, matches, DICTIONARIES_MATCHES, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "scipy", "torch") as this:
        score_planted_dictionaries(
            this.output.planted,
            this.output.matches,
            config=PlantedConfig.model_validate(this.slice["planted"]),
            seed=this.slice["seed"],
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            provenance=this.provenance,
        )
