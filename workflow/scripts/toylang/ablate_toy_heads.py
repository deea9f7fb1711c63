"""Measure the excess of a condition's last checkpoints with heads ablated."""

from pathlib import Path
from typing import Any

import torch

from zscope.config.base import Bootstrap
from zscope.core.jobs import job, progress
from zscope.models.tensor_checkpoints import load_last_tensor_model
from zscope.studies.toylang.config import ReadoutConfig
from zscope.studies.toylang.readouts.ablations import ablation_rows
from zscope.studies.toylang.tables import ABLATIONS, RULES
from zscope.studies.toylang.training import evaluation_of
from zscope.tables.read import read_table
from zscope.tables.schema import Row
from zscope.tables.write import write_table
from zscope.toy_language.config import LanguageConfig
from zscope.toy_language.language import ToyLanguage
from zscope.toy_language.rules import rules_of


def ablate_toy_heads(
    condition: str,
    checkpoints: dict[int, Path],
    rules_path: Path,
    ablations: Path,
    *,
    language: ToyLanguage,
    config: ReadoutConfig,
    eval_sequences: int,
    bootstrap: Bootstrap,
    provenance: dict[str, Any],
) -> None:
    """checkpoints: the file of each seed."""
    rules = rules_of(read_table(rules_path, RULES))
    evaluation = evaluation_of(language, eval_sequences, bootstrap, torch.device("cpu"))
    rows: list[Row] = []
    for seed, path in progress(checkpoints.items(), desc=f"ablations {condition}"):
        model = load_last_tensor_model(path)
        found = ablation_rows(model, evaluation, language, rules, config, seed)
        rows += [{"condition": condition, "seed": seed, **row} for row in found]
    write_table(rows, ablations, ABLATIONS, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch") as this:
        ablate_toy_heads(
            this.wildcards.condition,
            dict(zip(this.slice["seeds"], this.input.checkpoints, strict=True)),
            this.input.rules,
            this.output.ablations,
            language=ToyLanguage(LanguageConfig.model_validate(this.slice["language"])),
            config=ReadoutConfig.model_validate(this.slice["readouts"]),
            eval_sequences=this.slice["eval_sequences"],
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            provenance=this.provenance,
        )
