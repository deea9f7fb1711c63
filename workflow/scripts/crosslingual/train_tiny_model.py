"""Train the embedded bilingual model, or go on with it where it was killed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zscope.core.devices import pick_device
from zscope.core.jobs import job
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
    device: str,
    provenance: dict[str, Any],
) -> None:
    place = pick_device(device)
    provenance = {**provenance, "device": str(place)}
    folder = ResumeFolder(Path(weights).parent, _resume_key(provenance, config))
    trained = train_tiny(model, config, seed, folder, place)
    check_gate(trained.rows, config.training.gate)
    write_table([{"model": model, **row} for row in trained.rows], training, TRAINING, provenance)
    seconds = [{"model": model, "step": step, "seconds": s} for step, s in trained.timing]
    write_table(seconds, timing, TIMING, provenance)
    save_tiny_qwen(trained.model, trained.tokenizer, weights)
    folder.remove()


def _resume_key(provenance: Mapping[str, Any], config: TinyConfig) -> str:
    """The gate is left out: lowering it must not train a finished model again."""
    recipe = config.model_dump()
    recipe["training"].pop("gate")
    return digest_of({**provenance, "slice": {**provenance["slice"], "tiny": recipe}})


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch", "tokenizers", "transformers") as this:
        train_tiny_model(
            this.output.weights,
            this.output.training,
            this.output.timing,
            model=this.wildcards.model,
            config=TinyConfig.model_validate(this.slice["tiny"]),
            seed=this.slice["seed"],
            device=this.slice["device"],
            provenance=this.provenance,
        )
