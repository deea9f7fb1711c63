"""Which files of the decomposition part a config implies. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

from zscope.models.subjects import Subject
from zscope.studies.components.decomposition.config import DecompositionConfig
from zscope.studies.components.decomposition.tables import PLANTED, SUMMARIES
from zscope.tables.schema import Table


@dataclass(frozen=True)
class DecompositionRun:
    """One decomposition. model: the run that is decomposed. weights: its checkpoints."""

    name: str
    subject: str
    model: str
    weights: str
    seed: int


def decomposed(
    config: DecompositionConfig, toy: Mapping[str, Subject]
) -> dict[str, DecompositionRun]:
    """Every decomposition that the config implies, by name."""
    found = [s for s in toy.values() if s.name == config.subject]
    return {
        f"{model}-d{seed}": DecompositionRun(f"{model}-d{seed}", subject.path, model, weights, seed)
        for subject in found
        for model, weights in islice(subject.models.items(), config.trainings)
        for seed in config.seeds
    }


def files(
    config: DecompositionConfig,
    toy: Mapping[str, Subject],
    pretrained: Mapping[str, Subject],
    table: Table,
) -> list[str]:
    """The files of a table of this part. toy, pretrained: by their names in paths."""
    if table == PLANTED:
        return [PLANTED.path.format(model=planted.kind) for planted in config.planted]
    runs = decomposed(config, toy).values()
    if table in SUMMARIES:
        return sorted({table.path.format(subject=run.subject) for run in runs})
    return [table.path.format(subject=run.subject, run=run.name) for run in runs]
