"""Whether the pattern comes before its effect, and the effect before the behaviour. No torch.

The order is declared: pattern, effect, behaviour. Onsets are paired by model, in models in which
the detector names heads. A pair counts as later if the second onset is, or if the second never came
although the first did; earlier is the reverse. A pair at one checkpoint, or in which neither came,
says nothing.

    yes              later, by the exact two-sided sign test, after Holm over the rows of the
                     subject
    no               it could have been so, and is not
    cannot be told   the smallest p of so many models, 2^(1-n) times the rows, is not below alpha
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from zscope.figures.frames import numbers, select
from zscope.stats import finite, holm, median_interval
from zscope.studies.heads.tables import BEHAVIOUR_THERE, EFFECT, PATTERN
from zscope.tables.schema import Row
from zscope.verdicts import UNKNOWN, yes

ORDER = ((PATTERN, EFFECT), (EFFECT, BEHAVIOUR_THERE))


def order_rows(onsets: pd.DataFrame, *, alpha: float, level: float) -> Iterator[Row]:
    """Rows of table heads_onset_order, from table heads_onsets of one subject."""
    found = list(_untested(onsets[onsets["heads"] != ""], level))
    p_holm = holm(np.array([row["p"] for row in found], dtype=float))
    for row, adjusted in zip(found, p_holm, strict=True):
        least = min(1.0, len(found) * 2.0 ** (1 - row["n"]))
        answer = yes(row["later"] > row["earlier"] and adjusted < alpha)
        word = UNKNOWN if least >= alpha else answer
        yield {**row, "p_holm": float(adjusted), "least_p": least, "verdict": word}


def _untested(onsets: pd.DataFrame, level: float) -> Iterator[Row]:
    from scipy.stats import binomtest  # half a second, which figures need not wait for

    for (subject, detector), rows in onsets.groupby(["subject", "detector"], sort=False):
        for first, second in ORDER:
            pairs = select(rows, quantity=first).merge(
                select(rows, quantity=second), on="model", suffixes=("", "_second")
            )
            if pairs.empty:
                continue
            differences = _differences(pairs)
            later, earlier = int((differences > 0).sum()), int((differences < 0).sum())
            yield {
                **{"subject": subject, "detector": detector, "first": first, "second": second},
                **_median(differences, level),
                **{"later": later, "earlier": earlier, "n": len(pairs)},
                "p": binomtest(later, later + earlier).pvalue if later + earlier else 1.0,
            }


def _differences(pairs: pd.DataFrame) -> Float[np.ndarray, " pair"]:
    """Second onset less the first; infinite if one of them alone never came, NaN if neither did."""
    first, second = numbers(pairs["onset"]), numbers(pairs["onset_second"])
    with np.errstate(invalid="ignore"):  # inf - inf is NaN
        return np.nan_to_num(second, nan=np.inf) - np.nan_to_num(first, nan=np.inf)


def _median(differences: Float[np.ndarray, " pair"], level: float) -> dict[str, Any]:
    known = differences[~np.isnan(differences)]
    if not len(known):
        return dict.fromkeys(("median", "ci_low", "ci_high", "coverage"))
    median, low, high, coverage = median_interval(known, level)
    ends = {"median": finite(median), "ci_low": finite(low), "ci_high": finite(high)}
    return {**ends, "coverage": coverage}
