"""Scores of the fits of one model: table crosslingual_ard."""

import pandas as pd

from zscope.config.base import Bootstrap
from zscope.core.jobs import Provenance, job, progress
from zscope.figures.frames import select
from zscope.studies.crosslingual.ard.fit_measures import Judge, measure_layer
from zscope.studies.crosslingual.ard.layer_data import read_layers
from zscope.studies.crosslingual.config import ArdConfig
from zscope.studies.crosslingual.measures.intervals import Resamples
from zscope.studies.crosslingual.measures.space_file import SpaceFile
from zscope.studies.crosslingual.tables import ARD, ARD_HISTORY, LENGTHSCALES
from zscope.tables.read import read_table
from zscope.tables.schema import Row
from zscope.tables.write import write_table


def measure_ard(
    problems: str,
    activations: str,
    spaces: SpaceFile,
    history: pd.DataFrame,
    lengthscales: pd.DataFrame,
    output: str,
    *,
    model: str,
    ard: ArdConfig,
    seed: int,
    bootstrap: Bootstrap,
    provenance: Provenance,
) -> None:
    """activations: a folder. history, lengthscales, ard, seed: those of the fits."""
    layers = [int(layer) for layer in lengthscales["layer"].unique()]
    parts = read_layers(problems, activations, spaces, layers, ard, seed)
    rows: list[Row] = []
    for layer, data in progress(parts, desc="measure ard", total=len(layers)):
        judge = Judge(data, spaces.z.draws, Resamples(bootstrap, len(data.test)))
        fits = (select(frame, layer=layer) for frame in (lengthscales, history))
        rows += [{"model": model, "layer": layer, **row} for row in measure_layer(judge, *fits)]
    write_table(rows, output, ARD, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch", "scipy") as this:
        measure_ard(
            this.input.problems,
            this.input.activations,
            SpaceFile.open(this.input.spaces, this.input.sizes, this.slice["z"]),
            read_table(this.input.history, ARD_HISTORY),
            read_table(this.input.lengthscales, LENGTHSCALES),
            this.output.ard,
            model=this.wildcards.model,
            ard=ArdConfig.model_validate(this.slice["ard"]),
            seed=this.slice["seed"],
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            provenance=this.provenance,
        )
