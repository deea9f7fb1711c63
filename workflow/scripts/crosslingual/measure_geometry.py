"""Where translations and languages lie, in Z and outside it, at every layer: no model is loaded."""

from collections.abc import Mapping
from typing import Any

from zscope.config.base import Bootstrap
from zscope.core.jobs import job, progress
from zscope.studies.crosslingual.measures.geometry import layer_rows
from zscope.studies.crosslingual.measures.intervals import Resamples, Row
from zscope.studies.crosslingual.measures.nulls import uniform_spaces
from zscope.studies.crosslingual.measures.space_file import SpaceFile
from zscope.studies.crosslingual.space.activations import layers_of, read_layer
from zscope.studies.crosslingual.tables import GEOMETRY
from zscope.tables.write import write_table


def measure_geometry(
    spaces: SpaceFile,
    activations: str,
    geometry: str,
    *,
    model: str,
    bootstrap: Bootstrap,
    provenance: Mapping[str, Any],
) -> None:
    """activations: a folder."""
    random = uniform_spaces(spaces, bootstrap.seed)
    rows: list[Row] = []
    for layer in progress(layers_of(activations), desc="geometry"):
        states = read_layer(activations, layer)
        resamples = Resamples(bootstrap, len(states["zh"].problems))
        rows += layer_rows(states, layer, spaces, random, resamples)
    write_table([{"model": model, **row} for row in rows], geometry, GEOMETRY, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch") as this:
        measure_geometry(
            SpaceFile.open(this.input.spaces, this.input.sizes, this.slice["z"]),
            this.input.activations,
            this.output.geometry,
            model=this.wildcards.model,
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            provenance=this.provenance,
        )
