"""Train one run of the toy language study, or resume it where it was killed."""

from pathlib import Path
from typing import Any

import torch

from zscope.config.base import Bootstrap
from zscope.core.devices import pick_device
from zscope.core.jobs import job
from zscope.core.provenance import digest_of
from zscope.models.checkpoints import join
from zscope.studies.toylang.config import ToyRunConfig
from zscope.studies.toylang.tables import TIMING, TRAINING
from zscope.studies.toylang.training import model_shape, train_run
from zscope.tables.write import write_table
from zscope.toy_language.language import ToyLanguage
from zscope.training import ResumeFolder


def train_toy_run(
    name: str,
    config: ToyRunConfig,
    seed: int,
    training: Path,
    timing: Path,
    checkpoints: Path,
    *,
    device: torch.device,
    bootstrap: Bootstrap,
    provenance: dict[str, Any],
) -> None:
    provenance = {**provenance, "device": str(device)}
    folder = ResumeFolder(Path(checkpoints).parent, digest_of(provenance))
    trained = train_run(name, config, seed, folder, device, bootstrap)

    run = {"condition": name.rpartition("-s")[0], "seed": seed}
    nothing = {"primitive": "all", "ci_low": None, "ci_high": None}
    write_table([{**run, **nothing, **row} for row in trained.rows], training, TRAINING, provenance)
    clock = [{**run, "step": step, "seconds": seconds} for step, seconds in trained.timing]
    write_table(clock, timing, TIMING, provenance)
    shape = model_shape(config.model, ToyLanguage(config.language))
    join(trained.checkpoints, checkpoints, shape, provenance)
    folder.remove()


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch") as this:
        train_toy_run(
            this.wildcards.run,
            ToyRunConfig.model_validate(this.slice["config"]),
            this.slice["seed"],
            this.output.training,
            this.output.timing,
            this.output.checkpoints,
            device=pick_device(this.slice["device"]),
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            provenance=this.provenance,
        )
