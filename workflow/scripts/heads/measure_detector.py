"""Add up one detector over the attention patterns of every model of a subject."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from zscope.core.devices import pick_device
from zscope.core.jobs import job, progress
from zscope.studies.heads.asked.model import Sizes, SubjectFiles
from zscope.studies.heads.config import DetectorsConfig, StreamsConfig
from zscope.studies.heads.measuring import measure
from zscope.studies.heads.registry import load_detectors
from zscope.studies.heads.sources import load_source
from zscope.studies.heads.sums_file import save_measured


def measure_detector(
    weights: Sequence[str],
    rows: Sequence[str],
    output: str,
    *,
    name: str,
    subject: Mapping[str, Any],
    config: DetectorsConfig,
    streams: StreamsConfig,
    seed: int,
    device: torch.device,
    provenance: Mapping[str, Any],
) -> None:
    """weights: of each model of the subject. name: module of the detector."""
    detectors = load_detectors(name, config.settings)
    asks = load_source(subject["source"]).asks(SubjectFiles.of(subject, weights, rows, device))
    sizes = Sizes.of_scores(streams, seed)
    measured = [
        measure(ask(sizes), detectors, config.settings, streams.batch_size)
        for ask in progress(asks, desc=name, total=len(weights))
    ]
    save_measured(measured, output, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch", "transformers") as this:
        device = pick_device(this.slice["device"])
        measure_detector(
            list(this.input.weights),
            list(this.input.rows),
            this.output.sums,
            name=this.wildcards.detector,
            subject=this.slice["subject"],
            config=DetectorsConfig.model_validate(this.slice["detectors"]),
            streams=StreamsConfig.model_validate(this.slice["streams"]),
            seed=this.slice["seed"],
            device=device,
            provenance={**this.provenance, "device": str(device)},
        )
