"""The model's shape, and the layers and dimensions that the config gives, as whole numbers."""

from dataclasses import asdict

from zscope.core.jobs import Provenance, job
from zscope.models.language_model import ModelShape
from zscope.studies.crosslingual.config import ZConfig
from zscope.studies.crosslingual.sizes import size_rows
from zscope.studies.crosslingual.subject import subject_shape
from zscope.studies.crosslingual.tables import MODELS, SIZES
from zscope.tables.write import write_table


def describe_model(
    shape: ModelShape,
    described: str,
    sizes: str,
    *,
    model: str,
    dtype: str,
    z: ZConfig,
    provenance: Provenance,
) -> None:
    """described, sizes: paths of the two tables."""
    row = {"model": model, "dtype": dtype, **asdict(shape)}
    write_table([row], described, MODELS, provenance)
    write_table([{"model": model, **r} for r in size_rows(row, z)], sizes, SIZES, provenance)


if __name__ == "__main__":
    with job(snakemake, "transformers") as this:
        describe_model(
            subject_shape(this.wildcards.model, this.input.weights, trained=this.slice["trained"]),
            this.output.model,
            this.output.sizes,
            model=this.wildcards.model,
            dtype=this.slice["dtype"],
            z=ZConfig.model_validate(this.slice["z"]),
            provenance=this.provenance,
        )
