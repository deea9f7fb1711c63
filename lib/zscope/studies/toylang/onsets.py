"""When each primitive of the toy language sets in, in behaviour and in the weights.

An onset is the first step of several evaluations in a row past a threshold. A run that never gets
there is kept, right-censored at its last step.

Behaviour: the excess falls below a share of its value at the first evaluation, where the untrained
model is uniform over the vocabulary. The share has to be small. With the default language, a model
that sees the last token alone already leaves only 0.25 to 0.4 of the first excess of long_range,
induction, skip, suppress and bracket, because it knows which category comes next. At a share of 0.1
it passes none of them. It does pass bigram (0.01) and novel (0.00), and nearly category (0.115):
these are statistics of the last token, so their onset is the onset of these statistics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from zscope.core.errors import DataError
from zscope.core.provenance import derive_seed
from zscope.stats import bootstrap_weights, finite, holm, onset
from zscope.studies.toylang.tables import BEHAVIOUR, WEIGHTS
from zscope.studies.toylang.targets import DIRECT_KL_ONSET, FIRST
from zscope.tables.onset_medians import medians
from zscope.tables.schema import Row

if TYPE_CHECKING:
    from zscope.config.base import Bootstrap
    from zscope.studies.toylang.config import ToyOnsetConfig

ALPHA = 0.05
ALL_SEEDS = 3  # fewest seeds for "all of them moved this way" to be worth saying


# --- one run -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WeightsOnset:
    """When a readout counts as present in the weights.

    threshold: the readout must be strictly past it. curve: from a run's rows of the readout (item,
    step, value, n) to the value at every step.
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


def _worst_item(rows: pd.DataFrame) -> pd.Series:
    return rows.groupby("step")["value"].agg(worst)


def worst(values: pd.Series) -> float:
    """The largest value; NaN if any is missing."""
    return float(values.astype(float).max(skipna=False))


# All thresholds are far from an untrained model (a tie: a KL of 3.4 nats, ranks near V^3 / 2, no
# hit) and short of perfect, so that one word of six may lag.
WEIGHTS_ONSETS = (
    # Not r, which is free of scale: after one step, when nothing is learned, it is 0.9 already.
    WeightsOnset("bigram", "direct", "kl_self", DIRECT_KL_ONSET, "below", _single),
    # All true rules among the first of all triples; ties share a mean rank, hence the half.
    WeightsOnset("skip", "rules", "rank_all_paths", FIRST + 0.5, "below", _worst_item),
    # 5 objects of 6, by the pair of heads with the largest contrast.
    WeightsOnset("induction", "induction", "hits", 0.8, "above", _share),
    # The top verb below its others for 5 names of 6.
    WeightsOnset("suppress", "suppression", "below", 0.8, "above", _share),
)


def run_onsets(training: pd.DataFrame, readouts: pd.DataFrame, config: ToyOnsetConfig) -> list[Row]:
    """Rows of toylang_onsets of all runs.

    training: rows of toylang_training. readouts: rows of toylang_readouts. The `last_step` of an
    onset in the weights is the last checkpoint.
    """
    return [*_behaviour(training, config), *_weights(readouts, config)]


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
            what = {"primitive": rule.primitive, "metric": rule.metric, "threshold": rule.threshold}
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


def summarise(onsets: pd.DataFrame, bootstrap: Bootstrap) -> list[Row]:
    """Rows of toylang_onset_summary: Kaplan-Meier medians over the seeds of a condition.

    A median, or an end of its interval, beyond the last step is null.
    """
    return list(medians(onsets, ["condition", "kind", "primitive", "metric"], bootstrap))


