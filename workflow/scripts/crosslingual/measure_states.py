"""Where translations and languages lie, what layers add, in Z and outside it, and which tokens are
massive: tables crosslingual_geometry, _updates and _token_norms. No model is loaded."""

from functools import partial

from zscope.config.base import Bootstrap
from zscope.core.jobs import Provenance, job, progress
from zscope.studies.crosslingual.measures import geometry, token_norms
from zscope.studies.crosslingual.measures.intervals import Resamples
from zscope.studies.crosslingual.measures.nulls import uniform_spaces
from zscope.studies.crosslingual.measures.residual_updates import ResidualUpdates
from zscope.studies.crosslingual.measures.space_file import SpaceFile
from zscope.studies.crosslingual.space.activations import layers_of, read_layer
from zscope.studies.crosslingual.tables import GEOMETRY, TOKEN_NORMS, UPDATES
from zscope.tables.schema import Row
from zscope.tables.write import write_table


def measure_states(
    activations: str,
    spaces: SpaceFile,
    geometry_path: str,
    updates_path: str,
    norms_path: str,
    *,
    model: str,
    bootstrap: Bootstrap,
    provenance: Provenance,
) -> None:
    """activations: a folder. The paths are of the three tables."""
    random = uniform_spaces(spaces, bootstrap.seed)
    layers = layers_of(activations)
    before = read_layer(activations, layers[0])
    resamples = Resamples(bootstrap, len(before["zh"].problems))
    updates = ResidualUpdates(spaces, random, resamples, partial(read_layer, activations))
    where = [*geometry.layer_rows(before, layers[0], spaces, random, resamples)]
    norms = [*token_norms.layer_rows(before, layers[0])]
    added: list[Row] = []
    for layer in progress(layers[1:], desc="states"):
        states = read_layer(activations, layer)
        where += geometry.layer_rows(states, layer, spaces, random, resamples)
        norms += token_norms.layer_rows(states, layer)
        added += updates.of_layer(before, states, layer - 1)
        before = states
    added += updates.largest()
    write_table([{"model": model, **row} for row in where], geometry_path, GEOMETRY, provenance)
    write_table([{"model": model, **row} for row in added], updates_path, UPDATES, provenance)
    write_table([{"model": model, **row} for row in norms], norms_path, TOKEN_NORMS, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch") as this:
        measure_states(
            this.input.activations,
            SpaceFile.open(this.input.spaces, this.input.sizes, this.slice["z"]),
            this.output.geometry,
            this.output.updates,
            this.output.token_norms,
            model=this.wildcards.model,
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            provenance=this.provenance,
        )
