"""Compare the decompositions of one model, and say which primitives have components."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from zscope.config.base import Bootstrap
from zscope.core.jobs import job
from zscope.core.provenance import derive_seed
from zscope.studies.components.decomposition.descriptions import all_vectors
from zscope.studies.components.decomposition.measured import load_phases
from zscope.studies.components.decomposition.summary import (
    Vectors,
    similarity_rows,
    verdict_rows,
)
from zscope.studies.components.decomposition.tables import (
    COMPONENTS,
    SIMILARITY,
    TESTS,
    VERDICTS,
)
from zscope.tables.read import read_table
from zscope.tables.schema import Row
from zscope.tables.write import write_table


def compare_decompositions(
    runs: Sequence[Mapping[str, Any]],
    checkpoints: Sequence[str],
    weights: Sequence[str],
    components: Sequence[str],
    tests: Sequence[str],
    similarity: str,
    verdicts: str,
    *,
    seed: int,
    bootstrap: Bootstrap,
    provenance: Mapping[str, Any],
) -> None:
    """runs: model and seed of each decomposition; all files are in their order."""
    found: dict[tuple[str, str], dict[int, Vectors]] = {}
    of_runs = zip(runs, checkpoints, weights, components, strict=True)
    for run, file, of_model, described in of_runs:
        frame = read_table(described, COMPONENTS)
        for phase, decomposition in load_phases(file, of_model).items():
            alive = frame[frame["alive"] & (frame["phase"] == phase)]
            kept = {m: some["component"].to_numpy() for m, some in alive.groupby("matrix")}
            none = np.zeros(0, dtype=int)
            found.setdefault((run["model"], phase), {})[run["seed"]] = {
                name: (reads[kept.get(name, none)], writes[kept.get(name, none)])
                for name, reads, writes in all_vectors(decomposition)
            }
    rng = np.random.default_rng(derive_seed(seed, "similarity"))
    alike: list[Row] = [
        {"model": model, "phase": phase, **row}
        for (model, phase), by_seed in found.items()
        for row in similarity_rows(by_seed, bootstrap, rng)
    ]
    write_table(alike, similarity, SIMILARITY, provenance)
    tested = pd.concat([read_table(file, TESTS) for file in tests])
    write_table(list(verdict_rows(tested)), verdicts, VERDICTS, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch") as this:
        compare_decompositions(
            this.slice["runs"],
            list(this.input.checkpoints),
            list(this.input.weights),
            list(this.input.components),
            list(this.input.tests),
            this.output.similarity,
            this.output.verdicts,
            seed=this.slice["study_seed"],
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            provenance=this.provenance,
        )
