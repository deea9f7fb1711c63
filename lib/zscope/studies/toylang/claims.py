"""The claims of the toy language study: what was measured, and whether each held. No torch.

A claim about runs is tested on every seed by itself, and holds if it holds on all of them. A claim
about two conditions takes its verdict from toylang_comparisons. Programs find a claim by its id;
its text is for people and names the thresholds.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from zscope.figures.frames import numbers, select
from zscope.studies.toylang.config import ToylangConfig
from zscope.studies.toylang.named_heads import NAMED_FOR, random_like
from zscope.studies.toylang.onsets import ordered, worst
from zscope.studies.toylang.tables import (
    ABLATIONS,
    BEHAVIOUR,
    COMPARISONS,
    DEGREES,
    ONSET_SUMMARY,
    ONSETS,
    PHENOMENA,
    READOUTS,
    REFERENCE,
    SUMMARY,
    TRAINING,
    WEIGHTS,
)
from zscope.studies.toylang.targets import DIRECT_R, EXACT_PATCHING, EXCESS, EXCESS_OF_ALL, FIRST
from zscope.tables.schema import Row, Table

NEAR = 0.05  # largest difference between probabilities that count as equal


@dataclass(frozen=True)
class Outcome:
    """The result of one seed: a number, and whether the claim holds."""

    value: float
    holds: bool


OfSeed = Callable[[pd.DataFrame], Outcome | None]


@dataclass(frozen=True)
class Claim:
    """A claim about runs.

    unit: of the outcome's value. of_seed: from the table's rows of one run to its outcome, None if
    they say nothing.
    """

    id: str
    text: str
    unit: str
    of_seed: OfSeed
    table: Table


def summary_rows(tables: Mapping[Table, pd.DataFrame], config: ToylangConfig) -> list[Row]:
    """Rows of toylang_summary, from the tables of all conditions.

    Claims whose table is not given, or has no rows of a condition, are left out.
    """
    found: list[Row] = []
    for condition in (REFERENCE, *config.models):
        claims = _claims(config.conditions[condition].language.skip.max_skip)
        found += [row for claim in claims for row in _tested(claim, condition, tables)]
        found += _order(condition, tables)
    return [*found, *_compared(tables)]


def _row(condition: str, claim: str, text: str, measured: str, verdict: str, **more: Any) -> Row:
    absent = {column.name: None for column in SUMMARY.columns if column.nullable}
    known = {"condition": condition, "claim": claim, "text": text, "measured": measured}
    return {**absent, **known, "verdict": verdict, "unit": "", **more}


# --- claims about runs ---------------------------------------------------------------------------


def _claims(max_skip: int) -> list[Claim]:
    """The claims for a language whose skip rules reach `max_skip` tokens."""
    return [
        Claim(
            "excess_overall",
            f"the excess over the floor is at most {EXCESS_OF_ALL} nats",
            "nats",
            lambda rows: _judge(_last_excess(rows).get("all"), operator.le, EXCESS_OF_ALL),
            TRAINING,
        ),
        Claim(
            "excess_every_primitive",
            f"the excess is at most {EXCESS} nats on every primitive",
            "nats",
            lambda rows: _judge(_last_excess(rows).max(), operator.le, EXCESS),
            TRAINING,
        ),
        *_claims_about_weights(max_skip),
        *(
            Claim(
                f"ablation_{primitive}",
                f"ablating the heads named for {chosen_by} raises the excess of {primitive} more "
                "than any random set of as many heads of the same layers",
                "nats",
                _named_beats_random(chosen_by, primitive),
                ABLATIONS,
            )
            for chosen_by, primitive in NAMED_FOR.items()
        ),
        Claim(
            "exact_patching",
            f"exact patching is at most {EXACT_PATCHING:g} nats from running the patched model",
            "nats",
            lambda rows: _judge(rows["error"].max(), operator.le, EXACT_PATCHING),
            DEGREES,
        ),
        *_claims_about_phenomena(),
        Claim(
            "bigram_first_induction_last",
            "bigram sets in first, induction last",
            "induction's onset over bigram's",
            _first_and_last,
            ONSETS,
        ),
        Claim(
            "induction_onset_in_weights",
            "induction is in the weights when its excess falls (within one doubling of the step)",
            "onset in the weights over that in behaviour",
            _weights_beside_behaviour,
            ONSETS,
        ),
    ]


def _claims_about_weights(max_skip: int) -> Iterator[Claim]:
    claim = partial(Claim, table=READOUTS)
    yield claim(
        "bigram_in_weights",
        f"names x verbs in the weights have r of at least {DIRECT_R} with the truth",
        "r",
        lambda rows: _judge(_last(rows, "direct", "r"), operator.ge, DIRECT_R),
    )
    yield claim(
        "top_verb_in_weights",
        "the weights' top verb is right for every name",
        "names",
        lambda rows: _all_of(_last(rows, "direct", "top1")),
    )
    for paths, suffix in (("one head", ""), ("all paths over two tokens", "_all_paths")):
        end = suffix or "_one_head"
        yield claim(
            f"skip_rules_first{end}",
            f"every skip rule is among the first {FIRST} of all triples, by {paths}",
            "rank",
            _worst_rank(f"rank{suffix}"),
        )
        yield claim(
            f"first_triples_true{end}",
            f"each of the first {FIRST} triples that can occur is true (P@{FIRST} = 1), by {paths}",
            "share",
            _all_true(f"precision_at_{FIRST}{suffix}"),
        )
    yield claim(
        "window_in_weights",
        f"the window of every rule ends at max_skip, {max_skip} tokens",
        "tokens",
        lambda rows: _edges(_last(rows, "window", "edge"), max_skip),
    )
    yield claim(
        "induction_in_weights",
        "one pair of heads matches every object to itself (induction)",
        "objects",
        lambda rows: _all_of(_last(rows, "induction", "hits")),
    )
    yield claim(
        "suppression_in_weights",
        "in the weights `never` puts the top verb below the others for every name",
        "names",
        lambda rows: _all_of(_last(rows, "suppression", "below")),
    )


def _claims_about_phenomena() -> Iterator[Claim]:
    """`phenomena.experiments` names the modules that define cases and metrics."""
    claim = partial(Claim, table=PHENOMENA)
    for place, words in (("within", "in its window"), ("beyond", "beyond its window")):
        yield claim(
            f"suppression_{place}_window",
            f"after `never` the top verb is as likely as it should be (within {NEAR}) at every "
            f"distance {words}",
            "share",
            _farthest(within=place == "within"),
        )
    yield claim(
        "suppression_named_head",
        "the head that the weights name for suppression carries more of it than any other",
        "share",
        _named_suppression,
    )
    yield claim(
        "suppression_head_order",
        "the weights order heads by how much suppression their ablation removes (rank correlation "
        "above 0, p < 0.05)",
        "rank correlation",
        _suppression_order,
    )
    yield claim(
        "one_wrong_repeat",
        f"one wrong repeat lowers the first colour by at most {NEAR}",
        "share",
        lambda rows: _judge(_error(rows, "third occurrence", "fall", 1), operator.le, NEAR),
    )
    yield claim(
        "two_wrong_repeats",
        "the first colour stays above a wrong one that was said twice, in most prefixes",
        "share",
        lambda rows: _judge(_error(rows, "fourth occurrence", "corrects", 2), operator.gt, 0.5),
    )
    yield claim(
        "self_repair", "later heads make up for the loss of some head of layer 0", "nats", _repaired
    )
    yield claim(
        "path_reuse", "one path from layer 0 serves two primitives or more", "primitives", _reused
    )


def _tested(claim: Claim, condition: str, tables: Mapping[Table, pd.DataFrame]) -> list[Row]:
    """No row if nothing was measured."""
    if claim.table not in tables:
        return []
    runs = select(tables[claim.table], condition=condition).groupby("seed")
    outcomes = [found for _, of_run in runs if (found := claim.of_seed(of_run)) is not None]
    if not outcomes:
        return []
    n, held = len(outcomes), sum(outcome.holds for outcome in outcomes)
    values = [outcome.value for outcome in outcomes]
    verdict = "yes" if held == n else "partly" if held else "no"
    measured, columns = _spread(values)
    counts = {"unit": claim.unit, "n": n, "n_held": held}
    return [_row(condition, claim.id, claim.text, measured, verdict, **columns, **counts)]


def _spread(values: list[float]) -> tuple[str, dict[str, float]]:
    """Median, least and largest of the finite values, in words and as columns."""
    known = [value for value in values if np.isfinite(value)]
    if not known:
        return "undefined", {}
    middle, low, high = float(np.median(known)), min(known), max(known)
    text = f"median {middle:.3g} ({low:.3g} to {high:.3g})" if len(values) > 1 else f"{middle:.3g}"
    missing = len(values) - len(known)
    text += f", undefined in {missing}" if missing else ""
    return text, {"value": middle, "low": low, "high": high}


def _judge(value: Any, test: Callable[[float, float], bool], bound: float) -> Outcome | None:
    """The outcome of `test(value, bound)`; None without a value, NaN fails.

    value: a number, or the one row of a selection.
    """
    if isinstance(value, pd.DataFrame):
        if value.empty:
            return None
        (value,) = value["value"]
        value = np.nan if pd.isna(value) else value
    return None if value is None else Outcome(float(value), bool(test(float(value), bound)))


def _all_of(rows: pd.DataFrame) -> Outcome | None:
    return None if rows.empty else _judge(rows, operator.eq, rows["n"].iloc[0])


def _last_excess(rows: pd.DataFrame) -> pd.Series:
    """By primitive, at the last evaluation of a run."""
    rows = select(rows, metric="excess", split="held_out")
    return select(rows, step=rows["step"].max()).set_index("primitive")["value"]


def _last(rows: pd.DataFrame, readout: str, metric: str) -> pd.DataFrame:
    """Rows of a readout at the last checkpoint: the row for all items where there is one."""
    rows = select(rows, readout=readout, metric=metric, step=rows["step"].max())
    whole = select(rows, item="all")
    return rows if whole.empty else whole


def _worst_rank(metric: str) -> OfSeed:
    def of_seed(rows: pd.DataFrame) -> Outcome | None:
        ranks = _last(rows, "rules", metric)["value"]
        return None if ranks.empty else _judge(worst(ranks), operator.le, FIRST)

    return of_seed


def _all_true(metric: str) -> OfSeed:
    return lambda rows: _judge(_last(rows, "rules", metric), operator.ge, 1)


def _edges(rows: pd.DataFrame, max_skip: int) -> Outcome | None:
    """The value is the edge farthest from max_skip."""
    if rows.empty:
        return None
    edges = numbers(rows["value"])
    if np.isnan(edges).any():
        return Outcome(float("nan"), False)
    return Outcome(float(edges[np.abs(edges - max_skip).argmax()]), bool((edges == max_skip).all()))


def _named_beats_random(chosen_by: str, primitive: str) -> OfSeed:
    def of_seed(rows: pd.DataFrame) -> Outcome | None:
        rows = select(rows, metric="change", primitive=primitive)
        named = select(rows, chosen_by=chosen_by)
        if named.empty:
            return None
        heads, rise = str(named["heads"].iloc[0]), float(named["value"].iloc[0])
        random = random_like(rows, chosen_by)
        random = random[random["heads"] != heads]
        return None if random.empty else Outcome(rise, bool((random["value"] < rise).all()))

    return of_seed


# --- the experiments -----------------------------------------------------------------------------


def _farthest(*, within: bool) -> OfSeed:
    """The largest deviation of p_top from the program's, over the distances at which `never` acts
    in the program, or over those at which it does not."""

    def of_seed(rows: pd.DataFrame) -> Outcome | None:
        p_top = select(rows, experiment="suppression", metric="p_top")
        with_never, without = (
            select(p_top, case=case).set_index("x") for case in ("with never", "without never")
        )
        acts = with_never["truth"] != without["truth"].reindex(with_never.index)
        off = (with_never["value"] - with_never["truth"]).abs()[acts == within]
        return None if off.empty else _judge(off.max(), operator.le, NEAR)

    return of_seed


def _named_suppression(rows: pd.DataFrame) -> Outcome | None:
    """The change of the drop by the named head, which must be more negative than by any other."""
    changes = select(rows, experiment="suppression", metric="change")
    is_named = changes["case"].str.startswith("named ")
    if not is_named.any():
        return None
    named = changes[is_named].iloc[0]
    others = changes[~is_named & (changes["case"] != named["case"].removeprefix("named "))]
    return Outcome(float(named["value"]), bool((others["value"] > named["value"]).all()))


def _suppression_order(rows: pd.DataFrame) -> Outcome | None:
    """Spearman's rank correlation over heads."""
    heads = select(rows, experiment="suppression")
    heads = heads[~heads["case"].str.startswith("named ")]
    by_weights, change = (
        select(heads, metric=metric).set_index("case")["value"]
        for metric in ("by_weights", "change")
    )
    if len(by_weights) < 3 or by_weights.nunique() < 2 or change.nunique() < 2:
        return None
    found = spearmanr(by_weights, -change[by_weights.index])
    return Outcome(float(found.statistic), bool(found.statistic > 0 and found.pvalue < 0.05))


