"""Rates of the patched outputs, and paired tests of two spaces on the same problems. No torch.

Every measure is of one problem: random spaces are averaged over their draws first, so that a rate's
n counts problems, not outputs. The draws are units of their own beside it: the rate of each, and
how many of them reach the first space's. A cell is one condition of patching (`CELL_KEY` of the
tables).

Metrics of an output. Those with "raw" follow the original protocol, which counts a broken text; the
others are of well-formed texts, and a broken one neither keeps nor changes anything.

    answer_changed        an answer other than the unpatched one
    answer_kept           the unpatched answer
    raw_answer_changed    the extracted number, if any, is not the unpatched one
    source_answer         the source problem's answer
    correct               the right answer
    broken                no well-formed text
    language_switched     the other language than the unpatched text's, English or Chinese
    language_kept         the unpatched text's language
    raw_language_changed  another language than the unpatched text's, or none

A measure against the unpatched text is undefined where that has no answer, or no language.

Strata: `all`; `baseline_correct`, the problems whose unpatched output was correct and well formed:
the others have no answer to lose; and, for rates, `both_correct`: those of them whose source was
answered correctly in its own language too. A source that the model gets wrong has no right answer
to hand on, so the positive control is read there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from zscope.config.base import Bootstrap
from zscope.core.errors import DataError
from zscope.stats import holm, sign_flip_test, wilson_interval
from zscope.studies.crosslingual.declared import VerdictNulls
from zscope.studies.crosslingual.measures.intervals import Resamples
from zscope.studies.crosslingual.patching.matching import matched_on
from zscope.studies.crosslingual.problems.parallel import LANGUAGES
from zscope.studies.crosslingual.tables import CELL_KEY
from zscope.tables.schema import Row
from zscope.verdicts import draw_test, least_paired_p

METRICS = (
    "answer_changed",
    "answer_kept",
    "raw_answer_changed",
    "source_answer",
    "correct",
    "broken",
    "language_switched",
    "language_kept",
    "raw_language_changed",
)
TESTED = ("answer_changed", "source_answer", "correct", "broken", "language_switched")
STRATA = ("all", "baseline_correct")
RATED = (*STRATA, "both_correct")
# Each first space with the one that says what is special about it.
COMPARISONS = (
    ("z", "energy"),
    ("z", "random"),
    ("z", "z_perp"),
    ("z", "own"),
    ("z_perp", "energy_perp"),
    ("z_perp", "random_perp"),
)
DRAWN = ("random", "random_perp", "energy", "energy_perp")
MATCHED = ("energy", "energy_perp")
OUTPUT_KEY = ("layer", "position_0", "direction")
WITHOUT_SPACE = tuple(name for name in CELL_KEY if name != "space")

Columns: TypeAlias = dict[tuple[str, str], Float[np.ndarray, "draws problems"]]


class _Pair(NamedTuple):
    """A measure of two spaces on the same problems. second: of each of its draws."""

    first: Float[np.ndarray, " problems"]
    second: Float[np.ndarray, "draws problems"]
    units: Int[np.ndarray, " problems"]


def by_output(outputs: pd.DataFrame, plain: pd.DataFrame) -> pd.DataFrame:
    """One row per output: CELL_KEY, draw, problem, STRATA but all, METRICS (null: undefined).

    outputs: table crosslingual_outputs of one model; plain: that of the unpatched answers in both
    languages. Raises DataError if an output's unpatched one is not among them.
    """
    frame = outputs.assign(
        forced=outputs["design"] == "site_answer", number=outputs["answer"].fillna("")
    )
    prompt = ["problem", *OUTPUT_KEY, "forced"]
    unpatched = frame.loc[frame["space"] == "none", [*prompt, "number", "language"]]
    frame = frame.merge(unpatched, on=prompt, how="left", suffixes=("", "_unpatched"))
    if frame["number_unpatched"].isna().any():
        lost = frame.loc[frame["number_unpatched"].isna(), "problem"].iloc[0]
        raise DataError(f"problem {lost}: its unpatched output is missing; run the patching again")
    patched = frame["space"] != "none"
    formed = frame["well_formed"].astype(bool)
    changed = frame["changed"].astype("float64")
    before = frame["language_unpatched"]
    comparable = patched & before.isin(LANGUAGES)
    measures: dict[str, Any] = {
        "answer_changed": changed,
        "answer_kept": (formed & (changed == 0)).where(changed.notna()),
        "raw_answer_changed": (frame["number"] != frame["number_unpatched"]).where(patched),
        "source_answer": frame["source_answer"],
        "correct": frame["correct"],
        "broken": ~formed,
        "language_switched": (
            formed & frame["language"].isin(LANGUAGES) & (frame["language"] != before)
        ).where(comparable),
        "language_kept": (formed & (frame["language"] == before)).where(comparable),
        "raw_language_changed": frame["language_changed"],
    }
    for name, values in measures.items():
        frame[name] = values.astype("float64")
    frame["baseline_correct"] = frame["baseline_correct"].astype(bool)
    frame["both_correct"] = frame["baseline_correct"] & _source_correct(frame, plain)
    return frame[[*CELL_KEY, "draw", "problem", *RATED[1:], *METRICS]]


def _source_correct(outputs: pd.DataFrame, plain: pd.DataFrame) -> pd.Series:
    """Whether the source problem was answered correctly, unpatched, in the source's language; true
    where no problem is the source."""
    right = plain[plain["correct"].astype(bool)]
    known = pd.MultiIndex.from_arrays([right["problem"], right["direction"].str.split("->").str[1]])
    source_language = outputs["direction"].str.split("->").str[0]
    sources = pd.MultiIndex.from_arrays([outputs["source_problem"], source_language])
    return outputs["source_problem"].isna() | sources.isin(known)


def by_problem(measures: pd.DataFrame) -> pd.DataFrame:
    """`by_output`'s frame with the mean over draws: one row per cell and problem."""
    # Numbers for keys: grouping by eleven columns of text takes most of the time otherwise.
    frame = measures.assign(
        cell=measures.groupby(list(CELL_KEY), dropna=False, sort=False).ngroup()
    )
    keys = frame.drop_duplicates("cell").set_index("cell")[list(CELL_KEY)]
    means = (
        frame.groupby(["cell", "problem", *RATED[1:]], sort=False)[list(METRICS)]
        .mean()
        .reset_index()
    )
    out = means.join(keys, on="cell")
    return out[[*CELL_KEY, "problem", *RATED[1:], *METRICS]]


