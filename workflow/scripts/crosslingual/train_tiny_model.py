"""Train the embedded bilingual model, or go on with it where it was killed."""

from pathlib import Path

import torch

from zscope.core.devices import pick_device
from zscope.core.jobs import Provenance, job
from zscope.core.provenance import digest_of
from zscope.studies.crosslingual.config import TinyConfig
from zscope.studies.crosslingual.tables import TIMING, TRAINING
from zscope.studies.crosslingual.tiny_qwen import save_tiny_qwen
from zscope.studies.crosslingual.training import check_gate, train_tiny
from zscope.tables.write import write_table
from zscope.training import ResumeFolder


def train_tiny_model(
    weights: str,
    training: str,
    timing: str,
    *,
    model: str,
    config: TinyConfig,
    seed: int,
    device: torch.device,
    provenance: Provenance,
) -> None:
    # The gate is left out of the key: lowering it must not train a finished model again.
    recipe = config.model_dump()
    del recipe["training"]["gate"]
    key = digest_of({**provenance, "slice": {**provenance["slice"], "tiny": recipe}})
    folder = ResumeFolder(Path(weights).parent, key)
    trained = train_tiny(model, config, seed, folder, device)
    check_gate(trained.rows, config.training.gate)
    write_table([{"model": model, **row} for row in trained.rows], training, TRAINING, provenance)
    seconds = [{"model": model, "step": step, "seconds": s} for step, s in trained.timing]
    write_table(seconds, timing, TIMING, provenance)
    save_tiny_qwen(trained.model, trained.tokenizer, weights)
    folder.remove()


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch", "tokenizers", "transformers") as this:
        device = pick_device(this.slice["device"])
        train_tiny_model(
            this.output.weights,
            this.output.training,
            this.output.timing,
            model=this.wildcards.model,
            config=TinyConfig.model_validate(this.slice["tiny"]),
            seed=this.slice["seed"],
            device=device,
            provenance={**this.provenance, "device": str(device)},
        )
