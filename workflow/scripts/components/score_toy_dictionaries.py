"""Train dictionaries on the streams of toy models, and score them against the exact language."""

from collections.abc import Mapping, Sequence
from typing import Any

from zscope.config.base import Bootstrap
from zscope.core.jobs import job
from zscope.core.provenance import derive_seed
from zscope.studies.components.dictionaries.config import ToyConfig
from zscope.studies.components.dictionaries.sae_files import write_sae
from zscope.studies.components.dictionaries.tables import (
    DICTIONARIES_CAUSAL,
    DICTIONARIES_CURVES,
    DICTIONARIES_FEATURES,
    DICTIONARIES_VERDICTS,
)
from zscope.studies.components.dictionaries.toy_measures import measure_toy
from zscope.tables.write import write_table


def score_toy_dictionaries(
    weights: Sequence[str],
    output: Any,
    *,
    subject: Mapping[str, Any],
    config: ToyConfig,
    alpha: float,
    seed: int,
    bootstrap: Bootstrap,
    provenance: Mapping[str, Any],
) -> None:
    """weights: the checkpoints of each model of the subject."""
    name = subject["name"]
    rows = measure_toy(
        dict(zip(subject["models"], weights, strict=True)),
        subject["settings"],
        config,
        seed=derive_seed(seed, "toy dictionaries"),
        alpha=alpha,
        curves=name in config.curves_of,
        bootstrap=bootstrap,
    )
    for found, path, table in (
        (rows.curves, output.curves, DICTIONARIES_CURVES),
        (rows.features, output.features, DICTIONARIES_FEATURES),
        (rows.causal, output.causal, DICTIONARIES_CAUSAL),
        (rows.verdicts, output.verdicts, DICTIONARIES_VERDICTS),
    ):
        write_table([{"subject": name, **row} for row in found], path, table, provenance)
    assert rows.exported is not None
    model, first = rows.exported
    write_sae(
        first.variant,
        first.stack,
        first.site.scale,
        output.config,
        output.sae,
        model=model,
        hook=first.site.hook,
        notes={"subject": name, "code": provenance.get("code")},
    )


if __name__ == "__main__":
    with job(snakemake, "numpy", "scipy", "torch") as this:
        score_toy_dictionaries(
            list(this.input.weights),
            this.output,
            subject=this.slice["subject"],
            config=ToyConfig.model_validate(this.slice["toy"]),
            alpha=this.slice["alpha"],
            seed=this.slice["seed"],
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            provenance=this.provenance,
        )
