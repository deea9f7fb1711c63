"""What an ablation does over all prompts: the rows above the tables of single prompts."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from zscope.config.base import Bootstrap
from zscope.figures.frames import numbers
from zscope.stats import bootstrap_interval, finite, median_interval, wilson_interval
from zscope.studies.heads.pages.frames import checked
from zscope.studies.heads.tables import PROMPT_CONDITIONS
from zscope.tables.schema import Row

CHANGED, KL_MEAN, KL_MEDIAN = METRICS = ("changed", "kl_mean", "kl_median")
"""Share of prompts with another likeliest token (Wilson), KL(base, ablated) over prompts: its mean
(bootstrap over prompts) and its median (distribution-free)."""


def summarise_conditions(conditions: pd.DataFrame, bootstrap: Bootstrap) -> Iterator[Row]:
    """Rows of table heads_condition_summary, in the order in which the conditions come first.

    conditions: table heads_prompt_conditions; a prompt at several t counts once per t. Raises
    DataError as `checked`, and KeyError if a base has no row.
    """
    frame = checked(conditions, PROMPT_CONDITIONS)
    where = ["prompt", "t"]
    bases = frame.set_index([*where, "condition"])["predicted_id"]
    ablated = frame[frame["base"].notna()]
    for (condition, base), rows in ablated.groupby(["condition", "base"], sort=False):
        before = bases.loc[list(rows[[*where, "base"]].itertuples(index=False, name=None))]
        changed = int((rows["predicted_id"].to_numpy() != before.to_numpy()).sum())
        kl, n = numbers(rows["kl"]), len(rows)
        median, *ends, _ = median_interval(kl, bootstrap.level)
        for metric, value, (low, high) in (
            (CHANGED, changed / n, wilson_interval(changed, n, bootstrap.level)),
            (KL_MEAN, kl.mean(), bootstrap_interval(kl, bootstrap=bootstrap)),
            (KL_MEDIAN, median, ends),
        ):
            yield {
                "subject": rows["subject"].iloc[0],
                "model": rows["model"].iloc[0],
                "condition": condition,
                "label": rows["label"].iloc[0],
                "base": base,
                "metric": metric,
                "value": finite(float(value)),
                "ci_low": finite(float(low)),
                "ci_high": finite(float(high)),
                "n": n,
            }
