"""Onsets, phases, and their medians over random seeds, from metrics and probes.

The config defines every onset. A run in which a metric never sets in is kept, right-censored at its
last step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from zscope.config.base import Bootstrap
from zscope.stats import finite, median_interval, median_time, onset
from zscope.studies.lag.config import Onset, OnsetConfig
from zscope.studies.lag.probes.registry import PROBES
from zscope.studies.lag.run_config import RunConfig
from zscope.studies.lag.tables import CLOCKS
from zscope.studies.lag.untrained import largest_untrained_head


def describe_run(run: str, config: RunConfig) -> dict[str, Any]:
    """A row of table lag_condition_runs."""
    d, m, t = config.data, config.model, config.training
    return {
        "condition": config.condition_id(),
        "run": run,
        "seed": config.seed,
        "task": d.task,
        "k": d.k,
        "n_unique_b": d.n_bases,
        "n_facts": d.n_bases * d.k,
        "n_rows": d.n_rows,
        "z_code": d.z_code if d.has_z else "",
        "z_order": d.z_order if d.has_z and d.z_code == "parity" else 0,
        "has_z": d.has_z,
        "n_candidates": d.n_candidates,
        "log_k": d.log_k,
        "chance_set_mass": _chance_set_mass(config),
        "uniform_first_loss": math.log(d.n_first_tokens),
        "n_layers": m.n_layers,
        "d_model": m.d_model,
        "lr": t.lr,
        "batch_size": t.batch_size,
        "lr_over_batch": t.lr / t.batch_size,
        "steps": t.steps,
        "eval_every": t.eval_every,
    }


def _chance_set_mass(config: RunConfig) -> float:
    """Expected share of the first tokens that the candidates of one source start with."""
    d = config.data
    if d.n_candidates == 1 or d.unique_first_char:
        return d.n_candidates / d.n_first_tokens
    return 1 - (1 - 1 / d.n_first_tokens) ** d.n_candidates


def training_curves(metrics: pd.DataFrame, split: str = "train") -> pd.DataFrame:
    """The curves of one run's training metrics (columns source, metric, step, value, interval)."""
    part = metrics[metrics["split"] == split]
    return part.assign(source="training")[
        ["run", "source", "metric", "step", "value", "ci_low", "ci_high"]
    ]


def probe_curves(probe: pd.DataFrame) -> pd.DataFrame:
    """The one curve of each run that represents a probe, with its interval.

    probe: all runs of a condition. A maximum over heads is given above `largest_untrained_head`.
    """
    kept = ["value", "ci_low", "ci_high"]
    if probe.empty:
        return pd.DataFrame(columns=["run", "source", "metric", "step", *kept])
    name = str(probe["probe"].iloc[0])
    spec, keys = PROBES[name], ["run", "step"]
    part = probe[probe["metric"] == spec.metric]
    if spec.over == "last layer":
        part = part[part["layer"] == part["layer"].max()]
    elif spec.over == "largest head above untrained":
        null = largest_untrained_head(part)
        part = part.loc[part.groupby(keys)["value"].idxmax()]
        part = part.assign(**{c: part[c] - null for c in kept})
    part = part.assign(source=name, metric=spec.series)
    return part[["run", "source", "metric", "step", *kept]]


def threshold_of(rule: Onset, metric: str, run: Mapping[str, Any]) -> tuple[float, str]:
    """The threshold of a metric for a run, in the metric's units, and its definition in words."""
    share = rule.above if rule.above is not None else rule.below
    assert share is not None
    value, of = share, ""
    if rule.scale == "log_k":
        value, of = share * run["log_k"], " log K"
    elif rule.scale == "uniform":
        value, of = share * run["uniform_first_loss"], " of a uniform guess's loss"
    elif rule.scale == "chance":
        chance = _chance(metric, run)
        value, of = chance + share * (1 - chance), " of the way from chance to 1"
    return value, f"{metric} {'>' if rule.above is not None else '<'} {share:g}{of}"


def _chance(metric: str, run: Mapping[str, Any]) -> float:
    return run["chance_set_mass"] if "set_mass" in metric else 1 / run["n_candidates"]


def _says_nothing(rule: Onset, metric: str, run: Mapping[str, Any]) -> bool:
    """Whether a guess already has the best value, so that only rounding could pass it."""
    if rule.scale == "log_k":
        return run["n_candidates"] < 2
    return rule.scale == "chance" and _chance(metric, run) >= 1


def find_onsets(
    curves: pd.DataFrame, runs: pd.DataFrame, config: OnsetConfig
) -> list[dict[str, Any]]:
    """Rows of table lag_condition_onsets: every metric with a definition, and the lag of each run.

    lag = onset(z_gap) - onset(set_mass): for this many steps B was known and z was not used. It is
    censored if z was never used; a run that never knew B has no lag.
    """
    rows: list[dict[str, Any]] = []
    records: list[Any] = runs.to_dict("records")
    for run in records:
        own = curves[curves["run"] == run["run"]]
        found: dict[str, dict[str, Any]] = {}
        for source, name, metric, rule in _definitions(config):
            series = own[(own["source"] == source) & (own["metric"] == metric)].sort_values("step")
            if series.empty or _says_nothing(rule, metric, run):
                continue
            threshold, words = threshold_of(rule, metric, run)
            step = onset(
                series["step"].to_numpy(),
                series["value"].to_numpy(float),
                threshold,
                direction="above" if rule.above is not None else "below",
                consecutive=config.consecutive,
            )
            found[f"{source}/{name}"] = {
                "condition": run["condition"],
                "run": run["run"],
                "seed": run["seed"],
                "source": source,
                "metric": name,
                "onset_step": step,
                "censored": step is None,
                "last_step": int(series["step"].max()),
                "threshold": threshold,
                "rule": f"{words} at {config.consecutive} evaluations in a row",
            }
        rows += found.values()
        lag = _lag(found.get("training/z_gap"), found.get("training/set_mass"))
        rows += [lag] if lag else []
    return rows


