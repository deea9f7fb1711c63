"""Where translations and languages lie, in Z and outside it, at every layer: no model is loaded."""

from typing import Any

import pandas as pd

from zscope.core.devices import set_threads
from zscope.core.jobs import progress, run_job
from zscope.core.provenance import versions
from zscope.studies.crosslingual.config import ZConfig
from zscope.studies.crosslingual.measures.geometry import layer_rows
from zscope.studies.crosslingual.measures.intervals import Resamples, Row
from zscope.studies.crosslingual.measures.nulls import random_spaces
from zscope.studies.crosslingual.measures.space_file import SpaceFile
from zscope.studies.crosslingual.space.activations import layers_of, read_layer
from zscope.tables.read import write_table


def main(job: Any) -> None:
    """Inputs `spaces` (safetensors) and `activations` (a folder)."""
    tracked = job.params.tracked
    part = tracked["slice"]
    draws, seed = ZConfig.model_validate(part["z"]).draws, part["bootstrap"]["seed"]
    set_threads(job.threads)
    spaces = SpaceFile(job.input.spaces)
    settings = spaces.settings
    random = {k: random_spaces(settings.d, k, draws, seed) for k in settings.ks}
    rows: list[Row] = []
    for layer in progress(layers_of(job.input.activations), desc="geometry"):
        states = read_layer(job.input.activations, layer)
        resamples = Resamples.of(part["bootstrap"], len(states["zh"].problems))
        rows += layer_rows(states, layer, spaces, random, resamples, seed)
    frame = pd.DataFrame(rows).assign(model=job.wildcards.model)
    frame = frame.astype(dict.fromkeys(("layer", "k", "head"), "Int64"))
    provenance = {**tracked, "versions": versions("python", "numpy", "torch")}
    write_table(frame, job.output.geometry, "crosslingual_geometry", provenance)


if __name__ == "__main__":
    run_job(snakemake, main)
