"""What untrained weights show: the null of a maximum over heads."""

from __future__ import annotations

import pandas as pd


def largest_untrained_head(heads: pd.DataFrame) -> float:
    """The largest value of any head of any run at step 0; NaN without rows of that step.

    Random weights attend unevenly, and alike on all examples. So the largest of several heads lies
    above uniform before anything is learned, also where the head is chosen on other examples.
    heads: columns step and value, of one metric of all runs of a condition.
    """
    return float(heads.loc[heads["step"] == 0, "value"].max())
