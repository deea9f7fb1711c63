"""Scores of the fits of one model: table crosslingual_ard. ard, seed: those of the fits."""

from zscope.config.base import Bootstrap
from zscope.core.jobs import job, progress
from zscope.figures.frames import select
from zscope.studies.crosslingual.ard.fit_measures import Judge, measure_layer
from zscope.studies.crosslingual.ard.layer_data import read_layers
from zscope.studies.crosslingual.config import ArdConfig
from zscope.studies.crosslingual.measures.intervals import Resamples
from zscope.studies.crosslingual.measures.space_file import SpaceFile
from zscope.studies.crosslingual.tables import ARD, ARD_HISTORY, LENGTHSCALES, Row
from zscope.tables.read import read_table
from zscope.tables.write import write_table

if __name__ == "__main__":
    with job(snakemake, "numpy", "torch", "scipy") as this:
        spaces = SpaceFile.open(this.input.spaces, this.input.sizes, this.slice["z"])
        ard, seed = ArdConfig.model_validate(this.slice["ard"]), this.slice["seed"]
        bootstrap = Bootstrap.model_validate(this.slice["bootstrap"])
        history = read_table(this.input.history, ARD_HISTORY)
        lengthscales = read_table(this.input.lengthscales, LENGTHSCALES)
        layers = [int(layer) for layer in lengthscales["layer"].unique()]
        parts = read_layers(this.input.problems, this.input.activations, spaces, layers, ard, seed)
        rows: list[Row] = []
        for layer, data in progress(parts, desc="measure ard", total=len(layers)):
            judge = Judge(data, spaces.z.draws, Resamples(bootstrap, len(data.test)))
            fits = (select(frame, layer=layer) for frame in (lengthscales, history))
            about = {"model": this.wildcards.model, "layer": layer}
            rows += [about | row for row in measure_layer(judge, *fits)]
        write_table(rows, this.output.ard, ARD, this.provenance)