def _error(rows: pd.DataFrame, case: str, metric: str, x: float) -> pd.DataFrame:
    return select(rows, experiment="error_correction", case=case, metric=metric, x=x)


def _repaired(rows: pd.DataFrame) -> Outcome | None:
    """The largest repair. The claim holds if the whole interval of some head is above 0."""
    repair = select(rows, experiment="error_correction", metric="repair")
    if repair.empty:
        return None
    return Outcome(float(repair["value"].max()), bool((repair["ci_low"] > 0).any()))


def _reused(rows: pd.DataFrame) -> Outcome | None:
    """The largest number of primitives that a path serves."""
    served = select(rows, experiment="reuse", metric="n_primitives")["value"]
    return None if served.empty else _judge(served.max(), operator.ge, 2)


# --- onsets --------------------------------------------------------------------------------------


def _onset_of(rows: pd.DataFrame, kind: str) -> pd.Series:
    """By primitive; infinite where it never set in."""
    of_kind = rows[(rows["kind"] == kind) & (rows["primitive"] != "all")]
    return of_kind.set_index("primitive")["onset"].astype(float).fillna(np.inf)


def _first_and_last(rows: pd.DataFrame) -> Outcome | None:
    when = _onset_of(rows, BEHAVIOUR)
    if not {"bigram", "induction"} <= {*when.index} or np.isinf(when["bigram"]):
        return None
    others = when.drop(["bigram", "induction"])
    first = bool((others >= when["bigram"]).all())
    last = bool((others <= when["induction"]).all() and when["induction"] > when["bigram"])
    return Outcome(float(when["induction"] / when["bigram"]), first and last)


