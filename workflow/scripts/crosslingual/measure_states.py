"""Where translations and languages lie, and what every layer adds, in Z and outside it: tables
crosslingual_geometry and _updates. No model is loaded."""

from collections.abc import Mapping
from typing import Any

from zscope.config.base import Bootstrap
from zscope.core.jobs import job, progress
from zscope.studies.crosslingual.measures import geometry, residual_updates
from zscope.studies.crosslingual.measures.intervals import Resamples
from zscope.studies.crosslingual.measures.nulls import uniform_spaces
from zscope.studies.crosslingual.measures.space_file import SpaceFile
from zscope.studies.crosslingual.space.activations import layers_of, read_layer
from zscope.studies.crosslingual.tables import GEOMETRY, UPDATES, Row
from zscope.tables.write import write_table


def measure_states(
    spaces: SpaceFile,
    activations: str,
    where: str,
    added: str,
    *,
    model: str,
    bootstrap: Bootstrap,
    provenance: Mapping[str, Any],
) -> None:
    """activations: a folder. where, added: paths of the tables of geometry and of updates."""
    random = uniform_spaces(spaces, bootstrap.seed)
    lie: list[Row] = []
    adds: list[Row] = []
    before = None
    for layer in progress(layers_of(activations), desc="states"):
        states = read_layer(activations, layer)
        resamples = Resamples(bootstrap, len(states["zh"].problems))
        lie += geometry.layer_rows(states, layer, spaces, random, resamples)
        if before is not None:
            adds += residual_updates.layer_rows(
                before, states, layer - 1, spaces, random, resamples
            )
        before = states
    write_table([{"model": model, **row} for row in lie], where, GEOMETRY, provenance)
    write_table([{"model": model, **row} for row in adds], added, UPDATES, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch") as this:
        measure_states(
            SpaceFile.open(this.input.spaces, this.input.sizes, this.slice["z"]),
            this.input.activations,
            this.output.geometry,
            this.output.updates,
            model=this.wildcards.model,
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            provenance=this.provenance,
        )
