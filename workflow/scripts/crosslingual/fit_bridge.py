"""The linear map between the languages inside Z, and inside random spaces: no model is loaded."""

from collections.abc import Mapping
from typing import Any

from zscope.config.base import Bootstrap
from zscope.core.jobs import job, progress
from zscope.studies.crosslingual.config import BridgeConfig
from zscope.studies.crosslingual.measures.bridges import layer_rows
from zscope.studies.crosslingual.measures.nulls import uniform_spaces
from zscope.studies.crosslingual.measures.space_file import SpaceFile
from zscope.studies.crosslingual.problems.problem_rows import read_categories
from zscope.studies.crosslingual.space.activations import read_layer
from zscope.studies.crosslingual.tables import BRIDGE, Row
from zscope.tables.write import write_table


def fit_bridge(
    problems: str,
    spaces: SpaceFile,
    activations: str,
    bridge: str,
    *,
    model: str,
    config: BridgeConfig,
    bootstrap: Bootstrap,
    provenance: Mapping[str, Any],
) -> None:
    """activations: a folder."""
    random = uniform_spaces(spaces, bootstrap.seed)
    rows: list[Row] = []
    for layer in progress(spaces.sizes.layers, desc="bridge"):
        states = read_layer(activations, layer)
        categories = read_categories(problems, states["zh"].problems)
        rows += layer_rows(states, layer, spaces, random, categories, config, bootstrap)
    write_table([{"model": model, **row} for row in rows], bridge, BRIDGE, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch") as this:
        fit_bridge(
            this.input.problems,
            SpaceFile.open(this.input.spaces, this.input.sizes, this.slice["z"]),
            this.input.activations,
            this.output.bridge,
            model=this.wildcards.model,
            config=BridgeConfig.model_validate(this.slice["bridge"]),
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            provenance=this.provenance,
        )
