"""Every condition of activation patching at one layer of one model: table crosslingual_outputs."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from zscope.core.errors import find
from zscope.core.jobs import Provenance, job, progress
from zscope.models.language_model import LanguageModel
from zscope.studies.crosslingual.config import GenerationConfig, PatchingConfig, VerdictConfig
from zscope.studies.crosslingual.declared import VerdictNulls, declared_cell, verdict_nulls
from zscope.studies.crosslingual.measures.space_file import SpaceFile
from zscope.studies.crosslingual.patching.conditions import NO_NULLS, n_parts
from zscope.studies.crosslingual.patching.layer_patching import LayerPatching
from zscope.studies.crosslingual.problems.parallel import Problem
from zscope.studies.crosslingual.problems.problem_rows import read_problems
from zscope.studies.crosslingual.subject import load_subject
from zscope.studies.crosslingual.tables import ENERGY_SHARES, OUTPUTS
from zscope.tables.write import write_table


def patch_layer(
    lm: LanguageModel,
    problems: Sequence[Problem],
    spaces: SpaceFile,
    outputs: str,
    energy_shares: str,
    *,
    model: str,
    layer: int,
    read: VerdictNulls,
    patching: PatchingConfig,
    generation: GenerationConfig,
    seed: int,
    provenance: Provenance,
) -> None:
    """outputs, energy_shares: paths. read: the nulls of this layer that a verdict reads."""
    z, ks = spaces.z, spaces.sizes.ks
    work = LayerPatching(
        lm,
        problems,
        layer,
        [spaces.load(layer, k, z.kind) for k in ks],
        patching,
        generation,
        z.position_0 == "include",
        seed,
        read,
    )
    total = n_parts(patching, ks, len(problems), generation.batch_size, read)
    same: dict[str, Any] = {"model": model, "layer": layer, "position_0": z.position_0}
    shares = [row | same | {"kind": z.kind} for row in work.energy_shares()]
    # A frame of columns each: rows of Python objects would take many times the memory.
    frames = [
        pd.DataFrame(rows).astype({"k": "Int64"})
        for rows in progress(work.outputs(), desc=f"patch layer {layer}", total=total)
    ]
    texts = pd.concat(frames, ignore_index=True).assign(**same)
    texts["kind"] = texts["k"].map(lambda k: None if pd.isna(k) else z.kind)
    write_table(texts, outputs, OUTPUTS, provenance)
    write_table(shares, energy_shares, ENERGY_SHARES, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch", "transformers", "POT") as this:
        lm, loaded = load_subject(this.wildcards.model, this.input.weights, **this.slice["subject"])
        spaces = SpaceFile.open(this.input.spaces, this.input.sizes, this.slice["z"])
        declared = this.slice["verdict"]
        read = NO_NULLS
        if declared is not None:
            rules = VerdictConfig.model_validate(declared)
            read = verdict_nulls(declared_cell(rules, spaces.z, spaces.sizes))
        patch_layer(
            lm,
            read_problems(this.input.problems),
            spaces,
            this.output.outputs,
            this.output.energy_shares,
            model=this.wildcards.model,
            layer=find(spaces.sizes.layer_of, this.wildcards.layer, "layer in z.layers"),
            read=read,
            patching=PatchingConfig.model_validate(this.slice["patching"]),
            generation=GenerationConfig.model_validate(this.slice["generation"]),
            seed=this.slice["seed"],
            provenance={**this.provenance, **loaded},
        )
