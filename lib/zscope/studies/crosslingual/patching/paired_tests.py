"""Rates of the patched outputs, and paired tests of two spaces on the same problems. No torch.

Every measure is of one problem: random spaces are averaged over their draws first, so that a rate's
n counts problems, not outputs. A cell is one condition of patching (`CELL_KEY` of the tables).

Metrics of an output:

    answer_changed       a well-formed answer other than the unpatched one
    raw_answer_changed   the extracted number, if any, is not the unpatched one: a broken text
                         counts, as in the original protocol
    source_answer        a well-formed answer that is the source problem's
    correct, well_formed
    language_preserved   the language of the prompt
    language_changed     another language than the unpatched output's

Strata: `all`, and `baseline_correct`, the problems whose unpatched output was correct and well
formed: the others have no answer to lose.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from jaxtyping import Float

from zscope.config.base import Bootstrap
from zscope.core.errors import DataError
from zscope.stats import holm, mcnemar_exact, sign_flip_test, wilson_interval
from zscope.studies.crosslingual.measures.intervals import Resamples
from zscope.studies.crosslingual.tables import CELL_KEY

METRICS = (
    "answer_changed",
    "raw_answer_changed",
    "source_answer",
    "correct",
    "well_formed",
    "language_preserved",
    "language_changed",
)
STRATA = ("all", "baseline_correct")
# Each first space with the one that says what is special about it.
COMPARISONS = (
    ("z", "energy"),
    ("z", "random"),
    ("z", "z_perp"),
    ("z", "own"),
    ("z_perp", "energy_perp"),
    ("z_perp", "random_perp"),
)
TESTED = ("answer_changed", "source_answer", "correct", "well_formed", "language_changed")
OUTPUT_KEY = ("layer", "position_0", "direction")
WITHOUT_SPACE = tuple(name for name in CELL_KEY if name != "space")
PERMUTATIONS = 1999

Columns: TypeAlias = dict[tuple[str, str], Float[np.ndarray, " problems"]]


class _Pair(NamedTuple):
    """A measure of two spaces on the same problems."""

    first: Float[np.ndarray, " problems"]
    second: Float[np.ndarray, " problems"]


def by_problem(outputs: pd.DataFrame) -> pd.DataFrame:
    """One row per cell and problem: CELL_KEY, problem, baseline_correct, METRICS (null: undefined).

    outputs: table crosslingual_outputs of one model. Raises DataError if an output's unpatched
    one is not among them.
    """
    frame = outputs.assign(
        forced=outputs["design"] == "site_answer",
        number=outputs["answer"].fillna(""),
        prompt_language=outputs["direction"].str.partition("->")[2],
    )
    prompt = ["problem", *OUTPUT_KEY, "forced"]
    unpatched = frame.loc[frame["space"] == "none", [*prompt, "number"]]
    frame = frame.merge(unpatched, on=prompt, how="left", suffixes=("", "_unpatched"))
    if frame["number_unpatched"].isna().any():
        lost = frame.loc[frame["number_unpatched"].isna(), "problem"].iloc[0]
        raise DataError(f"problem {lost}: its unpatched output is missing; run the patching again")
    patched = frame["space"] != "none"
    measures = {
        "answer_changed": frame["changed"],
        "raw_answer_changed": (frame["number"] != frame["number_unpatched"]).where(patched),
        "source_answer": frame["source_answer"],
        "correct": frame["correct"],
        "well_formed": frame["well_formed"],
        "language_preserved": frame["language"] == frame["prompt_language"],
        "language_changed": frame["language_changed"],
    }
    for name, values in measures.items():
        frame[name] = values.astype("float64")
    # Numbers for keys: grouping by eleven columns of text takes most of the time otherwise.
    frame["cell"] = frame.groupby(list(CELL_KEY), dropna=False, sort=False).ngroup()
    keys = frame.drop_duplicates("cell").set_index("cell")[list(CELL_KEY)]
    means = (
        frame.groupby(["cell", "problem"], sort=False)[["baseline_correct", *METRICS]]
        .mean()
        .reset_index()
    )
    out = means.join(keys, on="cell").drop(columns="cell")
    out["baseline_correct"] = out["baseline_correct"] == 1
    return out[[*CELL_KEY, "problem", "baseline_correct", *METRICS]]


def rates(measures: pd.DataFrame, level: float) -> pd.DataFrame:
    """Columns of table crosslingual_rates without the model, of `by_problem`'s frame.

    Wilson intervals over problems (Wilson 1927); with several draws the successes are a sum of
    shares, and the interval is no narrower than for one draw.
    """
    parts = []
    for stratum, rows in _strata(measures):
        grouped = rows.groupby(list(CELL_KEY), dropna=False, sort=False)[list(METRICS)]
        mean, count = (
            getattr(grouped, how)().rename_axis(columns="metric").stack().rename(name)
            for how, name in (("mean", "value"), ("count", "n"))
        )
        both = count.to_frame().join(mean).reset_index()
        parts.append(both.assign(stratum=stratum))
    out = pd.concat(parts, ignore_index=True)
    out = out[out["n"] > 0].reset_index(drop=True)
    successes = (out["value"] * out["n"]).clip(0, out["n"])
    counts = out["n"].to_numpy()
    out["ci_low"], out["ci_high"] = wilson_interval(successes.to_numpy(), counts, level)
    return out


def paired_tests(measures: pd.DataFrame, bootstrap: Bootstrap, seed: int) -> pd.DataFrame:
    """Columns of table crosslingual_tests without the model, of `by_problem`'s frame.

    COMPARISONS on the problems that both have: exact McNemar where both have one output per
    problem, else a paired permutation test of the mean over draws; p_holm within a cell's
    comparisons and metrics in one stratum. The space "own" is the first one with the prompt's own
    mean as source. The interval of the difference is a percentile bootstrap over problems. seed: of
    the permutations.
    """
    rng = np.random.default_rng(seed)
    resamples: dict[int, Resamples] = {}  # by the number of problems
    exact: dict[tuple[int, int], float] = {}  # McNemar's p by the discordant counts
    out = []
    for stratum, rows in _strata(measures):
        rows = rows[~rows["space"].isin(("none", "full"))]
        problems = pd.Index(rows["problem"].unique())
        grouped = rows.groupby(list(WITHOUT_SPACE), dropna=False, sort=False)
        wide = {key: _columns(group, problems) for key, group in grouped}
        at = WITHOUT_SPACE.index("source")
        for key, own in wide.items():
            pooled = wide.get((*key[:at], "own", *key[at + 1 :])) if key[at] != "own" else None
            family = []
            for metric, first, second, pair in _pairs(own, pooled):
                n = len(pair.first)
                drawn = resamples.setdefault(n, Resamples(bootstrap, n))
                row = dict(zip(WITHOUT_SPACE, key, strict=True))
                row |= {"metric": metric, "first": first, "second": second, "stratum": stratum}
                family.append(row | _compare(pair, drawn, rng, exact))
            adjusted = holm(np.array([row["p"] for row in family], dtype=np.float64))
            out += [row | {"p_holm": p} for row, p in zip(family, adjusted, strict=True)]
    return pd.DataFrame(out)


def _strata(measures: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for stratum in STRATA:
        yield stratum, measures if stratum == "all" else measures[measures["baseline_correct"]]


def _columns(cell: pd.DataFrame, problems: pd.Index) -> Columns:
    """Values of (metric, space), NaN for problems that the cell does not have."""
    wide = cell.pivot(index="problem", columns="space", values=list(TESTED)).reindex(problems)
    spaces = cell["space"].unique()
    return {(m, str(x)): wide[m][x].to_numpy(np.float64) for m in TESTED for x in spaces}


def _pairs(own: Columns, pooled: Columns | None) -> Iterator[tuple[str, str, str, _Pair]]:
    """Metric, both spaces and their values, of the comparisons that the cell has."""
    for metric in TESTED:
        for first, second in COMPARISONS:
            a, b = own.get((metric, first)), own.get((metric, second))
            if second == "own":
                b = None if pooled is None else pooled.get((metric, first))
            if a is None or b is None:
                continue
            both = ~(np.isnan(a) | np.isnan(b))
            if both.any():
                yield metric, first, second, _Pair(a[both], b[both])


def _compare(
    pair: _Pair, resamples: Resamples, rng: np.random.Generator, exact: dict[tuple[int, int], float]
) -> dict[str, Any]:
    difference = pair.first - pair.second
    if not difference.any():
        p, test = 1.0, "no difference in any problem"
    elif all(((x == 0) | (x == 1)).all() for x in pair):
        discordant = int((difference > 0).sum()), int((difference < 0).sum())
        if discordant not in exact:
            exact[discordant] = mcnemar_exact(pair.first == 1, pair.second == 1)
        p, test = exact[discordant], "exact McNemar"
    else:
        p = sign_flip_test(difference, rng=rng, flips=PERMUTATIONS)
        test = "paired permutation"
    value = {"value": difference.mean(), **resamples.of_mean(difference)}
    return {**value, "p": p, "test": test, "n": len(difference)}
