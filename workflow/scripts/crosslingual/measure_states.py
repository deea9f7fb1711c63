"""Where translations and languages lie, and what every layer adds, in Z and outside it: tables
crosslingual_geometry and _updates. No model is loaded."""

from zscope.config.base import Bootstrap
from zscope.core.jobs import Provenance, job, progress
from zscope.studies.crosslingual.measures import geometry, residual_updates
from zscope.studies.crosslingual.measures.intervals import Resamples
from zscope.studies.crosslingual.measures.nulls import uniform_spaces
from zscope.studies.crosslingual.measures.space_file import SpaceFile
from zscope.studies.crosslingual.space.activations import layers_of, read_layer
from zscope.studies.crosslingual.tables import GEOMETRY, UPDATES
from zscope.tables.schema import Row
from zscope.tables.write import write_table


def measure_states(
    activations: str,
    spaces: SpaceFile,
    geometry_path: str,
    updates_path: str,
    *,
    model: str,
    bootstrap: Bootstrap,
    provenance: Provenance,
) -> None:
    """activations: a folder. The paths are of the two tables."""
    random = uniform_spaces(spaces, bootstrap.seed)
    where: list[Row] = []
    added: list[Row] = []
    before = None
    for layer in progress(layers_of(activations), desc="states"):
        states = read_layer(activations, layer)
        shared = (spaces, random, Resamples(bootstrap, len(states["zh"].problems)))
        where += geometry.layer_rows(states, layer, *shared)
        if before is not None:
            added += residual_updates.layer_rows(before, states, layer - 1, *shared)
        before = states
    write_table([{"model": model, **row} for row in where], geometry_path, GEOMETRY, provenance)
    write_table([{"model": model, **row} for row in added], updates_path, UPDATES, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch") as this:
        measure_states(
            this.input.activations,
            SpaceFile.open(this.input.spaces, this.input.sizes, this.slice["z"]),
            this.output.geometry,
            this.output.updates,
            model=this.wildcards.model,
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            provenance=this.provenance,
        )
