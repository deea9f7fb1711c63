"""The model's shape, and the layers and dimensions that the config gives, as whole numbers."""

from dataclasses import asdict

from zscope.core.jobs import job
from zscope.models.language_model import read_shape
from zscope.studies.crosslingual.config import ZConfig
from zscope.studies.crosslingual.sizes import size_rows
from zscope.studies.crosslingual.tables import MODELS, SIZES
from zscope.tables.write import write_table

if __name__ == "__main__":
    with job(snakemake, "transformers") as this:
        model = {"model": this.wildcards.model}
        shape = asdict(read_shape(this.slice["model"], this.input.get("weights")))
        described = model | {"dtype": this.slice["dtype"]} | shape
        write_table([described], this.output.model, MODELS, this.provenance)
        rows = size_rows(shape, ZConfig.model_validate(this.slice["z"]))
        write_table([model | row for row in rows], this.output.sizes, SIZES, this.provenance)
