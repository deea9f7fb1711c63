"""What the figures of the lag study are drawn from, and the few ways they look things up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from zscope.figures.frames import numbers, select
from zscope.studies.lag.tables import CLOCKS

NAMES = {
    "loss": "loss",
    "first_loss": "first-token loss",
    "first_accuracy": "first-token accuracy",
    "set_mass": "set mass",
    "z_gap": "z gap",
    "candidate_loss": "candidate loss",
    "candidate_accuracy": "candidate accuracy",
    "candidate_top3": "candidate top-3",
}
UNITS = {
    "steps": "optimizer steps",
    "examples": "examples seen",
    "epochs per fact": "epochs per fact",
}


@dataclass(frozen=True)
class SweepTables:
    """The tables of one sweep (and of the linear baselines, for the figure that shows them)."""

    runs: pd.DataFrame
    curves: pd.DataFrame
    onsets: pd.DataFrame
    summary: pd.DataFrame
    linear: pd.DataFrame | None = None

    @property
    def labels(self) -> list[str]:
        """The points of the sweep, in the order of the config."""
        return list(dict.fromkeys(self.runs["label"]))

    def runs_of(self, label: str) -> pd.DataFrame:
        return self.runs[self.runs["label"] == label]

    def fact(self, label: str, column: str) -> Any:
        """What the runs of a point have in common."""
        return self.runs_of(label)[column].iloc[0]

    def curve(self, label: str, metric: str, source: str = "training") -> pd.DataFrame:
        return select(self.curves, label=label, metric=metric, source=source)

    def onset(self, label: str, metric: str, unit: str = "steps") -> pd.DataFrame:
        """A row a run of the point: time (NaN: censored) and limit (the last time seen), in `unit`.

        The limit of a lag counts from the run's onset of set_mass; a run in which that never came
        has neither time nor limit.
        """
        if metric == "lag":
            known, used = (self.onset(label, m, unit) for m in ("set_mass", "z_gap"))
            if known.empty or used.empty:
                return known.iloc[:0]
            return used.assign(
                time=used["time"] - known["time"].reindex(used.index),
                limit=used["limit"] - known["time"].reindex(used.index),
            )
        found = select(self.onsets, label=label, metric=metric, source="training")
        found = found.set_index("run").sort_values("seed")
        rate = self.rate(label, unit).reindex(found.index)
        return pd.DataFrame(
            {
                "seed": found["seed"],
                "time": numbers(found["onset_step"]) * rate.to_numpy(),
                "limit": numbers(found["last_step"]) * rate.to_numpy(),
            }
        )

    def rate(self, label: str, unit: str) -> pd.Series:
        """Units of time a step, by run."""
        runs = self.runs_of(label)["run"]
        if unit == "steps":
            return pd.Series(1.0, index=pd.Index(runs))
        clock = self.curve(label, CLOCKS[unit])
        last = clock.sort_values("step").groupby("run").last()
        return last["value"] / last["step"]

    def median(self, label: str, metric: str, unit: str = "steps") -> tuple[float, float, float]:
        """Median over seeds and its interval; NaN lies beyond the last step."""
        found = select(self.summary, label=label, metric=metric, unit=unit, source="training")
        if found.empty:
            return (np.nan, np.nan, np.nan)
        low, middle, high = (numbers(found[c])[0] for c in ("ci_low", "median", "ci_high"))
        return middle, low, high

    def seeds(self) -> str:
        return count_seeds(self.runs.groupby("label")["run"].nunique(), "a condition")


@dataclass(frozen=True)
class ConditionTables:
    """The tables of one condition: training metrics and probes of all its seeds.

    probes: by the probe's name; a probe that was not asked for, or needs z that the task does not
    have, is absent. runs and onsets may hold a run once for every sweep it is in.
    """

    metrics: pd.DataFrame
    probes: Mapping[str, pd.DataFrame]
    runs: pd.DataFrame
    onsets: pd.DataFrame

    def fact(self, column: str) -> Any:
        return self.runs[column].iloc[0]

    def metric(self, name: str) -> pd.DataFrame:
        return select(self.metrics, metric=name, split="train")

    def probe(self, probe: str, metric: str | None = None) -> pd.DataFrame:
        """The rows of a probe (of one metric); empty if it was not measured."""
        frame = self.probes.get(probe)
        if frame is None:
            return pd.DataFrame(
                columns=[
                    "run",
                    "seed",
                    "step",
                    "layer",
                    "head",
                    "metric",
                    "value",
                    "ci_low",
                    "ci_high",
                    "n",
                ]
            )
        return frame if metric is None else select(frame, metric=metric)

    def onset(self, metric: str) -> pd.Series:
        """Onset step of a training metric by run, NaN where censored."""
        found = select(self.onsets, metric=metric, source="training").drop_duplicates("run")
        found = found.sort_values("seed")
        return pd.Series(numbers(found["onset_step"]), index=found["run"].to_list(), dtype=float)

    def why_not(self, probe: str | None = None) -> str:
        """Why what hangs on z, or on the probe, does not exist here."""
        if not bool(self.fact("has_z")):
            return f"task {self.fact('task')} has no z"
        if int(self.fact("k")) == 1:
            return "with K = 1 there is no other z"
        if int(self.fact("n_candidates")) == 1 and probe == "causal_patching":
            return f"in task {self.fact('task')} a source has one target"
        return f"probe {probe} was not asked for" if probe else "it was not measured"

    def seeds(self) -> str:
        return f"{self.fact('condition')}: " + count_seeds([self.runs["run"].nunique()])


def blocks(frame: pd.DataFrame) -> list[int]:
    """The layers that a probe's rows name."""
    return sorted({int(v) for v in frame["layer"].dropna()})


def largest_head(frame: pd.DataFrame) -> pd.DataFrame:
    """Of rows of single heads, the head with the largest value in each run, layer and step."""
    frame = frame.reset_index(drop=True)
    return frame.loc[frame.groupby(["run", "layer", "step"])["value"].idxmax().dropna()]


def constant(frame: pd.DataFrame) -> float:
    """The value of a baseline that is the same in every row; NaN without rows."""
    return float(frame["value"].iloc[0]) if len(frame) else float("nan")


def count_seeds(counts: Any, of: str = "") -> str:
    low, high = int(min(counts)), int(max(counts))
    number = f"{low}" if low == high else f"{low} to {high}"
    return f"n = {number} seed{'s' * (high != 1)}{' ' * bool(of)}{of}."


def count_censored(onsets: pd.DataFrame, metric: str) -> str:
    """How many runs had not had the onset by their last step, in words."""
    found = select(onsets, metric=metric, source="training").drop_duplicates("run")
    return f"{int(found['censored'].sum())} of {len(found)}"
