"""Every condition of activation patching at one layer of one model: table crosslingual_outputs."""

from typing import Any

import pandas as pd

from zscope.config.sizes import check_k, check_layer
from zscope.core.jobs import progress, run_job
from zscope.core.provenance import versions
from zscope.models.attention_kernels import stacked_right_space
from zscope.models.language_model import load_for_job
from zscope.studies.crosslingual.config import GenerationConfig, PatchingConfig, ZConfig
from zscope.studies.crosslingual.patching.conditions import n_parts, patch_layer
from zscope.studies.crosslingual.problems.problem_rows import read_problems
from zscope.tables.read import write_table


def main(job: Any) -> None:
    """Provenance `resolved` holds the layer and the k's of the config with what they are here."""
    tracked = job.params.tracked
    part = tracked["slice"]
    generation = GenerationConfig.model_validate(part["generation"])
    patching, z = PatchingConfig.model_validate(part["patching"]), ZConfig.model_validate(part["z"])
    lm = load_for_job(job)
    problems = read_problems(job.input.problems)
    layer, kind = check_layer(part["layer"], lm.n_layers), z.kinds[0]
    sizes = [check_k(k, lm.n_kv * lm.d_head) for k in z.k]
    attention = lm.attention_weights(layer)
    bases = [stacked_right_space(attention, k, kind) for k in dict.fromkeys(sizes)]
    parts = patch_layer(
        lm,
        problems,
        layer,
        bases,
        patching,
        generation,
        position_0=z.position_0 == "include",
        seed=part["seed"],
    )
    total = n_parts(patching, len(bases), len(problems), generation.batch_size)
    # A frame of columns each: rows of Python objects would take many times the memory.
    frames = [
        pd.DataFrame(rows).astype({"k": "Int64"})
        for rows in progress(parts, desc=f"patch layer {layer}", total=total)
    ]
    frame = pd.concat(frames, ignore_index=True)
    frame = frame.assign(
        model=job.wildcards.model,
        layer=layer,
        position_0=z.position_0,
        kind=frame["k"].map(lambda k: None if pd.isna(k) else kind),
    )
    provenance = {
        **tracked,
        "resolved": {"layer": [part["layer"], layer], "k": list(zip(z.k, sizes, strict=True))},
        "model": lm.name,
        "device": str(lm.device),
        "versions": versions("python", "numpy", "torch", "transformers", "POT"),
    }
    write_table(frame, job.output.outputs, "crosslingual_outputs", provenance)


if __name__ == "__main__":
    run_job(snakemake, main)
