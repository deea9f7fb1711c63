"""How well each objective finds what is planted: table crosslingual_planted. Needs no model."""

from collections.abc import Mapping
from typing import Any

import torch

from zscope.core.jobs import job, progress
from zscope.core.provenance import derive_seed
from zscope.studies.crosslingual.ard.planted import PlantedSettings, plant, recover
from zscope.studies.crosslingual.config import ArdConfig
from zscope.studies.crosslingual.tables import PLANTED
from zscope.tables.write import write_table


def recover_planted(path: str, *, ard: ArdConfig, provenance: Mapping[str, Any]) -> None:
    rows = []
    for seed in progress(ard.planted_seeds, desc="planted"):
        generator = torch.Generator().manual_seed(derive_seed(seed, "planted"))
        planted = plant(PlantedSettings(), generator)
        rows += [{"seed": seed, **row} for row in recover(planted, ard, seed)]
    write_table(rows, path, PLANTED, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch", "scipy") as this:
        recover_planted(
            this.output.planted,
            ard=ArdConfig.model_validate(this.slice["ard"]),
            provenance=this.provenance,
        )
