"""Train the embedded bilingual model, or go on with it where it was killed."""

from pathlib import Path
from typing import Any

from zscope.core.devices import pick_device, set_threads
from zscope.core.jobs import run_job
from zscope.core.provenance import digest_of, versions
from zscope.studies.crosslingual.config import TinyConfig
from zscope.studies.crosslingual.tiny_qwen import save_tiny_qwen
from zscope.studies.crosslingual.training import check_gate, train_tiny
from zscope.tables.read import write_table
from zscope.training import ResumeFolder


def main(job: Any) -> None:
    tracked, model = job.params.tracked, job.wildcards.model
    part = tracked["slice"]
    config, seed = TinyConfig.model_validate(part["tiny"]), part["seed"]
    set_threads(job.threads)
    device = pick_device(part["device"])
    provenance = {
        **tracked,
        "device": str(device),
        "versions": versions("python", "numpy", "torch", "tokenizers", "transformers"),
    }
    # The gate is not part of it, so that a lower one accepts the model that was trained.
    recipe = config.model_dump()
    recipe["training"].pop("gate")
    key = digest_of({**provenance, "slice": {**part, "tiny": recipe}})
    folder = ResumeFolder(Path(job.output.weights).parent, key)
    trained = train_tiny(model, config, seed, folder, device)
    check_gate(trained.rows, config.training.gate)

    rows = [{"model": model, "ci_low": None, "ci_high": None, **row} for row in trained.rows]
    write_table(rows, job.output.training, "crosslingual_training", provenance)
    timing = [{"model": model, "step": step, "seconds": s} for step, s in trained.timing]
    write_table(timing, job.output.timing, "crosslingual_timing", provenance)
    save_tiny_qwen(trained.model, trained.tokenizer, job.output.weights)
    folder.remove()


if __name__ == "__main__":
    run_job(snakemake, main)
