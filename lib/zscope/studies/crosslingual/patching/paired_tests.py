"""What the patched outputs say: rates, paired tests, and whether Z is causal. No torch.

Every measure is of one problem: random spaces are averaged over their draws first, so that a rate's
n counts problems, not outputs. A cell is one condition of patching (`CELL_KEY` of the tables).

Metrics of an output:

    answer_changed       a well-formed answer other than the unpatched one
    raw_answer_changed   the extracted number, if any, is not the unpatched one: a broken text
                         counts, as in the protocol's protocol
    source_answer        a well-formed answer, the one of the source problem
    correct, well_formed
    language_preserved   the language of the prompt
    language_changed     another language than the unpatched output's

Strata: `all`, and `baseline_correct`, the problems whose unpatched output was correct and well
formed: the others have no answer to lose.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from jaxtyping import Float

from zscope.core.errors import DataError
from zscope.stats import (
    bootstrap_interval,
    bootstrap_weights,
    holm,
    mcnemar_exact,
    paired_permutation_test,
    wilson_interval,
)
from zscope.studies.crosslingual.config import VerdictConfig, ZConfig
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
RESAMPLES = 1000

Answer: TypeAlias = Literal["yes", "partial", "no", "undetermined"]
Columns: TypeAlias = dict[tuple[str, str], Float[np.ndarray, " problems"]]


@dataclass(frozen=True)
class DeclaredCell:
    """The condition that the verdict is read from, fixed before the run; the space is left open."""

    layer: int
    k: int
    kind: str
    design: str
    source: str
    where: str
    position_0: str
    direction: str


def declared_cell(
    wanted: VerdictConfig, z: ZConfig, resolved: Sequence[Mapping[str, Any]]
) -> DeclaredCell:
    """The config's cell with this model's layer and k.

    resolved: of each layer's outputs, as their provenance has it: {"layer": [config's, index],
    "k": [[config's, dimensions], ...]}. Raises DataError if none has the cell's layer and k.
    """
    for here in resolved:
        layer, index = here["layer"]
        sizes = [k for name, k in here["k"] if name == wanted.k]
        if layer == wanted.layer and sizes:
            return DeclaredCell(
                index,
                sizes[0],
                z.kinds[0],
                wanted.design,
                wanted.source,
                wanted.where,
                z.position_0,
                wanted.direction,
            )
    raise DataError(
        f"no outputs of layer {wanted.layer} and k {wanted.k}, which verdict declares\n"
        f"there are {[dict(here) for here in resolved]}; patch that layer, or declare another"
    )


@dataclass(frozen=True)
class Verdict:
    """The answer by one rule, and a sentence with the numbers behind it."""

    answer: Answer
    why: str


class _Pair(NamedTuple):
    """A measure of two spaces on the same problems."""

    first: Float[np.ndarray, " problems"]
    second: Float[np.ndarray, " problems"]


def by_problem(outputs: pd.DataFrame) -> pd.DataFrame:
    """One row a cell and problem: CELL_KEY, problem, baseline_correct, METRICS (null: undefined).

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


def rates(measures: pd.DataFrame) -> pd.DataFrame:
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
    out["ci_low"], out["ci_high"] = wilson_interval(successes.to_numpy(), out["n"].to_numpy())
    return out


def paired_tests(measures: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Columns of table crosslingual_tests without the model, of `by_problem`'s frame.

    COMPARISONS on the problems that both have, exact McNemar where both have one output a problem,
    else a paired permutation test of the mean over draws; p_holm within a cell's comparisons and
    metrics in one stratum. The space "own" is the first one with the prompt's own mean as source.
    The interval of the difference is a percentile bootstrap over problems.
    """
    rng = np.random.default_rng(seed)
    weights: dict[int, np.ndarray] = {}  # one set of resamples for all tests of that many problems
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
                if n and n not in weights:
                    weights[n] = bootstrap_weights(n, RESAMPLES, rng)
                row = dict(zip(WITHOUT_SPACE, key, strict=True))
                row |= {"metric": metric, "first": first, "second": second, "stratum": stratum}
                family.append(row | _compare(pair, weights.get(n), rng, exact))
            adjusted = holm(np.array([row["p"] for row in family], dtype=np.float64))
            out += [row | {"p_holm": p} for row, p in zip(family, adjusted, strict=True)]
    return pd.DataFrame(out)


def protocol_criterion(high: float, margin: float) -> str:
    return (
        f"Z changes {high:.0%} of the answers or more and keeps the language in {high:.0%} or "
        f"more, and Z-perp the reverse; partial: Z changes {margin:.0%} more answers than Z-perp"
    )


def protocol_verdict(
    rates: pd.DataFrame, cell: DeclaredCell, high: float = 0.5, margin: float = 0.1
) -> Verdict:
    """The protocol's rule, over all problems: success, partial success or null.

    A rate of `high` or more counts as "changes", one of 1 - high or less as "preserves" (changes
    wins a tie); answers are the extracted numbers of whatever was written. Partial: Z changes
    `margin` more of the answers than Z-perp.
    """
    value = {
        (space, metric): _rate(rates, cell, space, "all", metric)
        for space in ("z", "z_perp", "full")
        for metric in ("raw_answer_changed", "language_changed")
    }
    if any(v is None for (space, _), v in value.items() if space != "full"):
        return Verdict("undetermined", "no outputs of Z or Z-perp in the declared cell")
    known = {key: v for key, v in value.items() if v is not None}
    answers, words = (
        {s: known[s, m] for s in ("z", "z_perp")}
        for m in ("raw_answer_changed", "language_changed")
    )

    def changes(rate: float) -> bool:
        return rate >= high

    def preserves(rate: float) -> bool:
        return rate <= 1 - high and not changes(rate)

    dissociation = (
        changes(answers["z"])
        and preserves(words["z"])
        and changes(words["z_perp"])
        and preserves(answers["z_perp"])
    )
    # A margin that is met exactly must not fail for a rounding error.
    more = answers["z"] - answers["z_perp"] >= margin - 1e-12
    why = (
        f"patching Z changes {answers['z']:.0%} of the answers and {words['z']:.0%} of the "
        f"languages, Z-perp {answers['z_perp']:.0%} and {words['z_perp']:.0%}"
    )
    if ("full", "raw_answer_changed") in known:
        why += (
            f"; everything {known['full', 'raw_answer_changed']:.0%} and "
            f"{known['full', 'language_changed']:.0%}"
        )
    return Verdict("yes" if dissociation else "partial" if more else "no", why)


def controlled_criterion(alpha: float) -> str:
    return (
        "against random spaces of the same energy, Z changes more answers and fewer languages, "
        f"and Z-perp the reverse (paired tests, Holm, p < {alpha:g}); partial: the answers of Z"
    )


def controlled_verdict(
    tests: pd.DataFrame, rates: pd.DataFrame, cell: DeclaredCell, alpha: float = 0.05
) -> Verdict:
    """The rule with controls, over the problems that were right unpatched.

    yes: Z beats energy-matched random spaces on answers and stays below them on language, and
    Z-perp is below the complements of those on answers and beats them on language, each with a
    Holm-adjusted p < alpha. partial: only the first need hold. Only well-formed answers count.
    """
    halves = {
        name: _difference(tests, cell, first, second, metric)
        for name, (first, second, metric) in _CONTROLLED.items()
    }
    missing = [name for name, half in halves.items() if half is None]
    if missing:
        return Verdict("undetermined", f"not tested in the declared cell: {', '.join(missing)}")
    known = {name: half for name, half in halves.items() if half is not None}
    sign = {"z_answers": 1, "z_language": -1, "perp_answers": -1, "perp_language": 1}
    held = {name: half.p < alpha and sign[name] * half.value > 0 for name, half in known.items()}
    parts = []
    for name, (first, second, metric) in _CONTROLLED.items():
        shares = [_rate(rates, cell, s, "baseline_correct", metric) for s in (first, second)]
        shown = " against ".join("none" if s is None else f"{s:.0%}" for s in shares)
        parts.append(
            f"{_NAMES[first]} changes {shown} of the {_WORDS[metric]} (p {known[name].p:.2g})"
        )
    n = min(half.n for half in known.values())
    why = f"against energy-matched spaces, {n} problems: " + "; ".join(parts)
    answer: Answer = "yes" if all(held.values()) else "partial" if held["z_answers"] else "no"
    return Verdict(answer, why)


_CONTROLLED = {
    "z_answers": ("z", "energy", "answer_changed"),
    "z_language": ("z", "energy", "language_changed"),
    "perp_answers": ("z_perp", "energy_perp", "answer_changed"),
    "perp_language": ("z_perp", "energy_perp", "language_changed"),
}
_NAMES = {"z": "Z", "z_perp": "Z-perp"}
_WORDS = {"answer_changed": "answers", "language_changed": "languages"}


def patched_table(
    outputs: pd.DataFrame, problems: pd.DataFrame, cell: DeclaredCell
) -> pd.DataFrame:
    """The protocol's table in the declared cell: crosslingual_patched without the model.

    problems: table crosslingual_problems. Raises DataError if an output is missing.
    """
    here = outputs[(outputs["draw"] == 0) & _same(outputs, asdict(cell), OUTPUT_KEY)]
    forced = "site_answer" if cell.design == "site_answer" else "none"
    wanted = {"original": here[(here["space"] == "none") & (here["design"] == forced)]}
    declared = here[_same(here, asdict(cell), ("design", "source", "where"))]
    of_z = _same(declared, asdict(cell), ("k", "kind"))
    wanted |= {
        "z_patched": declared[(declared["space"] == "z") & of_z],
        "z_perp_patched": declared[(declared["space"] == "z_perp") & of_z],
        "full_patched": declared[declared["space"] == "full"],
    }
    texts = {name: rows.set_index("problem")["text"] for name, rows in wanted.items()}
    known = problems.set_index("problem")
    answers = known["answer"].astype(str)
    source = wanted["z_patched"].set_index("problem")["source_problem"]
    language = cell.direction.partition("->")[2]
    out = pd.DataFrame(
        {
            "prompt": known[language],
            "right_answer": answers,
            "source_answer": source.map(answers),
            **texts,
        }
    )
    out = out.loc[out.index.isin(texts["original"].index)]
    if out.empty or out[list(texts)].isna().any(axis=None):
        raise DataError(f"outputs of the declared cell are missing: {asdict(cell)}")
    return out.rename_axis("problem").reset_index()


def patched_html(table: pd.DataFrame, title: str) -> str:
    """The table as a page. Every cell is escaped: a model's output may hold any markup."""

    def line(tag: str, cells: Iterator[Any]) -> str:
        texts = ("" if pd.isna(cell) else html.escape(str(cell)) for cell in cells)
        return "<tr>" + "".join(f"<{tag}>{text}</{tag}>" for text in texts) + "</tr>"

    head = line("th", (name.replace("_", " ") for name in table.columns))
    body = "\n".join(line("td", iter(row)) for row in table.itertuples(index=False))
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style></head>\n"
        f"<body><h1>{html.escape(title)}</h1>\n<table>\n<thead>{head}</thead>\n"
        f"<tbody>\n{body}\n</tbody>\n</table></body>\n</html>\n"
    )


_STYLE = (
    "body{font:14px sans-serif;margin:2em}table{border-collapse:collapse}"
    "th,td{border:1px solid #ccc;padding:4px 8px;text-align:left;vertical-align:top;"
    "white-space:pre-wrap}"
)


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
    pair: _Pair,
    weights: np.ndarray | None,
    rng: np.random.Generator,
    exact: dict[tuple[int, int], float],
) -> dict[str, Any]:
    difference = pair.first - pair.second
    low, high = bootstrap_interval(difference, weights=weights)
    if not difference.any():
        p, test = 1.0, "no difference in any problem"
    elif all(((x == 0) | (x == 1)).all() for x in pair):
        discordant = int((difference > 0).sum()), int((difference < 0).sum())
        if discordant not in exact:
            exact[discordant] = mcnemar_exact(pair.first == 1, pair.second == 1)
        p, test = exact[discordant], "exact McNemar"
    else:
        p = paired_permutation_test(*pair, rng=rng, n_permutations=PERMUTATIONS)
        test = "paired permutation"
    return {
        "value": difference.mean(),
        "ci_low": float(low),
        "ci_high": float(high),
        "p": p,
        "test": test,
        "n": len(difference),
    }


def _rate(
    rates: pd.DataFrame, cell: DeclaredCell, space: str, stratum: str, metric: str
) -> float | None:
    wanted = asdict(cell) | {"space": space, "stratum": stratum, "metric": metric}
    if space == "full":
        wanted |= {"k": None, "kind": None}
    rows = rates[_same(rates, wanted, tuple(wanted))]
    return None if rows.empty else float(rows["value"].iloc[0])


class _Test(NamedTuple):
    value: float
    p: float
    n: int


def _difference(
    tests: pd.DataFrame, cell: DeclaredCell, first: str, second: str, metric: str
) -> _Test | None:
    wanted = asdict(cell) | {
        "first": first,
        "second": second,
        "metric": metric,
        "stratum": "baseline_correct",
    }
    rows = tests[_same(tests, wanted, tuple(wanted))]
    if rows.empty:
        return None
    row = rows.iloc[0]
    return _Test(float(row["value"]), float(row["p_holm"]), int(row["n"]))


def _same(frame: pd.DataFrame, wanted: Mapping[str, Any], names: tuple[str, ...]) -> pd.Series:
    """Where the frame has the wanted values; None stands for null."""
    out = pd.Series(True, index=frame.index)
    for name in names:
        value = wanted[name]
        equal = frame[name].isna() if value is None else (frame[name] == value).fillna(False)
        out &= equal.astype(bool)
    return out
