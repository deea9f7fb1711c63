"""ARD-MMD on every layer of one model: tables crosslingual_ard_history and _lengthscales."""

from zscope.core.jobs import Provenance, job, progress
from zscope.studies.crosslingual.ard.layer_data import read_layers
from zscope.studies.crosslingual.ard.layer_fits import fit_layer
from zscope.studies.crosslingual.config import ArdConfig
from zscope.studies.crosslingual.measures.space_file import SpaceFile
from zscope.studies.crosslingual.sizes import fitted_layers
from zscope.studies.crosslingual.tables import ARD_HISTORY, LENGTHSCALES
from zscope.tables.schema import Row
from zscope.tables.write import write_table


def fit_ard(
    problems: str,
    activations: str,
    spaces: SpaceFile,
    history: str,
    lengthscales: str,
    *,
    model: str,
    ard: ArdConfig,
    seed: int,
    provenance: Provenance,
) -> None:
    """activations: a folder. history, lengthscales: paths of the two tables."""
    steps: list[Row] = []
    fitted: list[Row] = []
    layers = fitted_layers(ard.layers, spaces.sizes)
    parts = read_layers(problems, activations, spaces, layers, ard, seed)
    for layer, data in progress(parts, desc="ard", total=len(layers)):
        found, about = fit_layer(data, ard), {"model": model, "layer": layer}
        steps += [about | row for row in found.history]
        fitted += [about | row for row in found.lengthscales]
    write_table(steps, history, ARD_HISTORY, provenance)
    write_table(fitted, lengthscales, LENGTHSCALES, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch", "scipy") as this:
        fit_ard(
            this.input.problems,
            this.input.activations,
            SpaceFile.open(this.input.spaces, this.input.sizes, this.slice["z"]),
            this.output.history,
            this.output.lengthscales,
            model=this.wildcards.model,
            ard=ArdConfig.model_validate(this.slice["ard"]),
            seed=this.slice["seed"],
            provenance=this.provenance,
        )
