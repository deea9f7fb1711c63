"""The claims of the toy language study: what was measured, and whether each held. No torch.

A claim about runs is tested on every seed by itself, and holds if it holds on all of them. A claim
that heads do more than others is tested over the seeds together, by their ranks, because one seed
has too few sets of heads. `comparison_claims` has those about two conditions.
What no result of this size could decide cannot be told (docs/verdicts.md). Programs find a claim by
its id; its text is for people and names the thresholds.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from zscope.figures.frames import numbers, select
from zscope.studies.toylang.comparison_claims import comparison_rows
from zscope.studies.toylang.config import ToylangConfig
from zscope.studies.toylang.named_heads import NAMED_FOR, Rank, p_over_runs, rank_of_named
from zscope.studies.toylang.onsets import ALPHA, ordered, worst
from zscope.studies.toylang.summary_row import summary_row
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
    TRAINING,
    WEIGHTS,
)
from zscope.studies.toylang.targets import DIRECT_KL, EXACT_PATCHING, EXCESS, EXCESS_OF_ALL, FIRST
from zscope.tables.schema import Row, Table
from zscope.verdicts import UNKNOWN, VARIES, Answer, over_trainings, yes

NEAR = 0.05  # largest difference between probabilities that count as equal


@dataclass(frozen=True)
class Outcome:
    """The result of one seed: a number, and whether the claim holds.

    rank: of heads among other sets of heads, for a claim about these; the claim holds on the seed
    if no other set does as much.
    """

    value: float
    answer: Answer
    rank: Rank | None = None


class Verdict(NamedTuple):
    """The word for all seeds together, what the row says beside its numbers, and a p value."""

    word: str
    note: str = ""
    p: float | None = None


OfSeed = Callable[[pd.DataFrame], Outcome | None]


def _each_seed(outcomes: Sequence[Outcome], rows: pd.DataFrame) -> Verdict:
    """yes: on every seed, no: on none, partly: on some."""
    found = over_trainings([outcome.answer for outcome in outcomes])
    return Verdict("partly" if found == VARIES else found)


@dataclass(frozen=True)
class Claim:
    """A claim about runs.

    unit: of the outcome's value. of_seed: from the table's rows of one run to its outcome, None if
    they say nothing. over: from the outcomes, and the table's rows of all runs, to the verdict.
    """

    id: str
    text: str
    unit: str
    of_seed: OfSeed
    table: Table
    over: Callable[[Sequence[Outcome], pd.DataFrame], Verdict] = _each_seed


def summary_rows(tables: Mapping[Table, pd.DataFrame], config: ToylangConfig) -> list[Row]:
    """Rows of toylang_summary, from the tables of all conditions.

    Claims whose table is not given, or has no rows of a condition, are left out.
    """
    found: list[Row] = []
    for condition in (REFERENCE, *config.models):
        run = config.conditions[condition]
        claims = _claims(run.language.skip.max_skip, run.model.n_heads)
        found += [row for claim in claims for row in _tested(claim, condition, tables)]
        found += _order(condition, tables)
    if COMPARISONS in tables and len(tables[COMPARISONS]):
        found += comparison_rows(tables[COMPARISONS])
    return found


# --- claims about runs ---------------------------------------------------------------------------


def _claims(max_skip: int, n_heads: int) -> list[Claim]:
    """The claims for a language whose skip rules reach `max_skip` tokens, and a model with so many
    heads in a layer."""
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
                "than other sets of as many heads of the same layers do (ranks over seeds, "
                f"p < {ALPHA:g})",
                "nats",
                _named_among_others(chosen_by, n_heads),
                ABLATIONS,
                _by_ranks,
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
        "E U and attention to the own token give each name's next tokens to within "
        f"{DIRECT_KL:g} nats (KL, mean over names)",
        "nats",
        lambda rows: _judge(_last(rows, "direct", "kl_self"), operator.le, DIRECT_KL),
        over=_beside_direct,
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
            f"first_triples_alone_true{end}",
            f"the same for triples that need no bracket around them, by {paths}",
            "share",
            _all_true(f"precision_at_{FIRST}_alone{suffix}"),
        )
    yield claim(
        "window_in_weights",
        f"the window of every rule ends at max_skip, {max_skip} tokens",
        "tokens",
        lambda rows: _edges(_last(rows, "window", "edge"), max_skip),
    )
    yield claim(
        "induction_in_weights",
        "some pair of heads matches every object to itself (induction), more than it would match "
        f"permuted objects (null of the maximum over pairs, p < {ALPHA:g})",
        "objects",
        _some_pair,
        over=_beside_pairs,
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
            over=partial(_beside_distances, within=place == "within"),
        )
    yield claim(
        "suppression_named_head",
        "the head that the weights name for suppression carries more of it than other heads do "
        f"(ranks over seeds, p < {ALPHA:g})",
        "share",
        _named_suppression,
        over=_by_ranks,
    )
    yield claim(
        "suppression_head_order",
        "the weights order heads by how much suppression their ablation removes (rank correlation "
        f"above 0, p < {ALPHA:g})",
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
    rows = select(tables[claim.table], condition=condition)
    runs = rows.groupby("seed")
    outcomes = [found for _, of_run in runs if (found := claim.of_seed(of_run)) is not None]
    if not outcomes:
        return []
    verdict = claim.over(outcomes, rows)
    measured, columns = _spread([outcome.value for outcome in outcomes])
    measured = "; ".join(filter(None, [measured, verdict.note]))
    held = sum(outcome.answer == "yes" for outcome in outcomes)
    more = {"unit": claim.unit, "p": verdict.p, "n": len(outcomes), "n_held": held}
    return [summary_row(condition, claim.id, claim.text, measured, verdict.word, **columns, **more)]


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
    return None if value is None else Outcome(float(value), yes(test(float(value), bound)))


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
        return Outcome(float("nan"), "no")
    return Outcome(float(edges[np.abs(edges - max_skip).argmax()]), yes((edges == max_skip).all()))


def _beside_direct(outcomes: Sequence[Outcome], rows: pd.DataFrame) -> Verdict:
    """What E U gives alone, and r, which is free of scale and so no part of the claim."""
    alone, r = (_last_of_all(rows, "direct", metric) for metric in ("kl", "r_self"))
    parts = [f"E U alone {_spread_of(alone)} nats"] if len(alone) else []
    if len(r):
        parts.append(f"r {_spread_of(r)} over {r['n'].iloc[0]} cells, centred by name")
    return _each_seed(outcomes, rows)._replace(note="; ".join(parts))


def _some_pair(rows: pd.DataFrame) -> Outcome | None:
    """The most hits of any pair. The claim cannot be told with so few objects that every order of
    them would do."""
    most, null = (_last(rows, "induction", metric) for metric in ("most_hits", "most_hits_p"))
    if most.empty:
        return None
    hits, p, orders = float(most["value"].iloc[0]), null["value"].iloc[0], null["n"].iloc[0]
    if hits < most["n"].iloc[0]:
        return Outcome(hits, "no")
    return Outcome(hits, UNKNOWN if 1 / orders >= ALPHA else yes(p < ALPHA))


def _beside_pairs(outcomes: Sequence[Outcome], rows: pd.DataFrame) -> Verdict:
    """The pair with the largest contrast, and the null of the maximum: the largest p of a seed."""
    by_contrast, null = (
        _last_of_all(rows, "induction", metric) for metric in ("hits", "most_hits_p")
    )
    p = float(null["value"].max())
    note = f"p of the maximum over pairs at most {p:.2g} ({null['n'].max()} orders of the objects)"
    if len(by_contrast):
        note = f"by the pair with the largest contrast {_spread_of(by_contrast)}; {note}"
    return _each_seed(outcomes, rows)._replace(note=note, p=p)


def _last_of_all(rows: pd.DataFrame, readout: str, metric: str) -> pd.DataFrame:
    """`_last` of every run."""
    return pd.concat([_last(of_run, readout, metric) for _, of_run in rows.groupby("seed")])


def _spread_of(rows: pd.DataFrame) -> str:
    return _spread(numbers(rows["value"]).tolist())[0]


# --- ranks of heads ------------------------------------------------------------------------------


def _named_among_others(chosen_by: str, n_heads: int) -> OfSeed:
    def of_seed(rows: pd.DataFrame) -> Outcome | None:
        return _of_rank(rank_of_named(select(rows, metric="change"), chosen_by, n_heads))

    return of_seed


def _of_rank(rank: Rank | None) -> Outcome | None:
    return None if rank is None else Outcome(rank.change, yes(rank.hits == 0), rank)


def _by_ranks(outcomes: Sequence[Outcome], rows: pd.DataFrame) -> Verdict:
    """One test over the seeds: `p_over_runs`."""
    ranks = [outcome.rank for outcome in outcomes if outcome.rank is not None]
    p, least = p_over_runs(ranks)
    first = sum(rank.hits == 0 for rank in ranks)
    drawn, possible = (
        _range([getattr(rank, name) for rank in ranks]) for name in ("others", "possible")
    )
    among = (
        f"all {drawn}" if all(r.others == r.possible for r in ranks) else f"{drawn} of {possible}"
    )
    note = f"above {among} others on {first} of {len(ranks)} seeds; p = {p:.2g} over seeds"
    alone = min(1 / (1 + rank.others) for rank in ranks)
    note += f", where the least possible is {least:.2g} (of one seed {alone:.2g})"
    return Verdict(UNKNOWN if least >= ALPHA else yes(p < ALPHA), note, p)


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low}" if low == high else f"{low} to {high}"


# --- the experiments -----------------------------------------------------------------------------


def _farthest(*, within: bool) -> OfSeed:
    """The largest deviation of p_top from the program's, over the distances at which `never` acts
    in the program, or over those at which it does not."""

    def of_seed(rows: pd.DataFrame) -> Outcome | None:
        at = _distances(rows, within=within)
        off = (at["value"] - at["truth"]).abs()
        return None if off.empty else _judge(off.max(), operator.le, NEAR)

    return of_seed


def _distances(rows: pd.DataFrame, *, within: bool) -> pd.DataFrame:
    """The rows of one run with `never`, by distance."""
    p_top = select(rows, experiment="suppression", metric="p_top")
    with_never, without = (
        select(p_top, case=case).set_index("x") for case in ("with never", "without never")
    )
    acts = with_never["truth"] != without["truth"].reindex(with_never.index)
    return with_never[acts == within]


def _beside_distances(outcomes: Sequence[Outcome], rows: pd.DataFrame, *, within: bool) -> Verdict:
    """How few prefixes the probability at a distance rests on."""
    runs = [_distances(of_run, within=within) for _, of_run in rows.groupby("seed")]
    counts = pd.concat(runs)["n"].astype(int).tolist()
    return _each_seed(outcomes, rows)._replace(note=f"{_range(counts)} pairs at a distance")


def _named_suppression(rows: pd.DataFrame) -> Outcome | None:
    """The change of the drop by the named head, and how negative it is among those by all heads."""
    changes = select(rows, experiment="suppression", metric="change")
    is_named = changes["case"].str.startswith("named ")
    if not is_named.any():
        return None
    named = changes[is_named].iloc[0]
    others = changes[~is_named & (changes["case"] != named["case"].removeprefix("named "))]
    if others.empty:
        return None
    hits, n = int((others["value"] <= named["value"]).sum()), len(others)
    return _of_rank(Rank(float(named["value"]), hits, n, n))


def _suppression_order(rows: pd.DataFrame) -> Outcome | None:
    """Spearman's rank correlation over heads. Its least p is that of one order of two."""
    heads = select(rows, experiment="suppression")
    heads = heads[~heads["case"].str.startswith("named ")]
    by_weights, change = (
        select(heads, metric=metric).set_index("case")["value"]
        for metric in ("by_weights", "change")
    )
    if len(by_weights) < 3 or by_weights.nunique() < 2 or change.nunique() < 2:
        return None
    found = spearmanr(by_weights, -change[by_weights.index])
    if 2 / math.factorial(len(by_weights)) >= ALPHA:
        return Outcome(float(found.statistic), UNKNOWN)
    return Outcome(float(found.statistic), yes(found.statistic > 0 and found.pvalue < ALPHA))


def _error(rows: pd.DataFrame, case: str, metric: str, x: float) -> pd.DataFrame:
    return select(rows, experiment="error_correction", case=case, metric=metric, x=x)


def _repaired(rows: pd.DataFrame) -> Outcome | None:
    """The largest repair. The claim holds if the whole interval of some head is above 0."""
    repair = select(rows, experiment="error_correction", metric="repair")
    if repair.empty:
        return None
    return Outcome(float(repair["value"].max()), yes((repair["ci_low"] > 0).any()))


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
    return Outcome(float(when["induction"] / when["bigram"]), yes(first and last))


def _weights_beside_behaviour(rows: pd.DataFrame) -> Outcome | None:
    weights, behaviour = (
        _onset_of(rows, kind).get("induction", np.nan) for kind in (WEIGHTS, BEHAVIOUR)
    )
    if np.isnan(weights + behaviour) or np.isinf([weights, behaviour]).all():
        return None
    ratio = float(weights / behaviour)
    return Outcome(ratio, yes(0.5 <= ratio <= 2))


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
    return [summary_row(condition, "onset_order", text, measured, "described", n=n)]
