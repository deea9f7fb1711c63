"""Train models that answer with the label of an option, and see what they answer by."""

from typing import Any

from zscope.config.base import Bootstrap
from zscope.core.jobs import job, progress
from zscope.core.provenance import derive_seed
from zscope.studies.components.letters.config import LettersConfig
from zscope.studies.components.letters.tables import READOUTS
from zscope.studies.components.letters.training import readout_rows, tested_prompts, train
from zscope.tables.write import write_table


def train_letters(
    output: str,
    *,
    config: LettersConfig,
    seed: int,
    bootstrap: Bootstrap,
    provenance: dict[str, Any],
) -> None:
    runs = [(permuted, own) for permuted in config.permuted for own in config.seeds]
    tested = tested_prompts(config, seed)
    rows: list[dict[str, Any]] = []
    for permuted, own in progress(runs, desc="letters"):
        model = train(config, permuted, derive_seed(own, f"letters {seed}"))
        columns = {"permuted": permuted, "seed": own}
        for name, prompts in tested.items():
            rows += [columns | row for row in readout_rows(model, name, prompts, bootstrap)]
    write_table(rows, output, READOUTS, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch") as this:
        train_letters(
            this.output.readouts,
            config=LettersConfig.model_validate(this.slice["letters"]),
            seed=this.slice["seed"],
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            provenance=this.provenance,
        )
