"""Decompose a planted target under every penalty, and score it against the planted components."""

import shutil
from pathlib import Path
from typing import Any

from zscope.config.base import Bootstrap
from zscope.core.jobs import job, progress
from zscope.core.provenance import derive_seed, digest_of
from zscope.studies.components.decomposition.config import PlantedConfig
from zscope.studies.components.decomposition.losses import LossSettings
from zscope.studies.components.decomposition.planted.recovery import Recovery, recover
from zscope.studies.components.decomposition.tables import PLANTED
from zscope.tables.schema import Row
from zscope.tables.write import write_table
from zscope.training import ResumeFolder


def recover_planted_components(
    planted: str,
    *,
    config: PlantedConfig,
    study_seed: int,
    bootstrap: Bootstrap,
    provenance: dict[str, Any],
) -> None:
    rows: list[Row] = []
    folders = []
    cases = [(seed, penalty) for seed in config.seeds for penalty in config.penalties]
    for seed, penalty in progress(cases, desc=config.kind):
        settings = Recovery(
            n=config.components,
            batch=config.batch_size,
            lr=config.lr,
            loss=LossSettings(
                penalty=penalty,
                steps=config.steps,
                faithful_steps=config.faithful_steps,
                p_first=config.p_first,
            ),
            eval_every=max(1, config.steps // 5),
        )
        beside = Path(planted).parent / f"{config.kind}-{seed}-{penalty}"
        folders.append(beside)
        folder = ResumeFolder(beside, digest_of(provenance))
        own = derive_seed(study_seed, f"planted {seed}")
        found = recover(config.kind, settings, own, folder, bootstrap)
        rows += [{"kind": config.kind, "seed": seed, "penalty": penalty, **row} for row in found]
    write_table(rows, planted, PLANTED, provenance)
    # Kept to the end, so that a killed job resumes at its last decomposition.
    for beside in folders:
        shutil.rmtree(beside)


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch") as this:
        recover_planted_components(
            this.output.planted,
            config=PlantedConfig.model_validate(this.slice["planted"]),
            study_seed=this.slice["study_seed"],
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            provenance=this.provenance,
        )
