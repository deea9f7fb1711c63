"""Train one run, or resume it where it was killed."""

from pathlib import Path
from typing import Any

import torch

from zscope.config.base import Bootstrap
from zscope.core.devices import pick_device
from zscope.core.jobs import job
from zscope.core.provenance import digest_of
from zscope.models.checkpoints import CheckpointFile, join
from zscope.studies.lag.facts import encode
from zscope.studies.lag.run_config import RunConfig
from zscope.studies.lag.tables import FACTS, METRICS, TIMING
from zscope.studies.lag.training import model_shape, train_run
from zscope.tables.read import read_provenance, read_table
from zscope.tables.write import write_table
from zscope.training import ResumeFolder


def train_from_facts(
    facts: str,
    metrics: str,
    timing: str,
    checkpoints: str,
    *,
    run: str,
    config: RunConfig,
    device: torch.device,
    bootstrap: Bootstrap,
    provenance: dict[str, Any],
) -> None:
    """Until it is done, the training's state lies beside the checkpoints."""
    data = encode(read_table(facts, FACTS), config.data)
    key = digest_of({**provenance, "facts": read_provenance(facts)})
    folder = ResumeFolder(Path(checkpoints).parent, key)
    trained = train_run(run, config, data, folder, device, bootstrap)

    rows = [{"run": run, "ci_low": None, "ci_high": None, **row} for row in trained.rows]
    write_table(rows, metrics, METRICS, provenance)
    times = [{"run": run, "step": step, "seconds": s} for step, s in trained.timing]
    write_table(times, timing, TIMING, provenance)
    join(trained.checkpoints, checkpoints, model_shape(config.model, data), provenance)
    assert CheckpointFile(checkpoints).steps == tuple(trained.checkpoints)
    folder.remove()


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch") as this:
        device = pick_device(this.slice["device"])
        train_from_facts(
            this.input.facts,
            **dict(this.output.items()),
            run=this.wildcards.run,
            config=RunConfig.model_validate(this.slice["run"]),
            device=device,
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            provenance={**this.provenance, "device": str(device)},
        )