def rates(measures: pd.DataFrame, level: float) -> pd.DataFrame:
    """Columns of table crosslingual_rates without the model, of `by_output`'s frame.

    Wilson intervals over problems (Wilson 1927); with several draws the successes are a sum of
    shares, and the interval is no narrower than for one draw.
    """
    out = _rates(by_problem(measures), CELL_KEY, METRICS)
    successes = (out["value"] * out["n"]).clip(0, out["n"])
    counts = out["n"].to_numpy()
    out["ci_low"], out["ci_high"] = wilson_interval(successes.to_numpy(), counts, level)
    return out


def draw_rates(measures: pd.DataFrame, shares: pd.DataFrame, read: VerdictNulls) -> pd.DataFrame:
    """Columns of table crosslingual_draws without the model: one rate per draw of a random space.

    measures: `by_output`'s frame. shares: table crosslingual_energy_shares. read: the nulls that
    verdicts read; the others have too few draws to show.
    """
    nulls = [asdict(cell) | {"space": space} for cell, spaces in read.items() for space in spaces]
    wanted = pd.DataFrame(nulls).astype({"k": "Int64"})
    rows = measures.astype({"k": "Int64"}).merge(wanted, on=[*wanted.columns])
    out = _rates(rows, (*CELL_KEY, "draw"), TESTED)
    out["matched_on"] = [
        matched_on(row["design"], row["where"]) if row["space"] in MATCHED else None
        for row in out.to_dict("records")
    ]
    same = ["layer", "k", "kind", "space", "position_0", "direction", "matched_on", "draw"]
    known = shares[[*same, "energy_share", "z_energy_share"]].astype({"k": "Int64"})
    return out.merge(known, on=same, how="left")


def paired_tests(
    measures: pd.DataFrame, units: Mapping[str, str], bootstrap: Bootstrap
) -> pd.DataFrame:
    """Columns of table crosslingual_tests without the model, of `by_output`'s frame.

    COMPARISONS on the problems that both have: exact tests of random signs of the differences of
    the mean over draws, which with one draw are McNemar's; p_holm within a cell's comparisons and
    metrics in one stratum. The space "own" is the first one with the prompt's own mean as source.
    units: of each problem; the signs of a unit's problems are flipped together. The interval of the
    difference is a percentile bootstrap over problems.
    """
    resamples: dict[int, Resamples] = {}  # by the number of problems
    out = []
    for stratum, rows in _strata(measures, STRATA):
        rows = rows[~rows["space"].isin(("none", "full"))]
        problems = pd.Index(rows["problem"].unique())
        unit = pd.factorize(np.array([units[problem] for problem in problems], dtype=object))[0]
        grouped = rows.groupby(list(WITHOUT_SPACE), dropna=False, sort=False)
        wide = {key: _columns(group, problems) for key, group in grouped}
        at = WITHOUT_SPACE.index("source")
        for key, own in wide.items():
            pooled = wide.get((*key[:at], "own", *key[at + 1 :])) if key[at] != "own" else None
            cell: Row = dict(zip(WITHOUT_SPACE, key, strict=True))
            family = []
            for metric, first, second, pair in _pairs(own, pooled, unit):
                n = len(pair.first)
                drawn = resamples.setdefault(n, Resamples(bootstrap, n))
                row = cell | {"metric": metric, "first": first, "second": second}
                matched = matched_on(cell["design"], cell["where"]) if second in MATCHED else None
                row |= {"stratum": stratum, "matched_on": matched} | _ranks(pair, second)
                family.append(row | _compare(pair, drawn))
            adjusted = holm(np.array([row["p"] for row in family], dtype=np.float64))
            out += [row | {"p_holm": p} for row, p in zip(family, adjusted, strict=True)]
    return pd.DataFrame(out)


