"""Measure one probe on every checkpoint of every run of a condition."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch

from zscope.config.base import Bootstrap
from zscope.core.devices import pick_device
from zscope.core.jobs import job, progress
from zscope.core.provenance import derive_seed
from zscope.models.checkpoints import CheckpointFile
from zscope.models.transformer import Transformer, TransformerConfig
from zscope.models.wrapped_transformer import load_weights, wrap
from zscope.studies.lag.facts import encode, sample_rows
from zscope.studies.lag.probes.measuring import run_probes
from zscope.studies.lag.run_config import RunConfig
from zscope.studies.lag.tables import FACTS, PROBE
from zscope.tables.read import read_table
from zscope.tables.write import write_table


def measure_probe(
    checkpoints: Sequence[str],
    facts: Sequence[str],
    output: str,
    *,
    name: str,
    runs: Mapping[str, RunConfig],
    n_examples: int,
    batch_size: int,
    split: str,
    bootstrap: Bootstrap,
    device: torch.device,
    provenance: Mapping[str, Any],
) -> None:
    """checkpoints, facts: one file per run, in the order of `runs`."""
    probes = {name: import_module(f"zscope.studies.lag.probes.{name}")}
    rows: list[dict[str, Any]] = []
    wrapped = None
    for (run, config), weights, path in zip(runs.items(), checkpoints, facts, strict=True):
        data = encode(read_table(path, FACTS), config.data)
        file = CheckpointFile(weights)
        # The same examples and the same other z's at every checkpoint of a run.
        rng = np.random.default_rng(derive_seed(config.seed, "probe_rows"))
        examples = sample_rows(data, n_examples, rng, split)
        other_seed = derive_seed(config.seed, "probe_other_z")
        if wrapped is None:  # all runs of a condition have one shape
            wrapped = wrap(Transformer(TransformerConfig(**file.shape)).to(device))
        for step in progress(file.steps, desc=f"{name} {run}"):
            load_weights(wrapped, file.load(step))
            measured = run_probes(
                wrapped,
                data,
                examples,
                probes,
                bootstrap=bootstrap,
                batch_size=batch_size,
                seed=other_seed,
            )
            rows += ({"run": run, "seed": config.seed, "step": step, **row} for row in measured)
    write_table(rows, output, PROBE, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch", "transformer-lens") as this:
        device = pick_device(this.slice["device"])
        measure_probe(
            this.input.checkpoints,
            this.input.facts,
            this.output.probe,
            name=this.wildcards.probe,
            runs={r: RunConfig.model_validate(c) for r, c in this.slice["runs"].items()},
            **this.slice["settings"],
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            device=device,
            provenance={**this.provenance, "device": str(device)},
        )
