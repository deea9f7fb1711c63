"""The three experiments on a condition's last checkpoints: table toylang_phenomena."""

from typing import Any

from zscope.core.devices import set_threads
from zscope.core.jobs import progress, run_job
from zscope.core.provenance import versions
from zscope.models.tensor_checkpoints import load_last_tensor_model
from zscope.studies.toylang.config import ReadoutConfig
from zscope.toy_language.config import LanguageConfig
from zscope.studies.toylang.phenomena.experiments import phenomena_rows
from zscope.studies.toylang.readouts.weights import TensorWeights
from zscope.tables.read import write_table
from zscope.toy_language.language import ToyLanguage


def main(job: Any) -> None:
    """Input `checkpoints` is a list in the order of the slice's `seeds`."""
    tracked, condition = job.params.tracked, job.wildcards.condition
    part = tracked["slice"]
    set_threads(job.threads)
    language = ToyLanguage(LanguageConfig.model_validate(part["language"]))
    config = ReadoutConfig.model_validate(part["readouts"])
    rows = []
    runs = list(zip(part["seeds"], job.input.checkpoints, strict=True))
    for seed, path in progress(runs, desc=f"phenomena {condition}"):
        model = load_last_tensor_model(path)
        weights = TensorWeights.from_model(model) if model.config.is_polynomial else None
        found = phenomena_rows(model, language, weights, part["bootstrap"], seed, config)
        rows += [{"condition": condition, "seed": seed, **row} for row in found]
    provenance = {**tracked, "versions": versions("python", "numpy", "torch")}
    write_table(rows, job.output.phenomena, "toylang_phenomena", provenance)


if __name__ == "__main__":
    run_job(snakemake, main)
