"""Train one run, or go on with it where it was killed."""

from pathlib import Path
from typing import Any

from zscope.core.devices import pick_device, set_threads
from zscope.core.jobs import run_job
from zscope.core.provenance import digest_of, versions
from zscope.models.checkpoints import CheckpointFile, join
from zscope.models.transformer import TransformerConfig
from zscope.studies.lag.config import RunConfig
from zscope.studies.lag.facts import encode
from zscope.studies.lag.training import train_run
from zscope.tables.read import read_provenance, read_table, write_table
from zscope.training import ResumeFolder


def main(job: Any) -> None:
    tracked, name = job.params.tracked, job.wildcards.run
    config = RunConfig.model_validate(tracked["slice"]["run"])
    set_threads(job.threads)
    device = pick_device(tracked["slice"]["device"])
    data = encode(read_table(job.input.facts, "lag_facts"), config.data)
    provenance = {
        **tracked,
        "device": str(device),
        "versions": versions("python", "numpy", "torch"),
    }
    key = digest_of({**provenance, "facts": read_provenance(job.input.facts)})
    folder = ResumeFolder(Path(job.output.checkpoints).parent, key)
    trained = train_run(name, config, data, folder, device, tracked["slice"]["bootstrap"])

    rows = [{"run": name, "ci_low": None, "ci_high": None, **row} for row in trained.rows]
    write_table(rows, job.output.metrics, "lag_metrics", provenance)
    timing = [{"run": name, "step": step, "seconds": s} for step, s in trained.timing]
    write_table(timing, job.output.timing, "lag_timing", provenance)
    shape = TransformerConfig.of(
        config.model, n_ctx=data.layout.length, d_vocab=len(data.vocabulary)
    )
    join(trained.checkpoints, job.output.checkpoints, shape, provenance)
    assert CheckpointFile(job.output.checkpoints).steps == config.training.checkpoint_steps
    folder.remove()


if __name__ == "__main__":
    run_job(snakemake, main)
