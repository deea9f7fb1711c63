"""Rows of the toy language study's tables with planted numbers, for tests."""

import pandas as pd

from zscope.config.base import Bootstrap
from zscope.studies.toylang.tables import READOUTS

BOOTSTRAP = Bootstrap(resamples=200)
NO_READOUTS = pd.DataFrame(columns=[c.name for c in READOUTS.columns])
STEPS = [0, 10, 20, 40, 80]


def curve(values, primitive="skip", condition="reference", seed=0, steps=STEPS):
    return pd.DataFrame(
        {
            "condition": condition,
            "seed": seed,
            "step": steps[: len(values)],
            "split": "held_out",
            "primitive": primitive,
            "metric": "excess",
            "value": values,
        }
    )


def readout(values, name, metric, item="all", n=6, seed=0):
    return pd.DataFrame(
        {
            "condition": "reference",
            "seed": seed,
            "step": STEPS[: len(values)],
            "readout": name,
            "item": item,
            "metric": metric,
            "value": values,
            "n": n,
        }
    )


def only(rows):
    (row,) = rows
    return row


def onsets(of_condition, primitive="skip", last=100):
    """A frame of onsets: of each condition those of its seeds, None for never."""
    rows = [
        {
            "condition": condition,
            "seed": seed,
            "kind": "behaviour",
            "primitive": primitive,
            "metric": "excess",
            "threshold": 1.0,
            "onset": onset,
            "last_step": last,
        }
        for condition, times in of_condition.items()
        for seed, onset in enumerate(times)
    ]
    return pd.DataFrame(rows).astype({"onset": "Int64"})
