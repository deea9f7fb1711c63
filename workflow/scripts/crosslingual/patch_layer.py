"""Every condition of activation patching at one layer of one model: table crosslingual_outputs."""

import pandas as pd

from zscope.core.errors import find
from zscope.core.jobs import job, progress
from zscope.studies.crosslingual.config import GenerationConfig, PatchingConfig
from zscope.studies.crosslingual.measures.space_file import SpaceFile
from zscope.studies.crosslingual.patching.conditions import n_parts, patch_layer
from zscope.studies.crosslingual.problems.problem_rows import read_problems
from zscope.studies.crosslingual.subject import load_subject
from zscope.studies.crosslingual.tables import OUTPUTS
from zscope.tables.write import write_table

if __name__ == "__main__":
    with job(snakemake, "numpy", "torch", "transformers", "POT") as this:
        lm, loaded = load_subject(**this.slice["subject"], weights=this.input.get("weights"))
        spaces = SpaceFile.open(this.input.spaces, this.input.sizes, this.slice["z"])
        problems = read_problems(this.input.problems)
        patching = PatchingConfig.model_validate(this.slice["patching"])
        generation = GenerationConfig.model_validate(this.slice["generation"])
        sizes, z = spaces.sizes, spaces.z
        layer = find(sizes.layer_of, this.wildcards.layer, "layer in z.layers")
        bases = [spaces.load(layer, k, z.kind) for k in sizes.ks]
        parts = patch_layer(
            lm,
            problems,
            layer,
            bases,
            patching,
            generation,
            position_0=z.position_0 == "include",
            seed=this.slice["seed"],
        )
        total = n_parts(patching, len(bases), len(problems), generation.batch_size)
        # A frame of columns each: rows of Python objects would take many times the memory.
        frames = [
            pd.DataFrame(rows).astype({"k": "Int64"})
            for rows in progress(parts, desc=f"patch layer {layer}", total=total)
        ]
        outputs = pd.concat(frames, ignore_index=True)
        outputs = outputs.assign(
            model=this.wildcards.model,
            layer=layer,
            position_0=z.position_0,
            kind=outputs["k"].map(lambda k: None if pd.isna(k) else z.kind),
        )
        write_table(outputs, this.output.outputs, OUTPUTS, {**this.provenance, **loaded})
