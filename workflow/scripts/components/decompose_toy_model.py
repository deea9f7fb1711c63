"""Decompose a model of the toy language, or resume it where it was killed."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from zscope.core.jobs import job
from zscope.core.provenance import derive_seed, digest_of
from zscope.models.checkpoints import join
from zscope.models.tensor_checkpoints import load_last_tensor_model
from zscope.studies.components.decomposition.config import DecompositionTrainingConfig
from zscope.studies.components.decomposition.losses import LossSettings
from zscope.studies.components.decomposition.measured import DecompositionShape
from zscope.studies.components.decomposition.rank_one import Decomposition
from zscope.studies.components.decomposition.tables import TRAINING
from zscope.studies.components.decomposition.targets import TransformerTarget, clean_run
from zscope.studies.components.decomposition.training import (
    Counted,
    monitored,
    train_decomposition,
)
from zscope.tables.schema import Row
from zscope.tables.write import write_table
from zscope.toy_language.batches import ToyBatches
from zscope.toy_language.config import LanguageConfig
from zscope.toy_language.language import ToyLanguage
from zscope.training import ResumeFolder


def decompose_toy_model(
    weights: str,
    training: str,
    checkpoints: str,
    *,
    model: str,
    seed: int,
    language: ToyLanguage,
    config: DecompositionTrainingConfig,
    study_seed: int,
    provenance: dict[str, Any],
) -> None:
    """seed: of this decomposition. study_seed: of what all decompositions share."""
    folder = ResumeFolder(Path(checkpoints).parent, digest_of(provenance))
    own = derive_seed(study_seed, f"decomposition {seed}")
    target = TransformerTarget(load_last_tensor_model(weights))
    decomposition = Decomposition(
        target, config.components, config.hidden, derive_seed(own, "components")
    )
    settings = LossSettings(
        penalty=config.penalty,
        p_first=config.p_first,
        p_last=config.p_last,
        faithful_steps=config.faithful_steps,
        steps=config.steps,
        adversarial_steps=config.adversarial_steps,
        attack_steps=config.attack_steps,
    )
    # The same monitored sequences for every seed.
    held_out = ToyBatches(
        language, config.eval_sequences, derive_seed(study_seed, "monitored"), chunk=1
    )
    inputs = torch.from_numpy(held_out.next())[:, :-1]
    clean = clean_run(target, inputs)

    def evaluate(module: nn.Module, step: int) -> list[Row]:
        watched = monitored(decomposition, inputs, clean, own)
        return [{"step": step, "metric": m, "value": value} for m, value in watched.items()]

    batches = ToyBatches(language, config.batch_size, derive_seed(own, "data"))
    trained = train_decomposition(
        f"{model}-d{seed}",
        decomposition,
        Counted(batches),
        settings,
        lr=config.lr,
        seed=derive_seed(own, "masks"),
        evaluate=evaluate,
        eval_every=config.eval_every,
        folder=folder,
    )
    rows = [
        {"model": model, "seed": seed, **{k: row[k] for k in ("step", "metric", "value")}}
        for row in trained.rows
    ]
    write_table(rows, training, TRAINING, provenance)
    ends = sorted({settings.stochastic_end, settings.total})
    parts = {step: trained.checkpoints[step] for step in ends}
    shape = DecompositionShape(config.components, config.hidden)
    join(parts, checkpoints, shape, provenance)
    folder.remove()


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch") as this:
        decompose_toy_model(
            this.input.weights,
            this.output.training,
            this.output.checkpoints,
            model=this.slice["model"],
            seed=this.slice["seed"],
            language=ToyLanguage(LanguageConfig.model_validate(this.slice["language"])),
            config=DecompositionTrainingConfig.model_validate(this.slice["training"]),
            study_seed=this.slice["study_seed"],
            provenance=this.provenance,
        )
