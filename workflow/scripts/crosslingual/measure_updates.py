"""R(l), what every layer adds inside Z over what it adds outside: no model is loaded."""

from typing import Any

import pandas as pd

from zscope.config.crosslingual import ZConfig
from zscope.devices import set_threads
from zscope.jobs import progress, run_job
from zscope.provenance import versions
from zscope.subspace.activations import read_layer
from zscope.subspace.measures.nulls import random_spaces
from zscope.subspace.measures.residual_updates import layer_rows
from zscope.subspace.measures.rows import Resamples, Row
from zscope.subspace.measures.space_file import SpaceFile
from zscope.tables import write_table


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
    after = read_layer(job.input.activations, 0)
    resamples = Resamples.of(part["bootstrap"], len(after["zh"].problems))
    for layer in progress(range(settings.n_layers), desc="updates"):
        before, after = after, read_layer(job.input.activations, layer + 1)
        rows += layer_rows(before, after, layer, spaces, random, resamples, seed)
    frame = pd.DataFrame(rows).assign(model=job.wildcards.model).astype({"k": "Int64"})
    provenance = {**tracked, "versions": versions("python", "numpy", "torch")}
    write_table(frame, job.output.updates, "crosslingual_updates", provenance)


if __name__ == "__main__":
    run_job(snakemake, main)