def _weights_beside_behaviour(rows: pd.DataFrame) -> Outcome | None:
    weights, behaviour = (
        _onset_of(rows, kind).get("induction", np.nan) for kind in (WEIGHTS, BEHAVIOUR)
    )
    if np.isnan(weights + behaviour) or np.isinf([weights, behaviour]).all():
        return None
    ratio = float(weights / behaviour)
    return Outcome(ratio, 0.5 <= ratio <= 2)


def _order(condition: str, tables: Mapping[Table, pd.DataFrame]) -> list[Row]:
    """The order of the median onsets: a description, without a verdict."""
    if ONSET_SUMMARY not in tables:
        return []
    rows = select(tables[ONSET_SUMMARY], condition=condition, kind=BEHAVIOUR)
    rows = rows[rows["primitive"] != "all"]
    if rows.empty:
        return []
    median = rows.set_index("primitive")["median"]
    parts = [
        f"{name} {median[name]:.0f}" if pd.notna(median[name]) else f"{name} never"
        for name in ordered(rows)
    ]
    text = "order of onset in behaviour (median step over seeds)"
    measured, n = ", ".join(parts), int(rows["n"].max())
    return [_row(condition, "onset_order", text, measured, "described", n=n)]


# --- claims about two conditions -----------------------------------------------------------------


