"""V_Z of every layer, k and kernel, for all who need it: a safetensors file."""

import logging

from torch import Tensor

from zscope.core.jobs import Provenance, job, progress
from zscope.models.language_model import LanguageModel
from zscope.studies.crosslingual.config import ZConfig
from zscope.studies.crosslingual.measures.space_file import layer_spaces, write_spaces
from zscope.studies.crosslingual.sizes import Sizes, read_sizes
from zscope.studies.crosslingual.subject import load_subject


def make_spaces(
    lm: LanguageModel, output: str, *, z: ZConfig, sizes: Sizes, provenance: Provenance
) -> None:
    spaces: dict[str, Tensor] = {}
    notes: list[str] = []
    for layer in progress(range(lm.n_layers), desc="spaces"):
        of_layer, skipped = layer_spaces(lm.attention_weights(layer), layer, z, sizes)
        # In single precision at once: there are many, and they are stored so.
        spaces |= {name: V.float() for name, V in of_layer.items()}
        notes += skipped
    for note in notes:
        logging.getLogger("zscope").info(note)
    write_spaces(spaces, output, provenance)


if __name__ == "__main__":
    with job(snakemake, "torch", "transformers") as this:
        lm, loaded = load_subject(this.wildcards.model, this.input.weights, **this.slice["subject"])
        make_spaces(
            lm,
            this.output.spaces,
            z=ZConfig.model_validate(this.slice["z"]),
            sizes=read_sizes(this.input.sizes),
            provenance={**this.provenance, **loaded},
        )