def _definitions(config: OnsetConfig) -> Iterator[tuple[str, str, str, Onset]]:
    """(source, name of the onset, metric of its curve, rule)."""
    for name, rule in config.metrics.items():
        yield "training", name, rule.of or name, rule
    for probe, rule in config.probes.items():
        yield probe, PROBES[probe].series, PROBES[probe].series, rule


def _lag(gap: dict[str, Any] | None, mass: dict[str, Any] | None) -> dict[str, Any] | None:
    if gap is None or mass is None or mass["censored"]:
        return None
    end = gap["last_step"] if gap["censored"] else gap["onset_step"]
    return {
        **gap,
        "metric": "lag",
        "onset_step": None if gap["censored"] else end - mass["onset_step"],
        "last_step": gap["last_step"] - mass["onset_step"],
        "rule": "onset(z_gap) - onset(set_mass)",
    }


def find_phases(curves: pd.DataFrame, onsets: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of table lag_condition_phases, from the onsets of set_mass and z_gap of each run.

    nothing: before the onset of set_mass; knows_b: after it and before that of z_gap; uses_z:
    after that of z_gap. Without a z_gap (no z, or K = 1) a run never leaves knows_b. If the config
    defines no onset of set_mass, a run has no phases.
    """
    frame = curves[curves["source"] == "training"]
    rows = []
    first = {(o["run"], o["metric"]): o["onset_step"] for o in onsets if o["source"] == "training"}
    keys = {o["run"]: (o["condition"], o["seed"]) for o in onsets}
    for run, part in frame.groupby("run", sort=False):
        knows, uses = first.get((run, "set_mass")), first.get((run, "z_gap"))
        if (run, "set_mass") not in first:
            continue  # without a definition of knowing B, "nothing" would be a claim
        condition, seed = keys[run]
        same = {"condition": condition, "run": run, "seed": seed}
        for step in np.unique(part["step"]):
            if uses is not None and step >= uses:
                phase = "uses_z"
            elif knows is not None and step >= knows:
                phase = "knows_b"
            else:
                phase = "nothing"
            rows.append({**same, "step": int(step), "phase": phase})
    return rows


def summarise_onsets(
    onsets: pd.DataFrame, curves: pd.DataFrame, bootstrap: Bootstrap
) -> list[dict[str, Any]]:
    """Rows of table lag_summary without the sweep: Kaplan-Meier medians over runs, in three units.

    With one run there is no interval (null).
    """
    rates = {unit: _per_step(curves, metric) for unit, metric in CLOCKS.items()}
    keys = ["condition", "label", "source", "metric"]
    rows = []
    for key, part in onsets.groupby(keys, sort=False):
        steps = part["onset_step"].fillna(part["last_step"]).to_numpy(float)
        seen = ~part["censored"].to_numpy(bool)
        for unit in ("steps", *CLOCKS):
            # The runs of a condition have one batch size and as many facts.
            rate = 1.0 if unit == "steps" else rates[unit][part["run"].iloc[0]]
            median = median_time(steps * rate, seen, bootstrap=bootstrap)._asdict()
            same = {**dict(zip(keys, key, strict=True)), "unit": unit}
            rows.append({**same, **{name: finite(value) for name, value in median.items()}})
    return rows


def _per_step(curves: pd.DataFrame, clock: str) -> dict[str, float]:
    """How much a clock (examples_seen, epochs_per_fact) advances per step, by run."""
    last = curves[curves["metric"] == clock].sort_values("step").groupby("run").last()
    return dict(zip(last.index, last["value"] / last["step"], strict=True))


def relative_onsets(onsets: pd.DataFrame) -> pd.DataFrame:
    """Onsets of a sweep, with the columns of table lag_onsets that count from a run's z gap."""
    keys = ["run", "label"]
    gaps = onsets[_of_z_gap(onsets)].set_index(keys)["onset_step"].astype("Int64")
    start = gaps.reindex(pd.MultiIndex.from_frame(onsets[keys])).set_axis(onsets.index)
    start = start.mask(onsets["metric"] == "lag")
    return onsets.assign(
        after_z_gap=onsets["onset_step"] - start, last_after_z_gap=onsets["last_step"] - start
    )


def align_onsets(onsets: pd.DataFrame, level: float) -> list[dict[str, Any]]:
    """Rows of table lag_alignment without the sweep, from table lag_onsets.

    A run that two points of the sweep share counts once.
    """
    keys = ["source", "metric"]
    others = onsets[~_of_z_gap(onsets)].drop_duplicates([*keys, "run"])
    without = onsets.loc[_of_z_gap(onsets) & onsets["censored"], "run"]
    left_out = others[others["run"].isin(without)].groupby(keys).size()
    rows = []
    for key, part in others.dropna(subset="last_after_z_gap").groupby(keys, sort=False):
        times = part["after_z_gap"].to_numpy(float, na_value=np.nan)
        median, low, high, coverage = median_interval(times, level)
        rows.append(
            {
                **dict(zip(keys, key, strict=True)),
                "median": finite(median),
                "ci_low": finite(low),
                "ci_high": finite(high),
                "coverage": coverage,
                "n": len(times),
                "n_censored": int(np.isnan(times).sum()),
                "n_left_out": int(left_out.get(key, 0)),
            }
        )
    return rows


def _of_z_gap(onsets: pd.DataFrame) -> pd.Series:
    return (onsets["source"] == "training") & (onsets["metric"] == "z_gap")
