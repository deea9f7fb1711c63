"""The loss of a model on reference texts, or on those of a folder: table models_loss."""

from collections.abc import Mapping, Sequence

import torch

from zscope.config.base import Bootstrap
from zscope.core.devices import pick_device
from zscope.core.jobs import Provenance, job
from zscope.models.language_model import LanguageModel, load_language_model
from zscope.tables.write import write_table
from zscope.text.loss import text_loss
from zscope.text.passages import Passage, read_folder, read_passages
from zscope.text.tables import MODEL_LOSS


def measure_model_loss(
    lm: LanguageModel,
    texts: Mapping[str, Sequence[Passage]],
    output: str,
    *,
    model: str,
    window: int,
    batch_size: int,
    bootstrap: Bootstrap,
    provenance: Provenance,
) -> None:
    """texts: passages by language. window: tokens; batch_size: windows that are run together."""
    rows = [
        {"model": model, "language": language, **row}
        for language, passages in texts.items()
        for row in text_loss(lm, passages, window=window, batch_size=batch_size).rows(bootstrap)
    ]
    write_table(rows, output, MODEL_LOSS, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch", "transformers") as this:
        asked = this.slice
        lm = load_language_model(
            {"path": this.input.model}, pick_device(asked["device"]), getattr(torch, asked["dtype"])
        )
        measure_model_loss(
            lm,
            {
                language: read_passages(language) if folder is None else read_folder(folder)
                for language, folder in asked["texts"].items()
            },
            this.output.loss,
            model=this.wildcards.model,
            window=asked["window"],
            batch_size=asked["batch_size"],
            bootstrap=Bootstrap.model_validate(asked["bootstrap"]),
            provenance={**this.provenance, "model": lm.name, "device": str(lm.device)},
        )
