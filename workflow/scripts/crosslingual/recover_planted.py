"""How well each objective finds what is planted: table crosslingual_planted. Needs no model."""

from typing import Any

import torch

from zscope.core.devices import set_threads
from zscope.core.jobs import progress, run_job
from zscope.core.provenance import derive_seed, versions
from zscope.studies.crosslingual.ard.layer_fits import ArdSettings
from zscope.studies.crosslingual.ard.planted import PlantedSettings, plant, recover
from zscope.studies.crosslingual.config import ArdConfig
from zscope.tables.read import write_table


def main(job: Any) -> None:
    tracked = job.params.tracked
    set_threads(job.threads)
    ard = ArdConfig.model_validate(tracked["slice"]["ard"])
    settings = ArdSettings.of(ard, draws=0)
    rows = []
    for seed in progress(ard.planted_seeds, desc="planted"):
        generator = torch.Generator().manual_seed(derive_seed(seed, "planted"))
        planted = plant(PlantedSettings(), generator)
        rows += [{"seed": seed, **row} for row in recover(planted, settings, seed)]
    provenance = {**tracked, "versions": versions("python", "numpy", "torch", "scipy")}
    write_table(rows, job.output[0], "crosslingual_planted", provenance)


if __name__ == "__main__":
    run_job(snakemake, main)
