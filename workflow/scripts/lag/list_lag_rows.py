"""List rows of the training data of the lag study, for studies of the same models."""

from collections.abc import Iterator

import numpy as np

from zscope.core.jobs import Provenance, job
from zscope.core.provenance import derive_seed
from zscope.studies.lag.facts import SPECIAL, Disambiguation, encode, sample_rows
from zscope.studies.lag.run_config import DataConfig
from zscope.studies.lag.tables import FACTS
from zscope.tables.read import read_table
from zscope.tables.schema import Row
from zscope.tables.write import write_table
from zscope.text.tables import ROWS


def list_lag_rows(
    facts: str, output: str, *, config: DataConfig, n: int, seed: int, provenance: Provenance
) -> None:
    """n: most rows. The first token of the target is the one that the model is asked for."""
    data = encode(read_table(facts, FACTS), config)
    rng = np.random.default_rng(derive_seed(seed, "rows for other studies"))
    write_table(_rows(data, sample_rows(data, n, rng)), output, ROWS, provenance)


def _rows(data: Disambiguation, chosen: np.ndarray) -> Iterator[Row]:
    for sequence, row in enumerate(chosen):
        for position, token_id in enumerate(data.tokens[row].tolist()):
            token = data.vocabulary.tokens[token_id]
            yield {
                "sequence": sequence,
                "position": position,
                "token_id": token_id,
                "token": token,
                "special": token in SPECIAL,
                "measured": position == data.layout.target.start,
            }


if __name__ == "__main__":
    with job(snakemake, "numpy", "pandas") as this:
        list_lag_rows(
            this.input.facts,
            this.output.rows,
            config=DataConfig.model_validate(this.slice["data"]),
            n=this.slice["n"],
            seed=this.slice["seed"],
            provenance=this.provenance,
        )
