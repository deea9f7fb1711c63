"""Ranks, overlaps and similarities of the weights, layer by layer; and V_Z for all who need it."""

import logging
from typing import Any

import pandas as pd
import torch

from zscope.core.jobs import progress, run_job
from zscope.core.provenance import derive_seed, versions
from zscope.models.language_model import load_for_job
from zscope.studies.crosslingual.config import ZConfig
from zscope.studies.crosslingual.measures.intervals import Row
from zscope.studies.crosslingual.measures.nulls import random_spaces
from zscope.studies.crosslingual.measures.space_file import ZSettings, key, write_spaces
from zscope.studies.crosslingual.measures.weights import (
    FfnMoments,
    ffn_rows,
    layer_spaces,
    rank_rows,
    similarity_rows,
)
from zscope.tables.read import write_table


def main(job: Any) -> None:
    """Outputs: `weights` (table crosslingual_weights) and `spaces` (safetensors)."""
    tracked = job.params.tracked
    part = tracked["slice"]
    z, bootstrap = ZConfig.model_validate(part["z"]), part["bootstrap"]
    level, seed = bootstrap["level"], bootstrap["seed"]
    lm = load_for_job(job)
    settings = ZSettings.of(z, lm)
    random = {k: random_spaces(lm.d_model, k, z.draws, seed) for k in settings.ks}
    generator = torch.Generator().manual_seed(derive_seed(seed, "gaussian weights"))

    rows: list[Row] = []
    spaces: dict[str, torch.Tensor] = {}
    notes: list[str] = []
    for layer in progress(range(lm.n_layers), desc="weights"):
        attention = lm.attention_weights(layer)
        found, skipped = layer_spaces(attention, layer, settings)
        notes += skipped
        spaces |= {name: V.float() for name, V in found.items()}
        rows += rank_rows(attention, layer, settings.kinds, z.draws, generator, level)
        of_all_heads = {
            (kind, k): found[key(layer, k, kind)]
            for kind in settings.kinds
            for k in settings.ks
            if key(layer, k, kind) in found
        }
        ffn = FfnMoments.from_qwen2(lm.layer(layer))
        rows += ffn_rows(ffn, of_all_heads, random, layer, level)
    for kind in settings.kinds:
        for k in settings.ks:
            names = {layer: key(layer, k, kind) for layer in range(lm.n_layers)}
            by_layer = {i: spaces[name].double() for i, name in names.items() if name in spaces}
            rows += similarity_rows(by_layer, random[k], kind, level)
    for note in notes:
        logging.getLogger("zscope").info(note)

    provenance = {
        **tracked,
        "model": lm.name,
        "device": str(lm.device),
        "versions": versions("python", "torch", "transformers"),
    }
    frame = pd.DataFrame(rows).assign(model=job.wildcards.model)
    frame = frame.astype(dict.fromkeys(("layer", "layer_2", "head", "k"), "Int64"))
    write_table(frame, job.output.weights, "crosslingual_weights", provenance)
    described = {
        "model": job.wildcards.model,
        "name": lm.name,
        "n_layers": lm.n_layers,
        "d_model": lm.d_model,
        "n_heads": lm.n_heads,
        "n_kv_heads": lm.n_kv,
        "d_head": lm.d_head,
        "parameters": sum(p.numel() for p in lm.model.parameters()),
        "dtype": str(lm.dtype).removeprefix("torch."),
    }
    write_table([described], job.output.model, "crosslingual_models", provenance)
    write_spaces(spaces, job.output.spaces, settings, provenance)


if __name__ == "__main__":
    run_job(snakemake, main)
