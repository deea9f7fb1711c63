"""What layers attend to under every ablation, over all prompts of a set."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from zscope.config.base import Bootstrap
from zscope.stats import bootstrap_interval, finite
from zscope.studies.heads.tables import ABLATED, ALL_KEYS, CHANGE, CLEAN, MOVED
from zscope.tables.schema import Row


def summarise_attention(
    attention: pd.DataFrame, conditions: pd.DataFrame, prompts: str, bootstrap: Bootstrap
) -> Iterator[Row]:
    """Rows of table heads_condition_attention.

    attention: table heads_prompt_attention. conditions: heads_prompt_conditions, for the words of a
    condition. prompts: the name of the set. A group of keys has the prompts that are long enough
    for it; intervals are over them.
    """
    if attention.empty:
        return
    labels = dict(zip(conditions["condition"], conditions["label"], strict=True))
    attention = attention.assign(where=attention["prompt"] + " " + attention["t"].astype(str))
    for (condition, keys), rows in attention.groupby(["condition", "keys"], sort=False):
        ablated, clean = (rows.pivot(index="where", columns="layer", values=c) for c in VALUES)
        if keys == ALL_KEYS:
            frames = {MOVED: ablated}
        else:
            frames = {CLEAN: clean, ABLATED: ablated, CHANGE: ablated - clean}
        values = np.concatenate([frame.to_numpy(float) for frame in frames.values()], 1)
        low, high = bootstrap_interval(values, bootstrap=bootstrap)
        columns = [(m, int(layer)) for m, frame in frames.items() for layer in frame.columns]
        offset = rows["offset"].iloc[0]
        for i, (metric, layer) in enumerate(columns):
            yield {
                "subject": rows["subject"].iloc[0],
                "model": rows["model"].iloc[0],
                "prompts": prompts,
                "condition": condition,
                "label": labels[condition],
                "layer": layer,
                "keys": keys,
                "offset": None if pd.isna(offset) else int(offset),
                "metric": metric,
                "value": float(values[:, i].mean()),
                "ci_low": finite(float(low[i])),
                "ci_high": finite(float(high[i])),
                "n": len(values),
            }


VALUES = ("weight", "clean")
