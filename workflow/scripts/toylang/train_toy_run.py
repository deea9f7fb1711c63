"""Train one run of the toy language study, or go on with it where it was killed."""

from pathlib import Path
from typing import Any

from zscope.core.devices import pick_device, set_threads
from zscope.core.jobs import run_job
from zscope.core.provenance import digest_of, versions
from zscope.models.checkpoints import join
from zscope.studies.toylang.config import ToyRunConfig
from zscope.studies.toylang.training import model_shape, train_run
from zscope.tables.read import write_table
from zscope.toy_language.language import ToyLanguage
from zscope.training import ResumeFolder


def main(job: Any) -> None:
    tracked, name = job.params.tracked, job.wildcards.run
    part = tracked["slice"]
    config, seed = ToyRunConfig.model_validate(part["config"]), part["seed"]
    set_threads(job.threads)
    device = pick_device(part["device"])
    provenance = {
        **tracked,
        "device": str(device),
        "versions": versions("python", "numpy", "torch"),
    }
    folder = ResumeFolder(Path(job.output.checkpoints).parent, digest_of(provenance))
    trained = train_run(name, config, seed, folder, device, part["bootstrap"])

    run = {"condition": name.rpartition("-s")[0], "seed": seed}
    nothing = {"primitive": "all", "ci_low": None, "ci_high": None}
    rows = [{**run, **nothing, **row} for row in trained.rows]
    write_table(rows, job.output.training, "toylang_training", provenance)
    timing = [{**run, "step": step, "seconds": seconds} for step, seconds in trained.timing]
    write_table(timing, job.output.timing, "toylang_timing", provenance)
    shape = model_shape(config.model, ToyLanguage(config.language))
    join(trained.checkpoints, job.output.checkpoints, shape, provenance)
    folder.remove()


if __name__ == "__main__":
    run_job(snakemake, main)
