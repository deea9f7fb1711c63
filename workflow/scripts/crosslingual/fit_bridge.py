"""The linear map between the languages inside Z, and inside random spaces: no model is loaded."""

from zscope.config.base import Bootstrap
from zscope.core.jobs import Provenance, job, progress
from zscope.studies.crosslingual.config import BridgeConfig
from zscope.studies.crosslingual.measures.bridges import layer_rows
from zscope.studies.crosslingual.measures.nulls import uniform_spaces
from zscope.studies.crosslingual.measures.space_file import SpaceFile
from zscope.studies.crosslingual.problems.problem_rows import read_categories
from zscope.studies.crosslingual.space.activations import read_layer
from zscope.studies.crosslingual.tables import BRIDGE
from zscope.tables.schema import Row
from zscope.tables.write import write_table


def fit_bridge(
    problems: str,
    activations: str,
    spaces: SpaceFile,
    output: str,
    *,
    model: str,
    config: BridgeConfig,
    bootstrap: Bootstrap,
    provenance: Provenance,
) -> None:
    """activations: a folder."""
    random = uniform_spaces(spaces, bootstrap.seed)
    rows: list[Row] = []
    for layer in progress(spaces.sizes.layers, desc="bridge"):
        states = read_layer(activations, layer)
        categories = read_categories(problems, states["zh"].problems)
        found = layer_rows(states, layer, spaces, random, categories, config, bootstrap)
        rows += [{"model": model, **row} for row in found]
    write_table(rows, output, BRIDGE, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch") as this:
        fit_bridge(
            this.input.problems,
            this.input.activations,
            SpaceFile.open(this.input.spaces, this.input.sizes, this.slice["z"]),
            this.output.bridge,
            model=this.wildcards.model,
            config=BridgeConfig.model_validate(this.slice["bridge"]),
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            provenance=this.provenance,
        )
