"""What the weights of a condition's checkpoints say: numbers, matrices, rule search, degrees."""

from typing import Any

import pandas as pd

from zscope.core.devices import set_threads
from zscope.core.jobs import progress, run_job
from zscope.core.provenance import versions
from zscope.models.checkpoints import CheckpointFile
from zscope.models.tensor_checkpoints import load_tensor_model
from zscope.studies.toylang.config import ReadoutConfig
from zscope.toy_language.config import LanguageConfig
from zscope.studies.toylang.readouts.degrees import degree_rows
from zscope.studies.toylang.readouts.readout_rows import matrix_rows, readout_rows, search_rows
from zscope.studies.toylang.readouts.weights import TensorWeights
from zscope.tables.read import read_table, write_table
from zscope.toy_language.language import ToyLanguage
from zscope.toy_language.language_rows import rules_of


def main(job: Any) -> None:
    """Input `checkpoints` is a list in the order of the slice's `seeds`. Of the last checkpoint
    alone: `matrices`, `search` and `degrees`."""
    tracked = job.params.tracked
    part = tracked["slice"]
    set_threads(job.threads)
    language = ToyLanguage(LanguageConfig.model_validate(part["language"]))
    config = ReadoutConfig.model_validate(part["readouts"])
    rules = rules_of(read_table(job.input.rules, "toylang_rules"))
    tables: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("readouts", "matrices", "search", "degrees")
    }
    for seed, path in zip(part["seeds"], job.input.checkpoints, strict=True):
        run = {"condition": job.wildcards.condition, "seed": seed}
        file = CheckpointFile(path)
        for step in progress(file.steps, desc=f"weights {job.wildcards.condition}-s{seed}"):
            model = load_tensor_model(file, step)
            weights = TensorWeights.from_model(model)
            found = readout_rows(weights, language, rules, config)
            tables["readouts"] += [{**run, "step": step, **row} for row in found]
        last = {
            "matrices": matrix_rows(weights, language, rules, config),
            "search": search_rows(weights, language, rules, config),
            "degrees": degree_rows(model, language, seed),
        }
        for name, found in last.items():
            tables[name] += [{**run, **row} for row in found]
    provenance = {**tracked, "versions": versions("python", "numpy", "torch")}
    for name, rows in tables.items():
        write_table(pd.DataFrame(rows), job.output[name], f"toylang_{name}", provenance)


if __name__ == "__main__":
    run_job(snakemake, main)
