"""Estimate what every z node of a language model does, and patch some of them."""

from typing import Any

import numpy as np
import pandas as pd
import torch

from zscope.config.base import Bootstrap
from zscope.core.devices import pick_device
from zscope.core.jobs import job, progress
from zscope.core.provenance import derive_seed
from zscope.models.attention_view_transformers import TransformersView
from zscope.models.named import load_named
from zscope.studies.components.attribution.config import PretrainedConfig
from zscope.studies.components.attribution.pretrained import chosen_nodes, node_rows, z_estimates
from zscope.studies.components.attribution.pretrained_pairs import token_pairs
from zscope.studies.components.attribution.pretrained_scores import pretrained_score_rows
from zscope.studies.components.attribution.scores import ScoreRule
from zscope.studies.components.attribution.tables import (
    PRETRAINED_NODES,
    PRETRAINED_PAIRS,
    PRETRAINED_SCORES,
)
from zscope.tables.write import write_table


def measure_pretrained_attribution(
    weights: str,
    outputs: dict[str, str],
    *,
    name: str,
    dtype: torch.dtype,
    config: PretrainedConfig,
    draws: int,
    seed: int,
    bootstrap: Bootstrap,
    device: torch.device,
    provenance: dict[str, Any],
) -> None:
    """weights: the model's folder. outputs: by the short name of the table."""
    lm = load_named(name, weights, device, dtype, known=False)
    view = TransformersView(lm.model)
    own = derive_seed(seed, "pretrained attribution")
    pairs = token_pairs(
        lm.tokenizer,
        config.ioi_pairs,
        config.repeat_pairs,
        config.repeat_length,
        np.random.default_rng(derive_seed(own, "names")),
    )
    of_pairs: list[dict[str, Any]] = []
    of_nodes: list[dict[str, Any]] = []
    for i, pair in enumerate(progress(pairs, desc=name)):
        estimates = z_estimates(view, pair)
        rng = np.random.default_rng(derive_seed(own, f"nodes {i}"))
        chosen = chosen_nodes(estimates.atp, pair.edit, config.top, config.random, rng)
        columns = {"subject": name, "family": pair.family, "pair": i}
        of_nodes += [columns | row for row in node_rows(view, pair, estimates, chosen)]
        of_pairs.append(
            columns
            | {
                "length": len(pair.clean),
                "edit": pair.edit,
                "prompt": lm.tokenizer.decode(list(pair.clean)),
                "answer": lm.tokenizer.decode([pair.answer]),
                "other": lm.tokenizer.decode([pair.other]),
                "clean": estimates.clean,
                "corrupted": estimates.corrupted,
                "nodes": view.n_layers * view.n_heads * (len(pair.clean) - pair.edit),
                "patched": len(chosen),
            }
        )
    rule = ScoreRule(config.large, config.large / 2, draws, bootstrap, own)
    scores = [
        {"subject": name, **row} for row in pretrained_score_rows(pd.DataFrame(of_nodes), rule)
    ]
    for table, rows in (
        (PRETRAINED_PAIRS, of_pairs),
        (PRETRAINED_NODES, of_nodes),
        (PRETRAINED_SCORES, scores),
    ):
        write_table(rows, outputs[table.short], table, provenance)


if __name__ == "__main__":
    with job(snakemake, "numpy", "torch", "transformers") as this:
        device = pick_device(this.slice["device"])
        measure_pretrained_attribution(
            this.input.weights[0],
            dict(this.output.items()),
            name=this.slice["name"],
            dtype=getattr(torch, this.slice["dtype"]),
            config=PretrainedConfig.model_validate(this.slice["pretrained"]),
            draws=this.slice["draws"],
            seed=this.slice["seed"],
            bootstrap=Bootstrap.model_validate(this.slice["bootstrap"]),
            device=device,
            provenance={**this.provenance, "device": str(device)},
        )
