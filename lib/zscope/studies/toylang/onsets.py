"""When each primitive of the toy language sets in, in behaviour and in the weights.

An onset is the first step of several evaluations in a row past a threshold. A run that never gets
there is right-censored at its last step: kept, not dropped.

Behaviour: the excess falls below a share of what it was at the first evaluation (an untrained
model: uniform over the vocabulary). The share has to be small. With the default language a model
that sees the last token alone already leaves only .25 to .4 of the first excess of long_range,
induction, skip, suppress and bracket, because it knows which category comes next; at a share of .1
none of them can be passed that way. bigram (.01) and novel (.00) can, and category (.115) nearly:
they are statistics of the last token, so their onset is that of these statistics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.stats import binomtest

from zscope.core.errors import DataError
from zscope.core.provenance import derive_seed
from zscope.stats import bootstrap_weights, holm, median_time, onset
from zscope.studies.toylang.config import ToyOnsetConfig
from zscope.studies.toylang.targets import FIRST

Row = dict[str, Any]
BEHAVIOUR, WEIGHTS = "behaviour", "weights"
ALPHA = 0.05
ALL_SEEDS = 3  # fewest seeds of which "all of them moved this way" is worth saying


# --- one run -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WeightsOnset:
    """When a readout counts as there.

    Attributes:
        threshold: a readout must be strictly past it.
        curve: of the readout's rows (item, step, value, n) of a run the value at every step.
    """

    primitive: str
    readout: str
    metric: str
    threshold: float
    direction: Literal["above", "below"]
    curve: Callable[[pd.DataFrame], pd.Series]


def _single(rows: pd.DataFrame) -> pd.Series:
    return rows.set_index("step")["value"]


def _share(rows: pd.DataFrame) -> pd.Series:
    whole = rows[rows["item"] == "all"].set_index("step")
    return whole["value"] / whole["n"]


def _worst(rows: pd.DataFrame) -> pd.Series:
    """The largest over items; NaN where one has none."""
    return rows.groupby("step")["value"].agg(lambda values: values.max(skipna=False))


# The one place of the thresholds. All are far from what an untrained model gives (a tie: r
# undefined, ranks near V^3 / 2, no hit), and short of perfect, so that one word of six may lag.
WEIGHTS_ONSETS = (
    # .95 and more when training ends.
    WeightsOnset("bigram", "direct", "r", 0.9, "above", _single),
    # All true rules among the first of all triples; ties share a mean rank, hence the half.
    WeightsOnset("skip", "rules", "rank_all_paths", FIRST + 0.5, "below", _worst),
    # 5 objects of 6, of the pair of heads with the largest contrast.
    WeightsOnset("induction", "induction", "hits", 0.8, "above", _share),
    # The top verb below its others for 5 names of 6.
    WeightsOnset("suppress", "suppression", "below", 0.8, "above", _share),
)


def run_onsets(
    training: pd.DataFrame, readouts: pd.DataFrame | None, config: ToyOnsetConfig
) -> list[Row]:
    """Rows of toylang_onsets of all runs of `training` and `readouts`.

    training: rows of toylang_training. readouts: rows of toylang_readouts; None: nothing was read.
    `last_step` of an onset in the weights is the last checkpoint.
    """
    return [
        *_behaviour(training, config),
        *(() if readouts is None else _weights(readouts, config)),
    ]


def _behaviour(training: pd.DataFrame, config: ToyOnsetConfig) -> list[Row]:
    excess = training[(training["metric"] == "excess") & (training["split"] == "held_out")]
    found = []
    for (condition, _, primitive), rows in excess.groupby(
        ["condition", "seed", "primitive"], sort=False
    ):
        curve = _single(rows).sort_index()
        threshold = config.excess * float(curve.iloc[0])
        run = {"condition": condition, "seed": int(rows["seed"].iloc[0]), "kind": BEHAVIOUR}
        what = {"primitive": primitive, "metric": "excess", "threshold": threshold}
        found.append({**run, **what, **_onset(curve, threshold, "below", config.consecutive)})
    return found


def _weights(readouts: pd.DataFrame, config: ToyOnsetConfig) -> list[Row]:
    found = []
    for (condition, _), of_run in readouts.groupby(["condition", "seed"], sort=False):
        run = {"condition": condition, "seed": int(of_run["seed"].iloc[0]), "kind": WEIGHTS}
        for rule in WEIGHTS_ONSETS:
            rows = of_run[(of_run["readout"] == rule.readout) & (of_run["metric"] == rule.metric)]
            if rows.empty:
                continue
            curve = rule.curve(rows.astype({"value": float})).sort_index()
            what = {
                "primitive": rule.primitive,
                "metric": rule.metric,
                "threshold": rule.threshold,
            }
            when = _onset(curve, rule.threshold, rule.direction, config.consecutive)
            found.append({**run, **what, **when})
    return found


def _onset(
    curve: pd.Series, threshold: float, direction: Literal["above", "below"], consecutive: int
) -> Row:
    steps = curve.index.to_numpy()
    values = curve.to_numpy(dtype=float)
    return {
        "onset": onset(steps, values, threshold, direction, consecutive),
        "last_step": int(steps[-1]),
    }


# --- over seeds ----------------------------------------------------------------------------------


def summarise(onsets: pd.DataFrame, bootstrap: Mapping[str, Any]) -> list[Row]:
    """Rows of toylang_onset_summary: Kaplan-Meier medians over the seeds of a condition.

    bootstrap: level, resamples and seed of a BootstrapConfig. A median or an end of its interval
    that lies beyond the last step is null.
    """
    keys = ["condition", "kind", "primitive", "metric"]
    found = []
    for key, rows in onsets.groupby(keys, sort=False):
        observed = rows["onset"].notna()
        times = rows["onset"].where(observed, rows["last_step"]).to_numpy(dtype=float)
        rng = np.random.default_rng(derive_seed(bootstrap["seed"], "/".join(map(str, key))))
        time = median_time(
            times,
            observed.to_numpy(dtype=bool),
            rng=rng,
            level=bootstrap["level"],
            n_resamples=bootstrap["resamples"],
        )
        found.append(
            {
                **dict(zip(keys, key, strict=True)),
                "median": _finite(time.median),
                "ci_low": _finite(time.ci_low),
                "ci_high": _finite(time.ci_high),
                "n": time.n,
                "n_censored": time.n_censored,
            }
        )
    return found


def compare(
    onsets: pd.DataFrame,
    how: Mapping[str, tuple[str, str]],
    reference: str,
    bootstrap: Mapping[str, Any],
) -> list[Row]:
    """Rows of toylang_comparisons: onsets in behaviour of each condition against the reference's.

    how: of each condition to compare, how it differs ("removed", "delayed", "model") and what was
    changed. bootstrap: level, resamples and seed of a BootstrapConfig.

    Runs are paired by seed. A pair is later if the condition set in after the reference, or had not
    when its training ended after the reference's onset (later by an unknown size, infinity in the
    median); earlier likewise; and says nothing if neither set in. `shift` is the median over the
    pairs that say something, null if it is infinite, as is an end of its interval.

    The verdict follows one rule, fixed before any result:

    - "later" or "earlier": the exact two-sided sign test over the pairs has p < .05 after Holm over
      all rows. Pairs of equal onset do not count. n pairs give at best p = 2^(1-n): 6 seeds are the
      fewest for one row, and more for many rows.
    - "all later" or "all earlier": not so, but every pair that says something, 3 at least, moved
      this way. A coin does this with probability 2^(1-n) in each row: a hint, not a finding.
    - "never": as either of these, and no seed of the condition ever set in.
    - "changed": the primitive is the one that was delayed, and is later by design: not tested.
    - "unclear" else.

    To remove or delay a primitive also makes the others more frequent, so an earlier onset may be
    one of frequency alone.

    Raises:
        DataError: the reference has no onset, of any seed.
    """
    behaviour = onsets[onsets["kind"] == BEHAVIOUR]
    base = behaviour[behaviour["condition"] == reference]
    if base.empty:
        raise DataError(f"no run of condition {reference!r} to compare onsets with")
    found: list[Row] = []
    for condition, (kind, changed) in how.items():
        own = behaviour[behaviour["condition"] == condition]
        pairs = own.merge(base, on=["seed", "primitive"], suffixes=("", "_reference"))
        for primitive, rows in pairs.groupby("primitive", sort=False):
            name = {
                "condition": condition,
                "reference": reference,
                "how": kind,
                "changed": changed,
                "primitive": primitive,
            }
            found.append({**name, **_shift(rows, f"{condition}/{primitive}", bootstrap)})
    tested = [
        row["p"] if row["p"] is not None and row["changed"] != row["primitive"] else math.nan
        for row in found
    ]
    adjusted = holm(np.array(tested, dtype=float))
    for row, p, p_adjusted in zip(found, tested, adjusted, strict=True):
        row["p"], row["p_adjusted"] = _finite(p), _finite(float(p_adjusted))
        row["verdict"] = _verdict(row)
        del row["signs"], row["never"]
    return found


def _shift(rows: pd.DataFrame, name: str, bootstrap: Mapping[str, Any]) -> Row:
    """Everything of a comparison but what depends on the other rows."""
    columns = ("onset", "last_step", "onset_reference", "last_step_reference")
    pairs = zip(*(rows[column].tolist() for column in columns), strict=True)
    shifts = np.array([_doublings(*pair) for pair in pairs])
    known = shifts[~np.isnan(shifts)]
    later, earlier = int((known > 0).sum()), int((known < 0).sum())
    median = low = high = math.nan
    if len(known):
        median = float(_medians(known, np.ones((1, len(known)), dtype=int))[0])
        if len(known) > 1:
            low, high = _median_interval(known, name, bootstrap)
    return {
        "shift": _finite(median),
        "ci_low": _finite(low),
        "ci_high": _finite(high),
        "p": binomtest(later, later + earlier).pvalue if later + earlier else None,
        "n": len(rows),
        "n_censored": int((rows["onset"].isna() | rows["onset_reference"].isna()).sum()),
        "signs": np.sign(known),
        "never": bool(rows["onset"].isna().all()),
    }


def _doublings(own: Any, own_last: int, reference: Any, reference_last: int) -> float:
    """log2(onset / reference's); infinite if one is censored after the other, NaN if unknown."""
    if pd.notna(own) and pd.notna(reference):
        return math.log2(own / reference)
    if pd.notna(reference):
        return math.inf if own_last >= reference else math.nan
    if pd.notna(own):
        return -math.inf if reference_last >= own else math.nan
    return math.nan


def _medians(
    values: Float[np.ndarray, " n"], counts: Int[np.ndarray, "resamples n"]
) -> Float[np.ndarray, " resamples"]:
    """Medians of resamples that hold value i counts[:, i] times.

    Of two middle values that are not both finite it is the one nearer to 0: no shift is claimed
    that only half of the pairs show. NaN if they are infinite in both directions.
    """
    order = np.argsort(values)
    n = len(values)
    reached = counts[:, order].cumsum(axis=1)
    low, high = (
        values[order][np.argmax(reached > rank, axis=1)] for rank in ((n - 1) // 2, n // 2)
    )
    nearer = np.where(np.abs(low) < np.abs(high), low, high)
    with np.errstate(invalid="ignore"):
        middle = (low + high) / 2  # NaN for infinities apart
    return np.where(np.isinf(low) == np.isinf(high), middle, nearer)


def _median_interval(
    values: Float[np.ndarray, " n"], name: str, bootstrap: Mapping[str, Any]
) -> tuple[float, float]:
    """Percentile bootstrap of the median over seeds; of order statistics, as infinity is legal."""
    rng = np.random.default_rng(derive_seed(bootstrap["seed"], f"shift/{name}"))
    n = len(values)
    counts = np.rint(bootstrap_weights(n, bootstrap["resamples"], rng) * n).astype(int)
    medians = _medians(values, counts)
    medians = medians[~np.isnan(medians)]
    if not len(medians):
        return math.nan, math.nan
    tail = (1 - bootstrap["level"]) / 2
    low = np.quantile(medians, tail, method="lower")
    high = np.quantile(medians, 1 - tail, method="higher")
    return float(low), float(high)


def _verdict(row: Row) -> str:
    if row["how"] != "model" and row["changed"] == row["primitive"]:
        return "changed"
    signs = row["signs"]
    total = signs.sum()
    word = "later" if total > 0 else "earlier"
    significant = row["p_adjusted"] is not None and row["p_adjusted"] < ALPHA
    together = len(signs) >= ALL_SEEDS and abs(total) == len(signs)
    if not significant and not together:
        return "unclear"
    if row["never"] and total > 0:
        return "never"
    return word if significant else f"all {word}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def ordered(summary: pd.DataFrame, kind: str = BEHAVIOUR) -> Sequence[str]:
    """Primitives of an onset summary of one condition, the earliest median first, never last."""
    rows = summary[summary["kind"] == kind].sort_values("median", na_position="last", kind="stable")
    return [str(p) for p in rows["primitive"]]
