"""The excess of a condition's last checkpoints with heads ablated: table toylang_ablations."""

from typing import Any

import torch

from zscope.core.devices import set_threads
from zscope.core.jobs import progress, run_job
from zscope.core.provenance import versions
from zscope.models.tensor_checkpoints import load_last_tensor_model
from zscope.studies.toylang.config import ReadoutConfig
from zscope.toy_language.config import LanguageConfig
from zscope.studies.toylang.readouts.ablations import ablation_rows
from zscope.studies.toylang.readouts.weights import TensorWeights
from zscope.studies.toylang.training import evaluation_of
from zscope.tables.read import read_table, write_table
from zscope.toy_language.language import ToyLanguage
from zscope.toy_language.language_rows import rules_of


def main(job: Any) -> None:
    """Input `checkpoints` is a list in the order of the slice's `seeds`."""
    tracked, condition = job.params.tracked, job.wildcards.condition
    part = tracked["slice"]
    set_threads(job.threads)
    language = ToyLanguage(LanguageConfig.model_validate(part["language"]))
    config = ReadoutConfig.model_validate(part["readouts"])
    rules = rules_of(read_table(job.input.rules, "toylang_rules"))
    evaluation = evaluation_of(
        language, part["eval_sequences"], part["bootstrap"], torch.device("cpu")
    )
    rows = []
    runs = list(zip(part["seeds"], job.input.checkpoints, strict=True))
    for seed, path in progress(runs, desc=f"ablations {condition}"):
        model = load_last_tensor_model(path)
        weights = TensorWeights.from_model(model) if model.config.is_polynomial else None
        found = ablation_rows(model, evaluation, weights, language, rules, config, seed)
        rows += [{"condition": condition, "seed": seed, **row} for row in found]
    provenance = {**tracked, "versions": versions("python", "numpy", "torch")}
    write_table(rows, job.output.ablations, "toylang_ablations", provenance)


if __name__ == "__main__":
    run_job(snakemake, main)