def units_of(problems: pd.DataFrame) -> dict[str, str]:
    """The unit of each problem of table crosslingual_problems: those of a category with the same
    operands are one; a problem without operands is its own."""
    return {
        row["problem"]: f"{row['category']}/{row['operands']}"
        if row["operands"]
        else f"problem {row['problem']}"
        for row in problems.to_dict("records")
    }


def _rates(rows: pd.DataFrame, key: tuple[str, ...], metrics: tuple[str, ...]) -> pd.DataFrame:
    """Mean and number of the rows of each key, by stratum and metric; without those of no rows."""
    parts = []
    for stratum, part in _strata(rows, RATED):
        grouped = part.groupby(list(key), dropna=False, sort=False)[list(metrics)]
        mean, count = (
            getattr(grouped, how)().rename_axis(columns="metric").stack().rename(name)
            for how, name in (("mean", "value"), ("count", "n"))
        )
        both = count.to_frame().join(mean).reset_index()
        parts.append(both.assign(stratum=stratum))
    out = pd.concat(parts, ignore_index=True)
    return out[out["n"] > 0].reset_index(drop=True)


def _strata(measures: pd.DataFrame, strata: Iterable[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    for stratum in strata:
        yield stratum, measures if stratum == "all" else measures[measures[stratum]]


def _columns(cell: pd.DataFrame, problems: pd.Index) -> Columns:
    """Values of (metric, space), NaN for problems that the cell does not have."""
    out: Columns = {}
    for space, rows in cell.groupby("space", sort=False):
        n_draws = int(rows["draw"].max()) + 1
        values = np.full((len(TESTED), n_draws, len(problems)), np.nan)
        at = problems.get_indexer(pd.Index(rows["problem"]))
        values[:, rows["draw"].to_numpy(), at] = rows[list(TESTED)].to_numpy(np.float64).T
        out |= {(metric, str(space)): values[i] for i, metric in enumerate(TESTED)}
    return out


def _pairs(
    own: Columns, pooled: Columns | None, unit: Int[np.ndarray, " problems"]
) -> Iterator[tuple[str, str, str, _Pair]]:
    """Metric, both spaces and their values, of the comparisons that the cell has."""
    for metric in TESTED:
        for first, second in COMPARISONS:
            a, b = own.get((metric, first)), own.get((metric, second))
            if second == "own":
                b = None if pooled is None else pooled.get((metric, first))
            if a is None or b is None:
                continue
            both = ~(np.isnan(a).any(axis=0) | np.isnan(b).any(axis=0))
            if both.any():
                yield metric, first, second, _Pair(a[0, both], b[:, both], unit[both])


def _ranks(pair: _Pair, second: str) -> Row:
    """How many draws of the second space have the first one's rate or more, and or less."""
    if second not in DRAWN:
        return {"draws": None, "draws_above": None, "draws_below": None}
    null = pair.second.mean(axis=1)
    value = float(pair.first.mean())
    return {
        "draws": len(null),
        "draws_above": draw_test(value, null, "above").hits,
        "draws_below": draw_test(value, null, "below").hits,
    }


def _compare(pair: _Pair, resamples: Resamples) -> dict[str, Any]:
    steps, n = pair.second.shape
    second = pair.second.mean(axis=0)
    difference = pair.first - second
    n_units = len(np.unique(pair.units))
    # Without a repeated unit nothing is summed.
    clusters = None if n_units == n else pair.units
    exact = {"steps": steps, "clusters": clusters}
    return {
        "value": difference.mean(),
        **resamples.of_mean(difference),
        "p": sign_flip_test(difference, **exact),
        "test": "exact McNemar" if steps == 1 and clusters is None else "exact sign flips",
        "p_least_above": least_paired_p(second, "above", **exact),
        "p_least_below": least_paired_p(second, "below", **exact),
        "sd": difference.std(ddof=1) if n > 1 else None,
        "n": n,
        "n_units": n_units,
    }
