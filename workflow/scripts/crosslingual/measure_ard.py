"""Scores of the fits of one model: table crosslingual_ard."""

from collections.abc import Mapping
from typing import Any

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


def measure_ard(
    problems: str,
    activations: str,
    spaces: SpaceFile,
    history: str,
    lengthscales: str,
    measured: str,
    *,
    model: str,
    ard: ArdConfig,
    bootstrap: Bootstrap,
    seed: int,
    provenance: Mapping[str, Any],
) -> None:
    """activations: a folder. ard, seed: those of the fits."""
    steps, fitted = read_table(history, ARD_HISTORY), read_table(lengthscales, LENGTHSCALES)
    rows: list[Row] = []
    layers = [int(layer) for layer in fitted["layer"].unique()]
    parts = read_layers(problems, activations, spaces, layers, ard, seed)
    for layer, data in progress(parts, desc="measure ard", total=len(layers)):
        judge = Judge(data, spaces.z.draws, Resamples(bootstrap, len(data.test)))
        found = measure_layer(judge, select(fitted, layer=layer), select(steps, layer=layer))
        rows += [{"model": model, "layer": layer, **row} for row in found]
    write_table(rows, measured, ARD, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch", "scipy") as this:
        measure_ard(
            this.input.problems,
            this.input.activations,
            SpaceFile.open(this.input.spaces, this.input.sizes, this.slice["z"]),
            this.input.history,
            this.input.lengthscales,
            this.output.ard,
            model=this.wildcards.model,
            ard=ArdConfig.model_validate(this.slice["ard"]),
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            seed=this.slice["seed"],
            provenance=this.provenance,
        )
