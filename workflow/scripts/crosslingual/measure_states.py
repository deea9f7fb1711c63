"""Where translations and languages lie, and what every layer adds, in Z and outside it: tables
crosslingual_geometry and _updates. No model is loaded."""

from zscope.config.base import Bootstrap
from zscope.core.jobs import job, progress
from zscope.studies.crosslingual.measures import geometry, residual_updates
from zscope.studies.crosslingual.measures.intervals import Resamples
from zscope.studies.crosslingual.measures.nulls import uniform_spaces
from zscope.studies.crosslingual.measures.space_file import SpaceFile
from zscope.studies.crosslingual.space.activations import layers_of, read_layer
from zscope.studies.crosslingual.tables import GEOMETRY, UPDATES, Row
from zscope.tables.write import write_table

if __name__ == "__main__":
    with job(snakemake, "numpy", "torch") as this:
        spaces = SpaceFile.open(this.input.spaces, this.input.sizes, this.slice["z"])
        bootstrap = Bootstrap.model_validate(this.slice["bootstrap"])
        random = uniform_spaces(spaces, bootstrap.seed)
        where: list[Row] = []
        added: list[Row] = []
        before = None
        for layer in progress(layers_of(this.input.activations), desc="states"):
            states = read_layer(this.input.activations, layer)
            shared = (spaces, random, Resamples(bootstrap, len(states["zh"].problems)))
            where += geometry.layer_rows(states, layer, *shared)
            if before is not None:
                added += residual_updates.layer_rows(before, states, layer - 1, *shared)
            before = states
        for rows, path, table in (
            (where, this.output.geometry, GEOMETRY),
            (added, this.output.updates, UPDATES),
        ):
            of_model = [{"model": this.wildcards.model, **row} for row in rows]
            write_table(of_model, path, table, this.provenance)
