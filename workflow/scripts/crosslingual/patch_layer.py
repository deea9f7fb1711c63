"""Every condition of activation patching at one layer of one model: table crosslingual_outputs."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from zscope.core.errors import find
from zscope.core.jobs import job, progress
from zscope.models.language_model import LanguageModel
from zscope.studies.crosslingual.config import GenerationConfig, PatchingConfig
from zscope.studies.crosslingual.measures.space_file import SpaceFile
from zscope.studies.crosslingual.patching import conditions
from zscope.studies.crosslingual.problems.problem_rows import read_problems
from zscope.studies.crosslingual.subject import load_subject
from zscope.studies.crosslingual.tables import OUTPUTS
from zscope.tables.write import write_table


def patch_layer(
    lm: LanguageModel,
    problems: str,
    spaces: SpaceFile,
    outputs: str,
    *,
    model: str,
    layer: str,
    patching: PatchingConfig,
    generation: GenerationConfig,
    seed: int,
    provenance: Mapping[str, Any],
) -> None:
    """layer: as the config gives it."""
    asked, sizes, z = read_problems(problems), spaces.sizes, spaces.z
    index = find(sizes.layer_of, layer, "layer in z.layers")
    bases = [spaces.load(index, k, z.kind) for k in sizes.ks]
    parts = conditions.patch_layer(
        lm,
        asked,
        index,
        bases,
        patching,
        generation,
        position_0=z.position_0 == "include",
        seed=seed,
    )
    total = conditions.n_parts(patching, len(bases), len(asked), generation.batch_size)
    # A frame of columns each: rows of Python objects would take many times the memory.
    frames = [
        pd.DataFrame(rows).astype({"k": "Int64"})
        for rows in progress(parts, desc=f"patch layer {index}", total=total)
    ]
    frame = pd.concat(frames, ignore_index=True)
    frame = frame.assign(
        model=model,
        layer=index,
        position_0=z.position_0,
        kind=frame["k"].map(lambda k: None if pd.isna(k) else z.kind),
    )
    write_table(frame, outputs, OUTPUTS, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch", "transformers", "POT") as this:
        lm, loaded = load_subject(**this.slice["subject"], weights=this.input.get("weights"))
        patch_layer(
            lm,
            this.input.problems,
            SpaceFile.open(this.input.spaces, this.input.sizes, this.slice["z"]),
            this.output.outputs,
            model=this.wildcards.model,
            layer=this.wildcards.layer,
            patching=PatchingConfig.model_validate(this.slice["patching"]),
            generation=GenerationConfig.model_validate(this.slice["generation"]),
            seed=this.slice["seed"],
            provenance={**this.provenance, **loaded},
        )
