"""The names, colours and lookups that the figures of the lag study share.

A figure of a sweep is drawn from a `SweepView` and names its usual sweep in SWEEP. A figure of one
condition is drawn from a `ConditionView`, for every condition with one of the probes in PROBES.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import count_seeds, numbers, select
from zscope.figures.tables import Tables
from zscope.studies.lag.probes.registry import PROBES
from zscope.studies.lag.tables import (
    CLOCKS,
    CONDITION_ONSETS,
    CONDITION_RUNS,
    CURVES,
    METRICS,
    ONSETS,
    PROBE,
    RUNS,
    SUMMARY,
)
from zscope.tables.schema import Table

NAMES = {
    "loss": "loss",
    "first_loss": "first-token loss",
    "first_loss_over_log_k": "first-token loss over log K",
    "first_accuracy": "first-token accuracy",
    "set_mass": "set mass",
    "z_gap": "z gap",
    "candidate_loss": "candidate loss",
    "candidate_accuracy": "candidate accuracy",
    "candidate_top3": "candidate top-3",
    "lag": "lag",
}
METRIC_COLOURS = {
    "loss": style.ORANGE,
    "first_loss": style.BLACK,
    "first_loss_over_log_k": style.BLACK,
    "set_mass": style.BLUE,
    "z_gap": style.VERMILLION,
    "candidate_loss": style.GREEN,
    "candidate_accuracy": style.PURPLE,
    "candidate_top3": style.SKY,
    "lag": style.PURPLE,
}
PHASE_COLOURS = {"nothing learned": "#EEEEEE", "knows B, ignores z": "#FFF3D6", "uses z": "#E3F1FA"}
UNITS = {
    "steps": "optimizer steps",
    "examples": "examples seen",
    "epochs per fact": "epochs per fact",
}


@dataclass(frozen=True)
class View:
    """The tables of a figure, by what the figures ask of them."""

    tables: Tables
    RUNS: ClassVar[Table]

    @cached_property
    def runs(self) -> pd.DataFrame:
        return self.tables.get(self.RUNS)

    @property
    def lines(self) -> str:
        """For the note below the figure."""
        return (
            f"Thin: a seed and its {self.tables.percent} interval over examples; thick: median "
            "over seeds (from 3 on)."
        )


V = TypeVar("V", bound=View)


def drawn_from(view: type[V]) -> Callable[[Callable[[V], Figure]], Callable[[Tables], Figure]]:
    """Draw a figure from this view of its tables; if they hold no run, say so instead."""

    def decorate(draw: Callable[[V], Figure]) -> Callable[[Tables], Figure]:
        @style.styled
        def of_tables(tables: Tables) -> Figure:
            shown = view(tables)
            return style.nothing_to_draw("there are no runs") if shown.runs.empty else draw(shown)

        return of_tables

    return decorate


class SweepView(View):
    """The tables of one sweep."""

    RUNS = RUNS

    @property
    def labels(self) -> list[str]:
        """The points of the sweep, in the order of the config."""
        return list(dict.fromkeys(self.runs["label"]))

    def fact(self, label: str, column: str) -> Any:
        """A column that all runs of a point agree on."""
        return select(self.runs, label=label)[column].iloc[0]

    def facts(self, column: str) -> list[Any]:
        """`fact` of every point of the sweep."""
        return [self.fact(label, column) for label in self.labels]

    def curve(self, label: str, metric: str) -> pd.DataFrame:
        """The rows of a training metric."""
        return self.tables.get(CURVES, label=label, metric=metric, source="training")

    def onset(self, label: str, metric: str, unit: str = "steps") -> pd.DataFrame:
        """One row per run of the point: time (NaN: censored) and limit (the last time), in `unit`.

        The limit of a lag counts from the run's onset of set_mass; a run without that onset has
        neither time nor limit.
        """
        if metric == "lag":
            known, used = (self.onset(label, m, unit) for m in ("set_mass", "z_gap"))
            if known.empty or used.empty:
                return known.iloc[:0]
            return used.assign(
                time=used["time"] - known["time"].reindex(used.index),
                limit=used["limit"] - known["time"].reindex(used.index),
            )
        found = self.tables.get(ONSETS, label=label, metric=metric, source="training")
        found = found.set_index("run").sort_values("seed")
        rate = self._rate(label, unit).reindex(found.index)
        return pd.DataFrame(
            {
                "seed": found["seed"],
                "time": numbers(found["onset_step"]) * rate.to_numpy(),
                "limit": numbers(found["last_step"]) * rate.to_numpy(),
            }
        )

    def _rate(self, label: str, unit: str) -> pd.Series:
        """Units of time per step, by run."""
        if unit == "steps":
            return pd.Series(1.0, index=pd.Index(select(self.runs, label=label)["run"]))
        last = self.curve(label, CLOCKS[unit]).sort_values("step").groupby("run").last()
        return last["value"] / last["step"]

    def median(self, label: str, metric: str, unit: str = "steps") -> tuple[float, float, float]:
        """Median over seeds and its interval; NaN lies beyond the last step."""
        found = self.tables.get(SUMMARY, label=label, metric=metric, unit=unit, source="training")
        if found.empty:
            return (np.nan, np.nan, np.nan)
        low, middle, high = (numbers(found[c])[0] for c in ("ci_low", "median", "ci_high"))
        return middle, low, high

    @property
    def seeds(self) -> str:
        return count_seeds(*self.runs.groupby("label")["run"].nunique(), of="condition")

    @property
    def examples(self) -> str:
        return count_examples(self.tables.get(METRICS, metric="first_loss", split="train"))

    @property
    def bars(self) -> str:
        """For the note below the figure."""
        return (
            f"Bars: Kaplan-Meier median and its {self.tables.percent} bootstrap interval over "
            "seeds. An arrow at an end, or a missing bar, means beyond the last step."
        )


class ConditionView(View):
    """The training metrics and probes of all runs of one condition.

    A probe that the config does not ask for, or that needs a z that the task lacks, has no rows.
    """

    RUNS = CONDITION_RUNS

    def fact(self, column: str) -> Any:
        """A column that all runs agree on."""
        return self.runs[column].iloc[0]

    def metric(self, name: str) -> pd.DataFrame:
        return self.tables.get(METRICS, metric=name, split="train")

    def probe(self, probe: str, **equal: object) -> pd.DataFrame:
        return self.tables.get(PROBE, probe=probe, **equal)

    def onset(self, metric: str, source: str = "training") -> pd.Series:
        """Onset step by run, NaN where censored, of a training metric or a probe's series."""
        found = self.tables.get(CONDITION_ONSETS, metric=metric, source=source)
        found = found.sort_values("seed")
        return pd.Series(numbers(found["onset_step"]), index=found["run"].to_list(), dtype=float)

    def why_not(self, probe: str | None = None) -> str:
        """The reason why a probe, or a training metric that needs z, has no rows."""
        if not bool(self.fact("has_z")):
            return f"task {self.fact('task')} has no z"
        if int(self.fact("k")) == 1:
            return "with K = 1 there is no other z"
        if int(self.fact("n_candidates")) == 1 and probe == "causal_patching":
            return f"in task {self.fact('task')} a source has one target"
        return f"the config does not ask for probe {probe}" if probe else "it was not measured"

    @property
    def seeds(self) -> str:
        return f"{self.fact('condition')}: {count_seeds(self.runs['run'].nunique())}"


