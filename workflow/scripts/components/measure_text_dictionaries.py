"""Train dictionaries on one site of a language model, and put their reconstructions back."""

from collections.abc import Mapping
from typing import Any

import torch

from zscope.config.base import Bootstrap
from zscope.core.jobs import job
from zscope.core.provenance import derive_seed
from zscope.models.named import load_named
from zscope.studies.components.dictionaries.config import TextConfig
from zscope.studies.components.dictionaries.tables import DICTIONARIES_TEXT
from zscope.studies.components.dictionaries.text_measures import text_rows
from zscope.tables.write import write_table
from zscope.text.passages import read_passages


def measure_text_dictionaries(
    weights: str,
    output: str,
    *,
    name: str,
    dtype: torch.dtype,
    config: TextConfig,
    seed: int,
    bootstrap: Bootstrap,
    provenance: Mapping[str, Any],
) -> None:
    lm = load_named(name, weights, torch.device("cpu"), dtype)
    rows = text_rows(
        lm,
        read_passages("en"),
        config,
        seed=derive_seed(seed, "text dictionaries"),
        bootstrap=bootstrap,
    )
    write_table([{"subject": name, **row} for row in rows], output, DICTIONARIES_TEXT, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch", "transformers") as this:
        measure_text_dictionaries(
            this.input.weights,
            this.output.text,
            name=this.slice["model"],
            dtype=getattr(torch, this.slice["dtype"]),
            config=TextConfig.model_validate(this.slice["text"]),
            seed=this.slice["seed"],
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            provenance=this.provenance,
        )
