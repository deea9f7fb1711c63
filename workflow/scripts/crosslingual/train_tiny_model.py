"""Train the embedded bilingual model, or go on with it where it was killed."""

from pathlib import Path

from zscope.core.devices import pick_device
from zscope.core.jobs import job
from zscope.core.provenance import digest_of
from zscope.studies.crosslingual.config import TinyConfig
from zscope.studies.crosslingual.tables import TIMING, TRAINING
from zscope.studies.crosslingual.tiny_qwen import save_tiny_qwen
from zscope.studies.crosslingual.training import check_gate, train_tiny
from zscope.tables.write import write_table
from zscope.training import ResumeFolder

if __name__ == "__main__":
    with job(snakemake, "numpy", "torch", "tokenizers", "transformers") as this:
        model, seed = this.wildcards.model, this.slice["seed"]
        config = TinyConfig.model_validate(this.slice["tiny"])
        device = pick_device(this.slice["device"])
        provenance = {**this.provenance, "device": str(device)}
        # The gate is left out of the key: lowering it must not train a finished model again.
        recipe = config.model_dump()
        del recipe["training"]["gate"]
        key = digest_of({**provenance, "slice": {**this.slice, "tiny": recipe}})
        folder = ResumeFolder(Path(this.output.weights).parent, key)
        trained = train_tiny(model, config, seed, folder, device)
        check_gate(trained.rows, config.training.gate)
        rows = [{"model": model, **row} for row in trained.rows]
        write_table(rows, this.output.training, TRAINING, provenance)
        seconds = [{"model": model, "step": step, "seconds": s} for step, s in trained.timing]
        write_table(seconds, this.output.timing, TIMING, provenance)
        save_tiny_qwen(trained.model, trained.tokenizer, this.output.weights)
        folder.remove()