def _compared(tables: Mapping[Table, pd.DataFrame]) -> Iterator[Row]:
    if COMPARISONS not in tables:
        return
    for condition, rows in tables[COMPARISONS].groupby("condition", sort=False):
        is_model = rows["how"].iloc[0] == "model"
        yield from (_model_claim if is_model else _dependency_claim)(str(condition), rows)


def _model_claim(condition: str, rows: pd.DataFrame) -> Iterator[Row]:
    """Whether the reference learns induction before another model."""
    for _, row in select(rows, primitive="induction").iterrows():
        verdict = {"later": "yes", "never": "yes", "earlier": "no"}.get(row["verdict"], "unclear")
        measured = _shift(row)
        if row["verdict"] in ("all later", "all earlier"):
            way = row["verdict"].removeprefix("all ")
            measured += f"; {way} in all seeds, too few for a test (p = {row['p']:.2g})"
        text = f"{row['reference']} learns induction earlier than {condition}"
        columns = {"value": row["shift"], "unit": "doublings", "n": int(row["n"])}
        columns |= {name: row[name] for name in ("ci_low", "ci_high", "p")}
        yield _row(condition, "induction_before_model", text, measured, verdict, **columns)


def _dependency_claim(condition: str, rows: pd.DataFrame) -> Iterator[Row]:
    """Whether any other onset moves when one primitive is removed or delayed."""
    changed, how = rows["changed"].iloc[0], rows["how"].iloc[0]
    others = rows[rows["primitive"] != "all"]  # the changed one has a verdict of its own
    firm = others[others["verdict"].isin(["later", "earlier", "never"])]
    hints = others[others["verdict"].isin(["all later", "all earlier"])]
    parts = [f"{row['verdict']}: {_shift(row)}" for _, row in pd.concat([firm, hints]).iterrows()]
    text = f"other onsets move when {changed} is {how}"
    measured = "; ".join(parts) or "none moves in one direction in all seeds"
    verdict, n = "yes" if len(firm) else "unclear", int(rows["n"].max())
    columns = {"value": float(len(firm)), "unit": "primitives", "n": n}
    yield _row(condition, "other_onsets_move", text, measured, verdict, **columns)


def _shift(row: pd.Series) -> str:
    if pd.isna(row["shift"]):
        return f"{row['primitive']}: {row['verdict']} (censored in {row['n_censored']})"
    ends = [row["ci_low"], row["ci_high"]]
    text = f"{row['primitive']} {row['shift']:+.2f} doublings"
    if any(pd.notna(end) for end in ends):
        low, high = ("beyond" if pd.isna(end) else f"{end:+.2f}" for end in ends)
        text += f" ({low} to {high})"
    return text
