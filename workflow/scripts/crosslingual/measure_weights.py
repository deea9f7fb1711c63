"""Ranks, overlaps and similarities of the weights, layer by layer: table crosslingual_weights."""

import torch

from zscope.config.base import Bootstrap
from zscope.core.jobs import Provenance, job, progress
from zscope.core.provenance import derive_seed
from zscope.models.language_model import LanguageModel
from zscope.studies.crosslingual.measures import weights
from zscope.studies.crosslingual.measures.nulls import uniform_spaces
from zscope.studies.crosslingual.measures.space_file import SpaceFile
from zscope.studies.crosslingual.subject import load_subject
from zscope.studies.crosslingual.tables import WEIGHTS
from zscope.tables.schema import Row
from zscope.tables.write import write_table


def measure_weights(
    lm: LanguageModel,
    spaces: SpaceFile,
    output: str,
    *,
    model: str,
    bootstrap: Bootstrap,
    provenance: Provenance,
) -> None:
    random = uniform_spaces(spaces, bootstrap.seed)
    generator = torch.Generator().manual_seed(derive_seed(bootstrap.seed, "gaussian weights"))
    kinds = tuple(dict.fromkeys(spaces.z.kinds))
    found = {
        (kind, k): {
            layer: spaces.load(layer, k, kind)
            for layer in range(lm.n_layers)
            if spaces.has(layer, k, kind)
        }
        for kind in kinds
        for k in spaces.sizes.ks
    }
    rows: list[Row] = []
    for layer in progress(range(lm.n_layers), desc="weights"):
        attention = lm.attention_weights(layer)
        rows += weights.rank_rows(attention, layer, kinds, spaces.z.draws, generator, bootstrap)
        own = {name: by_layer[layer] for name, by_layer in found.items() if layer in by_layer}
        ffn = weights.FfnMoments.of(lm.ffn_weights(layer))
        rows += weights.ffn_rows(ffn, own, random, layer, bootstrap)
    for (kind, k), by_layer in found.items():
        rows += weights.similarity_rows(by_layer, random[k], kind, bootstrap)
    write_table([{"model": model, **row} for row in rows], output, WEIGHTS, provenance)


if __name__ == "__main__":
    with job(snakemake, "torch", "transformers") as this:
        lm, loaded = load_subject(this.wildcards.model, this.input.weights, **this.slice["subject"])
        measure_weights(
            lm,
            SpaceFile.open(this.input.spaces, this.input.sizes, this.slice["z"]),
            this.output.weights,
            model=this.wildcards.model,
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            provenance={**this.provenance, **loaded},
        )
