"""Screen every head of a subject by first order, and ablate those that matter, and random ones."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import torch

from zscope.config.base import Bootstrap
from zscope.core.devices import pick_device
from zscope.core.jobs import job, progress
from zscope.figures.frames import select
from zscope.studies.heads.ablating import Ablated, ablation_rows, screen
from zscope.studies.heads.asked.model import PURPOSES, Sizes, SubjectFiles
from zscope.studies.heads.config import AblationConfig, StreamsConfig
from zscope.studies.heads.questions import questions_of
from zscope.studies.heads.sources import load_source
from zscope.studies.heads.tables import ABLATIONS, DETECTORS, SCORES, SCREEN
from zscope.tables.read import read_table
from zscope.tables.schema import Row
from zscope.tables.write import write_table


def ablate_heads(
    weights: Sequence[str],
    rows: Sequence[str],
    scores: str,
    applied: str,
    screened: str,
    ablations: str,
    *,
    subject: Mapping[str, Any],
    config: AblationConfig,
    streams: StreamsConfig,
    seed: int,
    alpha: float,
    bootstrap: Bootstrap,
    device: torch.device,
    provenance: Mapping[str, Any],
) -> None:
    """weights: of each model of the subject. scores, applied: tables of the subject."""
    source = load_source(subject["source"])
    found, there = read_table(scores, SCORES), read_table(applied, DETECTORS)

    asks = source.asks(SubjectFiles.of(subject, weights, rows, device))
    sizes = [Sizes.of_ablations(streams, config, seed, x) for x in PURPOSES]
    screen_rows: list[Row] = []
    ablation: list[Row] = []
    for ask in progress(asks, desc=f"ablations {subject['name']}", total=len(weights)):
        models = [ask(of_purpose) for of_purpose in sizes]
        effects, seen = (
            {n: Ablated(m.view, b, bootstrap) for n, b in source.behaviours(m).items()}
            for m in models[:2]
        )
        of_draws = source.behaviours(models[2])
        ranks = {
            n: Ablated(models[2].view, of_draws[n], bootstrap, mean_of=effects[n].behaviour)
            for n in of_draws.keys() & effects.keys()
        }
        both = [name for name in effects if name in seen]
        screens = {n: screen(seen[n]) for n in both}
        columns = {"subject": subject["name"], "model": models[0].name}
        listed = chain.from_iterable(screens[n].rows(seen[n].behaviour) for n in both)
        screen_rows += ({**columns, **row} for row in listed)
        ablated = ablation_rows(
            {n: effects[n] for n in both},
            ranks,
            screens,
            questions_of(
                select(found, model=models[0].name),
                select(there, model=models[0].name),
                source.own_and_control,
            ),
            config,
            alpha=alpha,
            seed=seed,
        )
        ablation += ({**columns, **row} for row in ablated)
    write_table(screen_rows, screened, SCREEN, provenance)
    write_table(ablation, ablations, ABLATIONS, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch", "transformers") as this:
        device = pick_device(this.slice["device"])
        ablate_heads(
            list(this.input.weights),
            list(this.input.rows),
            this.input.scores,
            this.input.detectors,
            this.output.screen,
            this.output.ablations,
            subject=this.slice["subject"],
            config=AblationConfig.model_validate(this.slice["ablation"]),
            streams=StreamsConfig.model_validate(this.slice["streams"]),
            seed=this.slice["seed"],
            alpha=this.slice["alpha"],
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            device=device,
            provenance={**this.provenance, "device": str(device)},
        )
