"""How well each objective finds what is planted: table crosslingual_planted. Needs no model."""

import torch

from zscope.core.jobs import Provenance, job, progress
from zscope.core.provenance import derive_seed
from zscope.studies.crosslingual.ard.planted import PlantedSettings, plant, recover
from zscope.studies.crosslingual.config import ArdConfig
from zscope.studies.crosslingual.tables import PLANTED
from zscope.tables.schema import Row
from zscope.tables.write import write_table


def recover_planted(ard: ArdConfig, output: str, provenance: Provenance) -> None:
    rows: list[Row] = []
    for seed in progress(ard.planted_seeds, desc="planted"):
        generator = torch.Generator().manual_seed(derive_seed(seed, "planted"))
        found = recover(plant(PlantedSettings(), generator), ard, seed)
        rows += [{"seed": seed, **row} for row in found]
    write_table(rows, output, PLANTED, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch", "scipy") as this:
        ard = ArdConfig.model_validate(this.slice["ard"])
        recover_planted(ard, this.output.planted, this.provenance)
