"""Measure what heads do part by part: at offsets, to later patterns, to names and other tokens."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import torch

from zscope.config.base import Bootstrap
from zscope.core.devices import pick_device
from zscope.core.jobs import job, progress
from zscope.figures.frames import select
from zscope.studies.heads.asked.model import Sizes, SubjectFiles
from zscope.studies.heads.config import DetectorsConfig, PartsConfig, StreamsConfig
from zscope.studies.heads.parts.measuring import part_rows
from zscope.studies.heads.registry import load_detectors
from zscope.studies.heads.sources import load_source
from zscope.studies.heads.tables import OF_PARTS, SCORES
from zscope.tables.read import read_table
from zscope.tables.schema import Row
from zscope.tables.write import write_table


def measure_head_parts(
    weights: Sequence[str],
    rows: Sequence[str],
    scores: str,
    outputs: Mapping[str, str],
    *,
    subject: Mapping[str, Any],
    config: PartsConfig,
    streams: StreamsConfig,
    detectors: DetectorsConfig,
    seed: int,
    bootstrap: Bootstrap,
    device: torch.device,
    provenance: Mapping[str, Any],
) -> None:
    """weights: of each model of the subject. outputs: by short name of a table."""
    source = load_source(subject["source"])
    found: pd.DataFrame = read_table(scores, SCORES)
    asks = source.asks(SubjectFiles.of(subject, weights, rows, device))
    members = {
        d.name: d for name in detectors.asked for d in load_detectors(name, detectors.settings)
    }
    sizes = Sizes.of_parts(streams, config, seed)
    listed: dict[str, list[Row]] = {table.short: [] for table in OF_PARTS}
    for ask in progress(asks, desc=f"parts {subject['name']}", total=len(weights)):
        model = ask(sizes)
        of_model: Iterator[tuple[str, Row]] = part_rows(
            model,
            source.behaviours(model),
            select(found, model=model.name),
            members,
            config=config,
            naming=detectors.naming,
            batch_size=streams.batch_size,
            bootstrap=bootstrap,
        )
        for short, row in of_model:
            listed[short].append({"subject": subject["name"], "model": model.name, **row})
    for table in OF_PARTS:
        write_table(listed[table.short], outputs[table.short], table, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch", "transformers", "scipy") as this:
        device = pick_device(this.slice["device"])
        measure_head_parts(
            list(this.input.weights),
            list(this.input.rows),
            this.input.scores,
            {table.short: getattr(this.output, table.short) for table in OF_PARTS},
            subject=this.slice["subject"],
            config=PartsConfig.model_validate(this.slice["parts"]),
            streams=StreamsConfig.model_validate(this.slice["streams"]),
            detectors=DetectorsConfig.model_validate(this.slice["detectors"]),
            seed=this.slice["seed"],
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            device=device,
            provenance={**this.provenance, "device": str(device)},
        )
