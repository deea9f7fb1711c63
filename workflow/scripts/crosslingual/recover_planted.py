"""How well each objective finds what is planted: table crosslingual_planted. Needs no model."""

from typing import Any

import torch

from zscope.config.crosslingual import ArdConfig
from zscope.devices import set_threads
from zscope.jobs import progress, run_job
from zscope.provenance import derive_seed, versions
from zscope.subspace.ard_study import ArdSettings
from zscope.subspace.planted import PlantedSettings, plant, recover
from zscope.tables import write_table


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
