"""Fetch one model that the config names: a folder of its files, and table models_fetched."""

import os

# The bar with which transformers reads a GGUF file would fill the log.
os.environ["TQDM_DISABLE"] = "1"

from zscope.core.jobs import Provenance, job
from zscope.models import fetching
from zscope.models.registry import ModelSource
from zscope.models.tables import FETCHED
from zscope.tables.write import write_table


def fetch_model(
    name: str,
    source: ModelSource,
    weights: str,
    table: str,
    *,
    planned: str | None,
    trained: str | None,
    provenance: Provenance,
) -> None:
    """weights: the folder. planned: the digest of a source that is a folder; trained: the folder of
    a source that is a run; each is None for another source."""
    row = fetching.fetch_model(name, source, weights, planned, trained)
    write_table([row], table, FETCHED, provenance)


if __name__ == "__main__":
    with job(snakemake, "gguf", "tokenizers", "torch", "transformers") as this:
        source = ModelSource.model_validate(this.slice["source"])
        fetch_model(
            this.wildcards.model,
            source,
            this.output.weights,
            this.output.model,
            planned=this.slice["digest"],
            trained=this.input.files if source.study else None,
            provenance=this.provenance,
        )
