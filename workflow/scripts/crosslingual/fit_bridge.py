"""The linear map between the languages inside Z, and inside random spaces: no model is loaded."""

from typing import Any

import pandas as pd

from zscope.core.devices import set_threads
from zscope.core.jobs import progress, run_job
from zscope.core.provenance import versions
from zscope.studies.crosslingual.config import BridgeConfig, ZConfig
from zscope.studies.crosslingual.measures.bridges import layer_rows
from zscope.studies.crosslingual.measures.intervals import Row
from zscope.studies.crosslingual.measures.nulls import random_spaces
from zscope.studies.crosslingual.measures.space_file import SpaceFile
from zscope.studies.crosslingual.space.activations import read_layer
from zscope.tables.read import read_table, write_table


def main(job: Any) -> None:
    """Inputs `spaces` (safetensors), `activations` (a folder) and `problems` (table)."""
    tracked = job.params.tracked
    part = tracked["slice"]
    z, bridge = ZConfig.model_validate(part["z"]), BridgeConfig.model_validate(part["bridge"])
    level, seed = part["bootstrap"]["level"], part["bootstrap"]["seed"]
    set_threads(job.threads)
    spaces = SpaceFile(job.input.spaces)
    settings = spaces.settings
    random = {k: random_spaces(settings.d, k, z.draws, seed) for k in settings.ks}
    problems = read_table(job.input.problems, "crosslingual_problems").set_index("problem")
    rows: list[Row] = []
    for layer in progress(settings.layers, desc="bridge"):
        states = read_layer(job.input.activations, layer)
        categories = problems["category"].loc[list(states["zh"].problems)].to_numpy(str)
        rows += layer_rows(
            states, layer, spaces, random, categories, bridge, z.position_0, level, seed
        )
    frame = pd.DataFrame(rows).assign(model=job.wildcards.model)
    frame = frame.astype(dict.fromkeys(("layer", "k", "component"), "Int64"))
    provenance = {**tracked, "versions": versions("python", "numpy", "torch")}
    write_table(frame, job.output.bridge, "crosslingual_bridge", provenance)


if __name__ == "__main__":
    run_job(snakemake, main)
