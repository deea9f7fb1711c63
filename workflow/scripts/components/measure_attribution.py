"""Patch every node of a condition's models, on pairs made from the program, and estimate it."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from zscope.config.base import Bootstrap
from zscope.core.jobs import job, progress
from zscope.core.provenance import derive_seed
from zscope.models.tensor_checkpoints import load_last_tensor_model
from zscope.studies.components.attribution.config import PairsConfig
from zscope.studies.components.attribution.measuring import MeasuredPairs
from zscope.studies.components.attribution.pair_rows import pair_rows, primitive_rows
from zscope.studies.components.attribution.prompt_pairs import all_pairs, rule_of
from zscope.studies.components.attribution.tables import (
    DEGREES,
    EFFECTS,
    NODES,
    PAIRS,
    PRIMITIVES,
)
from zscope.tables.write import write_table
from zscope.toy_language.config import LanguageConfig
from zscope.toy_language.language import ToyLanguage


def measure_attribution(
    weights: Mapping[str, str],
    outputs: Mapping[str, str],
    *,
    subject: str,
    language: ToyLanguage,
    config: PairsConfig,
    seed: int,
    bootstrap: Bootstrap,
    provenance: Mapping[str, Any],
) -> None:
    """weights: the checkpoints of each model. outputs: by the short name of the table."""
    made = all_pairs(
        language, config.of_primitive, rule_of(config), derive_seed(seed, "attribution")
    )
    pairs = [pair for of in made for pair in of.pairs]
    rows: dict[str, list[dict[str, Any]]] = {EFFECTS.short: [], DEGREES.short: []}
    nodes: list[pd.DataFrame] = []
    for name, file in progress(list(weights.items()) if pairs else [], desc=subject):
        measured = MeasuredPairs(load_last_tensor_model(file), pairs)
        columns = {"subject": subject, "model": name}
        frame = measured.frame()
        nodes.append(frame.assign(**columns))
        rows[EFFECTS.short] += [columns | row for row in measured.effect_rows()]
        rows[DEGREES.short] += [columns | row for row in measured.degree_rows(frame, bootstrap)]
    for table, listed in (
        (PRIMITIVES, primitive_rows(made)),
        (PAIRS, pair_rows(pairs, language.vocabulary)),
    ):
        rows[table.short] = [{"subject": subject, **row} for row in listed]
    for table in (PRIMITIVES, PAIRS, EFFECTS, DEGREES):
        write_table(rows[table.short], outputs[table.short], table, provenance)
    whole = pd.concat(nodes) if nodes else pd.DataFrame()
    write_table(whole, outputs[NODES.short], NODES, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch") as this:
        subject = this.slice["subject"]
        measure_attribution(
            dict(zip(subject["models"], this.input.weights, strict=True)),
            dict(this.output.items()),
            subject=subject["name"],
            language=ToyLanguage(LanguageConfig.model_validate(subject["settings"]["language"])),
            config=PairsConfig.model_validate(this.slice["pairs"]),
            seed=this.slice["seed"],
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            provenance=this.provenance,
        )
