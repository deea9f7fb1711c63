"""One probe on every checkpoint of every seed of a condition: table lag_probe."""

from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd

from zscope.core.devices import pick_device, set_threads
from zscope.core.jobs import progress, run_job
from zscope.core.provenance import derive_seed, versions
from zscope.models.checkpoints import CheckpointFile
from zscope.models.transformer import Transformer, TransformerConfig
from zscope.models.wrapped_transformer import load_weights, to_bridge
from zscope.studies.lag.config import RunConfig
from zscope.studies.lag.facts import encode, sample_rows
from zscope.studies.lag.probes.measuring import Bootstrap, Row, run_probes
from zscope.tables.read import read_table, write_table


def main(job: Any) -> None:
    """Inputs `checkpoints` and `facts` are lists in the order of the slice's `runs`."""
    tracked = job.params.tracked
    part = tracked["slice"]
    set_threads(job.threads)
    device = pick_device(part["device"])
    probes = {part["probe"]: import_module(part["module"])}
    settings, bootstrap = part["settings"], Bootstrap(**part["bootstrap"])
    rows: list[Row] = []
    bridge = None
    inputs = zip(part["runs"].items(), job.input.checkpoints, job.input.facts, strict=True)
    for (run, plain), checkpoints, facts in inputs:
        config = RunConfig.model_validate(plain)
        data = encode(read_table(facts, "lag_facts"), config.data)
        file = CheckpointFile(checkpoints)
        # The same examples and the same other z's at every checkpoint of a run.
        rng = np.random.default_rng(derive_seed(config.seed, "probe_rows"))
        examples = sample_rows(data, settings["n_examples"], rng, settings["split"])
        other_seed = derive_seed(config.seed, "probe_other_z")
        if bridge is None:  # one shape for the whole condition
            bridge = to_bridge(Transformer(TransformerConfig(**file.shape)).to(device))
        for step in progress(file.steps, desc=f"{part['probe']} {run}"):
            load_weights(bridge, file.load(step))
            rows += (
                {"run": run, "seed": config.seed, "step": step, **row}
                for row in run_probes(
                    bridge,
                    data,
                    examples,
                    probes,
                    batch_size=settings["batch_size"],
                    seed=other_seed,
                    bootstrap=bootstrap,
                )
            )
    frame = pd.DataFrame(rows).astype({"layer": "Int64", "head": "Int64"})
    provenance = {
        **tracked,
        "device": str(device),
        "versions": versions("python", "numpy", "torch", "transformer-lens"),
    }
    write_table(frame, job.output[0], "lag_probe", provenance)


if __name__ == "__main__":
    run_job(snakemake, main)
