"""Where each head looks, by distance: the rows of table heads_profiles, from sums of detectors.

The profile at offset d is the mean weight on the key d tokens back, over the rows that have one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from zscope.config.base import Bootstrap
from zscope.stats import bootstrap_interval, bootstrap_weights, finite
from zscope.studies.heads.detector import Detector
from zscope.studies.heads.sums import Key, naming_weights
from zscope.studies.heads.sums_file import Measured
from zscope.tables.schema import Row


def profile_rows(
    measured: Measured, detectors: Sequence[Detector], bootstrap: Bootstrap
) -> Iterator[Row]:
    """Of one model, without its subject; by the weights that name heads, with intervals over
    sequences.

    measured: of a module. detectors: its own. Those of an offset are taken on their first stream,
    if they are a family.
    """
    if not any(d.family for d in detectors if d.offset is not None):
        return
    kind = naming_weights(measured.signed)
    found = {s.stream: s for s in measured.sums}
    for d in detectors:
        if d.offset is None or d.streams[0] not in found:
            continue
        sums = found[d.streams[0]].sums[Key(d.name, "score", kind)]
        hits = sums.hits.reshape(len(sums.hits), -1)
        rows = np.broadcast_to(sums.rows, sums.hits.shape).reshape(hits.shape)
        draws = bootstrap_weights(
            len(hits), bootstrap.resamples, np.random.default_rng(bootstrap.seed)
        )
        low, high = bootstrap_interval(hits, rows, bootstrap=bootstrap, weights=draws)
        with np.errstate(invalid="ignore", divide="ignore"):
            value = hits.sum(0) / rows.sum(0)
            assert sums.null_hits is not None
            assert sums.null_rows is not None
            null = float((sums.null_hits.sum(0) / sums.null_rows.sum(0)).flat[0])
        for i, (layer, head) in enumerate(np.ndindex(sums.hits.shape[1:])):
            yield {
                "model": measured.model,
                "stream": d.streams[0],
                "weights": kind,
                "layer": layer,
                "head": head,
                "offset": d.offset,
                "value": finite(float(value[i])),
                "ci_low": finite(float(low[i])),
                "ci_high": finite(float(high[i])),
                "null": finite(null),
                "n": len(hits),
            }
