"""Run every prompt of a set as it is and under ablations at its last position."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch

from zscope.core.devices import pick_device
from zscope.core.jobs import job
from zscope.figures.frames import select
from zscope.studies.heads.asked.model import Sizes, SubjectFiles
from zscope.studies.heads.config import AblationConfig, PromptsConfig, StreamsConfig
from zscope.studies.heads.prompted.chosen_heads import named_sets
from zscope.studies.heads.prompted.conditions import conditions_of
from zscope.studies.heads.prompted.model import Origin
from zscope.studies.heads.prompted.running import run_all
from zscope.studies.heads.sources import load_prompted
from zscope.studies.heads.tables import (
    CONTINUATIONS,
    PATTERNS,
    PROMPT_ATTENTION,
    PROMPT_CONDITIONS,
    PROMPT_SHIFTS,
    PROMPT_TOKENS,
    SCORES,
)
from zscope.tables.read import read_table
from zscope.tables.write import write_table


def run_prompts(
    weights: str,
    rows: Sequence[str],
    scores: str,
    outputs: Mapping[str, str],
    *,
    subject: Mapping[str, Any],
    file: str | None,
    config: PromptsConfig,
    sizes: Sizes,
    device: torch.device,
    provenance: Mapping[str, Any],
) -> None:
    """weights, rows: of the subject's first model. outputs: by the short name of the table."""
    files = SubjectFiles.of(subject, [weights], rows, device)
    origin = Origin(files, sizes, file=file, n=config.trained_sequences)
    model = load_prompted(subject["source"])(origin)
    of_model = select(read_table(scores, SCORES), model=model.name)
    conditions = conditions_of(named_sets(of_model), model.instead, config, sizes.seed)
    found = run_all(model, conditions, config)
    columns = {"subject": subject["name"], "model": model.name}
    for table, listed in (
        (PROMPT_TOKENS, found.tokens),
        (PROMPT_CONDITIONS, found.conditions),
        (PROMPT_SHIFTS, found.shifts),
        (CONTINUATIONS, found.continuations),
        (PROMPT_ATTENTION, found.attention),
    ):
        write_table([{**columns, **row} for row in listed], outputs[table.short], table, provenance)
    patterns = pd.concat(found.patterns) if found.patterns else pd.DataFrame()
    write_table(patterns.assign(**columns), outputs[PATTERNS.short], PATTERNS, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch", "transformers") as this:
        device = pick_device(this.slice["device"])
        run_prompts(
            this.input.weights[0],
            list(this.input.rows),
            this.input.scores,
            dict(this.output.items()),
            subject=this.slice["subject"],
            # The package's is read from the package, whose texts are in no folder of the run.
            file=this.input.prompts if this.slice["own"] else None,
            config=PromptsConfig.model_validate(this.slice["prompts"]),
            sizes=Sizes.of_ablations(
                StreamsConfig.model_validate(this.slice["streams"]),
                AblationConfig.model_validate(this.slice["ablation"]),
                this.slice["seed"],
                "effects",
            ),
            device=device,
            provenance={**this.provenance, "device": str(device)},
        )
