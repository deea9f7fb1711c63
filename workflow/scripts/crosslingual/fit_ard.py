"""ARD-MMD on every layer of one model: tables crosslingual_ard_history and _lengthscales."""

from zscope.core.jobs import job, progress
from zscope.studies.crosslingual.ard.layer_data import read_layers
from zscope.studies.crosslingual.ard.layer_fits import fit_layer
from zscope.studies.crosslingual.config import ArdConfig
from zscope.studies.crosslingual.measures.space_file import SpaceFile
from zscope.studies.crosslingual.sizes import fitted_layers
from zscope.studies.crosslingual.tables import ARD_HISTORY, LENGTHSCALES, Row
from zscope.tables.write import write_table

if __name__ == "__main__":
    with job(snakemake, "numpy", "torch", "scipy") as this:
        spaces = SpaceFile.open(this.input.spaces, this.input.sizes, this.slice["z"])
        ard, seed = ArdConfig.model_validate(this.slice["ard"]), this.slice["seed"]
        layers = fitted_layers(ard.layers, spaces.sizes)
        parts = read_layers(this.input.problems, this.input.activations, spaces, layers, ard, seed)
        history: list[Row] = []
        lengthscales: list[Row] = []
        for layer, data in progress(parts, desc="ard", total=len(layers)):
            found, about = fit_layer(data, ard), {"model": this.wildcards.model, "layer": layer}
            history += [about | row for row in found.history]
            lengthscales += [about | row for row in found.lengthscales]
        write_table(history, this.output.history, ARD_HISTORY, this.provenance)
        write_table(lengthscales, this.output.lengthscales, LENGTHSCALES, this.provenance)
