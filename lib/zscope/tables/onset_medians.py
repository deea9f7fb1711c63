"""From a table of onsets to rows of their medians, over runs of which some never had theirs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from zscope.config.base import Bootstrap
from zscope.core.provenance import derive_seed
from zscope.stats import finite, median_time
from zscope.tables.schema import Row


def medians(onsets: pd.DataFrame, keys: Sequence[str], bootstrap: Bootstrap) -> Iterator[Row]:
    """Kaplan-Meier median and its interval over the rows of each group, in steps, by its keys.

    onsets: columns onset, missing where it never came, and last_step, at which it is censored. A
    median, or an end of its interval, beyond the last step is null.
    """
    for key, rows in onsets.groupby(list(keys), sort=False):
        seen = rows["onset"].notna()
        times = rows["onset"].where(seen, rows["last_step"]).to_numpy(dtype=float)
        rng = np.random.default_rng(derive_seed(bootstrap.seed, "/".join(map(str, key))))
        time = median_time(times, seen.to_numpy(dtype=bool), bootstrap=bootstrap, rng=rng)
        ends = {name: finite(getattr(time, name)) for name in ("median", "ci_low", "ci_high")}
        counts = {"n": time.n, "n_censored": time.n_censored}
        yield {**dict(zip(keys, key, strict=True)), **ends, **counts}
