"""The loss of a named model on the reference texts: table models_loss."""

import torch

from zscope.config.base import Bootstrap
from zscope.core.devices import pick_device
from zscope.core.jobs import Provenance, job
from zscope.models.language_model import LanguageModel
from zscope.models.named import load_named
from zscope.models.tables import LOSS
from zscope.tables.write import write_table
from zscope.text.loss import text_loss
from zscope.text.passages import PASSAGE_LANGUAGES, read_passages


def measure_model_loss(
    name: str,
    lm: LanguageModel,
    output: str,
    *,
    window: int,
    batch_size: int,
    bootstrap: Bootstrap,
    provenance: Provenance,
) -> None:
    """window: tokens; batch_size: windows that are run together."""
    rows = [
        {"model": name, "language": language, **row}
        for language in PASSAGE_LANGUAGES
        for row in text_loss(
            lm, read_passages(language), window=window, batch_size=batch_size
        ).rows(bootstrap)
    ]
    write_table(rows, output, LOSS, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch", "transformers") as this:
        name, device = this.wildcards.model, pick_device(this.slice["device"])
        lm = load_named(
            name, this.input.weights, device, getattr(torch, this.slice["dtype"]), known=False
        )
        measure_model_loss(
            name,
            lm,
            this.output.loss,
            window=this.slice["window"],
            batch_size=this.slice["batch_size"],
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            provenance={**this.provenance, "model": lm.name, "device": str(lm.device)},
        )