def compare(
    onsets: pd.DataFrame, how: Mapping[str, Sequence[str]], reference: str, bootstrap: Bootstrap
) -> list[Row]:
    """Rows of toylang_comparisons: onsets in behaviour of each condition against the reference's.

    how: for each condition, how it differs ("removed", "delayed", "model") and what was changed.

    Runs are paired by seed. A pair counts as later if the condition set in after the reference, or
    if its training went past the reference's onset without an onset of its own: then the size is
    unknown, and infinite in the median. Earlier is the reverse. A pair says nothing if neither set
    in. `shift` is the median over the pairs that say something. It is null if it is infinite, as is
    an end of its interval.

    One rule, fixed before any result, gives the verdict:

    - "later" or "earlier": the exact two-sided sign test over the pairs has p < 0.05 after Holm
      over all rows. Pairs with equal onsets do not count. The smallest p of n pairs is 2^(1-n), so
      one row needs at least 6 seeds, and many rows need more.
    - "all later" or "all earlier": the test does not decide, but every pair that says something,
      at least 3, moved this way. A coin does this with probability 2^(1-n) in each row, so it is
      suggestive only.
    - "never": one of these, and no seed of the condition ever set in.
    - "changed": the primitive itself was delayed. It is later by design, and not tested.
    - "unclear": everything else.

    Removing or delaying a primitive makes the others more frequent, which alone can bring an onset
    forward.

    Raises DataError if the reference has no onsets in behaviour.
    """
    behaviour = onsets[onsets["kind"] == BEHAVIOUR]
    base = behaviour[behaviour["condition"] == reference]
    if base.empty:
        raise DataError(f"no run of condition {reference!r} to compare onsets with")
    found: list[Row] = []
    for condition, (kind, changed) in how.items():
        own = behaviour[behaviour["condition"] == condition]
        pairs = paired(own, base)
        for primitive, rows in pairs.groupby("primitive", sort=False):
            pair = {"condition": condition, "reference": reference, "primitive": primitive}
            shift = _shift(rows, f"{condition}/{primitive}", bootstrap)
            found.append({**pair, "how": kind, "changed": changed, **shift})
    tested = [
        row["p"] if row["p"] is not None and row["changed"] != row["primitive"] else math.nan
        for row in found
    ]
    adjusted = holm(np.array(tested, dtype=float))
    for row, p, p_adjusted in zip(found, tested, adjusted, strict=True):
        row["p"], row["p_adjusted"] = finite(p), finite(float(p_adjusted))
        row["verdict"] = _verdict(row)
        del row["signs"], row["never"]
    return found


def paired(own: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """Rows of toylang_onsets of a condition beside the reference's at the same seed and primitive.

    Column shift: log2(onset / the reference's); infinite if one of the two never set in although it
    was trained past the other's onset; NaN if neither set in, or that is not known.
    """
    pairs = own.merge(reference, on=["seed", "primitive"], suffixes=("", "_reference"))
    columns = ("onset", "last_step", "onset_reference", "last_step_reference")
    rows = zip(*(pairs[column].tolist() for column in columns), strict=True)
    return pairs.assign(shift=np.array([_doublings(*row) for row in rows], dtype=float))


def _shift(rows: pd.DataFrame, name: str, bootstrap: Bootstrap) -> Row:
    """The columns of a comparison that do not depend on the other rows."""
    from scipy.stats import binomtest  # half a second, which figures need not wait for

    shifts = rows["shift"].to_numpy(dtype=float)
    known = shifts[~np.isnan(shifts)]
    later, earlier = int((known > 0).sum()), int((known < 0).sum())
    median = low = high = math.nan
    if len(known):
        median = float(_medians(known, np.ones((1, len(known)), dtype=int))[0])
        if len(known) > 1:
            low, high = _median_interval(known, name, bootstrap)
    return {
        "shift": finite(median),
        "ci_low": finite(low),
        "ci_high": finite(high),
        "p": binomtest(later, later + earlier).pvalue if later + earlier else None,
        "n": len(rows),
        "n_censored": int((rows["onset"].isna() | rows["onset_reference"].isna()).sum()),
        "signs": np.sign(known),
        "never": bool(rows["onset"].isna().all()),
    }


def _doublings(own: Any, own_last: int, reference: Any, reference_last: int) -> float:
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

    If the two middle values are not both finite, the median is the one nearer to 0: a shift that
    only half of the pairs show is not claimed. NaN if they are infinite in opposite directions.
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
    values: Float[np.ndarray, " n"], name: str, bootstrap: Bootstrap
) -> tuple[float, float]:
    """Percentile bootstrap of the median over seeds, by order statistics: ends may be infinite."""
    rng = np.random.default_rng(derive_seed(bootstrap.seed, f"shift/{name}"))
    n = len(values)
    counts = np.rint(bootstrap_weights(n, bootstrap.resamples, rng) * n).astype(int)
    medians = _medians(values, counts)
    medians = medians[~np.isnan(medians)]
    if not len(medians):
        return math.nan, math.nan
    tails = bootstrap.tails
    low = np.quantile(medians, tails[0], method="lower")
    high = np.quantile(medians, tails[1], method="higher")
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


def ordered(summary: pd.DataFrame, kind: str = BEHAVIOUR) -> Sequence[str]:
    """Primitives of one condition's onset summary by median onset; those without one come last."""
    rows = summary[summary["kind"] == kind].sort_values("median", na_position="last", kind="stable")
    return [str(p) for p in rows["primitive"]]
