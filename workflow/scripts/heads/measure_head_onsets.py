"""Follow the heads that the last step names over the checkpoints of each model of a subject."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from zscope.config.base import Bootstrap
from zscope.core.devices import pick_device
from zscope.core.jobs import job, progress
from zscope.figures.frames import select
from zscope.studies.heads.asked.model import Series, Sizes, Source, SubjectFiles
from zscope.studies.heads.config import (
    AblationConfig,
    DetectorsConfig,
    HeadOnsetsConfig,
    StreamsConfig,
)
from zscope.studies.heads.onsets.followed import Following, following, spread_steps
from zscope.studies.heads.onsets.measuring import (
    Kept,
    Scoring,
    effect_rows,
    random_sets,
    score_rows,
)
from zscope.studies.heads.sources import load_source
from zscope.studies.heads.tables import CHECKPOINTS, DETECTORS, SCORES
from zscope.tables.read import read_table
from zscope.tables.schema import Row
from zscope.tables.write import write_table


def measure_head_onsets(
    weights: Sequence[str],
    rows: Sequence[str],
    scores: str,
    applied: str,
    output: str,
    *,
    subject: Mapping[str, Any],
    onsets: HeadOnsetsConfig,
    detectors: DetectorsConfig,
    ablation: AblationConfig,
    streams: StreamsConfig,
    seed: int,
    bootstrap: Bootstrap,
    device: torch.device,
    provenance: Mapping[str, Any],
) -> None:
    """weights: checkpoints of each model of the subject. scores, applied: tables of the subject."""
    source = load_source(subject["source"])
    assert source.series is not None
    found, there = read_table(scores, SCORES), read_table(applied, DETECTORS)
    how = Scoring(detectors.settings, detectors.min_rows, streams.batch_size, bootstrap)
    sizes = [
        Sizes.of_scores(streams, seed),
        Sizes.of_ablations(streams, ablation, seed, "effects"),
    ]
    models = source.series(SubjectFiles.of(subject, weights, rows, device))
    made: list[Row] = []
    for model in progress(models, desc=f"checkpoints {subject['name']}", total=len(weights)):
        asked = following(
            select(found, model=model.name),
            select(there, model=model.name),
            source.own_and_control,
        )
        columns = {"subject": subject["name"], "model": model.name}
        measured = _of_model(model, source, asked, sizes, how, onsets, seed)
        made += ({**columns, **row} for row in measured)
    write_table(made, output, CHECKPOINTS, provenance)


def _of_model(
    model: Series,
    source: Source,
    asked: Sequence[Following],
    sizes: Sequence[Sizes],
    how: Scoring,
    onsets: HeadOnsetsConfig,
    seed: int,
) -> Iterator[Row]:
    """sizes: of the scores, and of the effects."""
    kept: Kept = {}
    for step in spread_steps(model.steps, onsets.checkpoints):
        ask = model.at(step)
        scored, ablated = (ask(of_purpose) for of_purpose in sizes)
        sets = random_sets(asked, ablated.view.n_heads, onsets.draws, seed)
        behaviours = source.behaviours(ablated)
        for row in score_rows(scored, asked, how, kept):
            yield {"step": step, **row}
        for row in effect_rows(ablated.view, behaviours, asked, sets, how.bootstrap):
            yield {"step": step, **row}


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch", "pandas") as this:
        device = pick_device(this.slice["device"])
        measure_head_onsets(
            list(this.input.weights),
            list(this.input.rows),
            this.input.scores,
            this.input.detectors,
            this.output.checkpoints,
            subject=this.slice["subject"],
            onsets=HeadOnsetsConfig.model_validate(this.slice["onsets"]),
            detectors=DetectorsConfig.model_validate(this.slice["detectors"]),
            ablation=AblationConfig.model_validate(this.slice["ablation"]),
            streams=StreamsConfig.model_validate(this.slice["streams"]),
            seed=this.slice["seed"],
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            device=device,
            provenance={**this.provenance, "device": str(device)},
        )
