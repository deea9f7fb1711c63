"""R(l), what every layer adds inside Z over what it adds outside: no model is loaded."""

from collections.abc import Mapping
from typing import Any

from zscope.config.base import Bootstrap
from zscope.core.jobs import job, progress
from zscope.studies.crosslingual.measures.intervals import Resamples, Row
from zscope.studies.crosslingual.measures.nulls import uniform_spaces
from zscope.studies.crosslingual.measures.residual_updates import layer_rows
from zscope.studies.crosslingual.measures.space_file import SpaceFile
from zscope.studies.crosslingual.space.activations import read_layer
from zscope.studies.crosslingual.tables import UPDATES
from zscope.tables.write import write_table


def measure_updates(
    spaces: SpaceFile,
    activations: str,
    updates: str,
    *,
    model: str,
    bootstrap: Bootstrap,
    provenance: Mapping[str, Any],
) -> None:
    """activations: a folder."""
    random = uniform_spaces(spaces, bootstrap.seed)
    rows: list[Row] = []
    after = read_layer(activations, 0)
    resamples = Resamples(bootstrap, len(after["zh"].problems))
    for layer in progress(range(spaces.sizes.n_layers), desc="updates"):
        before, after = after, read_layer(activations, layer + 1)
        rows += layer_rows(before, after, layer, spaces, random, resamples)
    write_table([{"model": model, **row} for row in rows], updates, UPDATES, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch") as this:
        measure_updates(
            SpaceFile.open(this.input.spaces, this.input.sizes, this.slice["z"]),
            this.input.activations,
            this.output.updates,
            model=this.wildcards.model,
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            provenance=this.provenance,
        )