def blocks(frame: pd.DataFrame) -> list[int]:
    """The layers in a probe's rows."""
    return sorted({int(v) for v in frame["layer"].dropna()})


def largest_head(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the head with the largest value in each run, layer and step."""
    frame = frame.reset_index(drop=True)
    return frame.loc[frame.groupby(["run", "layer", "step"])["value"].idxmax().dropna()]


def constant(frame: pd.DataFrame) -> float:
    """The value of a baseline, which is the same in every row; NaN without rows."""
    return float(frame["value"].iloc[0]) if len(frame) else float("nan")


def attention_onset(condition: ConditionView) -> str:
    """What onset attention to z has and in how many runs it is censored, in words."""
    onsets = condition.onset(PROBES["attention_to_z"].series, "attention_to_z")
    if onsets.empty:
        return ""
    return (
        "Largest untrained: the largest head of all seeds at step 0, above which the onset of "
        f"attention is counted; censored in {count_censored(onsets)} seeds."
    )


def count_examples(frame: pd.DataFrame, panels: str = "", of: str = "examples") -> str:
    """How many examples are behind each value, in words: "a: n = 256 examples per value." """
    if frame.empty:
        return ""
    low, high = frame["n"].min(), frame["n"].max()
    number = f"{low}" if low == high else f"{low} to {high}"
    return f"{panels}{': ' * bool(panels)}n = {number} {of} per value."


def count_censored(times: pd.Series) -> str:
    """The number of runs that had not had the onset by their last step, in words."""
    return f"{int(times.isna().sum())} of {len(times)}"
