"""The model's shape, and the layers and dimensions that the config gives, as whole numbers."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from zscope.core.jobs import job
from zscope.models.language_model import read_shape
from zscope.studies.crosslingual.config import ZConfig
from zscope.studies.crosslingual.sizes import size_rows
from zscope.studies.crosslingual.tables import MODELS, SIZES
from zscope.tables.write import write_table


def describe_model(
    weights: str | None,
    described: str,
    sizes: str,
    *,
    model: str,
    source: Mapping[str, Any],
    dtype: str,
    z: ZConfig,
    provenance: Mapping[str, Any],
) -> None:
    """weights: the folder of a model that was trained here. source: the config's `model`."""
    shape = {"model": model, "dtype": dtype, **asdict(read_shape(source, weights))}
    write_table([shape], described, MODELS, provenance)
    rows = [{"model": model, **row} for row in size_rows(shape, z)]
    write_table(rows, sizes, SIZES, provenance)


if __name__ == "__main__":
    with job(snakemake, "transformers") as this:
        describe_model(
            this.input.get("weights"),
            this.output.model,
            this.output.sizes,
            model=this.wildcards.model,
            source=this.slice["model"],
            dtype=this.slice["dtype"],
            z=ZConfig.model_validate(this.slice["z"]),
            provenance=this.provenance,
        )
