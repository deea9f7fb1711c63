"""Every condition of activation patching at one layer of one model: table crosslingual_outputs."""

from collections.abc import Sequence

import pandas as pd

from zscope.core.errors import find
from zscope.core.jobs import Provenance, job, progress
from zscope.models.language_model import LanguageModel
from zscope.studies.crosslingual.config import GenerationConfig, PatchingConfig
from zscope.studies.crosslingual.measures.space_file import SpaceFile
from zscope.studies.crosslingual.patching import conditions
from zscope.studies.crosslingual.problems.parallel import Problem
from zscope.studies.crosslingual.problems.problem_rows import read_problems
from zscope.studies.crosslingual.subject import load_subject
from zscope.studies.crosslingual.tables import OUTPUTS
from zscope.tables.write import write_table


def patch_layer(
    lm: LanguageModel,
    problems: Sequence[Problem],
    spaces: SpaceFile,
    output: str,
    *,
    model: str,
    layer: int,
    patching: PatchingConfig,
    generation: GenerationConfig,
    seed: int,
    provenance: Provenance,
) -> None:
    z = spaces.z
    bases = [spaces.load(layer, k, z.kind) for k in spaces.sizes.ks]
    parts = conditions.patch_layer(
        lm,
        problems,
        layer,
        bases,
        patching,
        generation,
        position_0=z.position_0 == "include",
        seed=seed,
    )
    total = conditions.n_parts(patching, len(bases), len(problems), generation.batch_size)
    # A frame of columns each: rows of Python objects would take many times the memory.
    frames = [
        pd.DataFrame(rows).astype({"k": "Int64"})
        for rows in progress(parts, desc=f"patch layer {layer}", total=total)
    ]
    outputs = pd.concat(frames, ignore_index=True)
    outputs = outputs.assign(
        model=model,
        layer=layer,
        position_0=z.position_0,
        kind=outputs["k"].map(lambda k: None if pd.isna(k) else z.kind),
    )
    write_table(outputs, output, OUTPUTS, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch", "transformers", "POT") as this:
        lm, loaded = load_subject(**this.slice["subject"], weights=this.input.get("weights"))
        spaces = SpaceFile.open(this.input.spaces, this.input.sizes, this.slice["z"])
        patch_layer(
            lm,
            read_problems(this.input.problems),
            spaces,
            this.output.outputs,
            model=this.wildcards.model,
            layer=find(spaces.sizes.layer_of, this.wildcards.layer, "layer in z.layers"),
            patching=PatchingConfig.model_validate(this.slice["patching"]),
            generation=GenerationConfig.model_validate(this.slice["generation"]),
            seed=this.slice["seed"],
            provenance={**this.provenance, **loaded},
        )
