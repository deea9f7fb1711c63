"""The claims of the toy language study, with what was measured and whether it held. No torch.

A claim about runs is tested in every seed by itself; it holds if it does in all. A claim about two
conditions is that of toylang_comparisons, with its verdict. Thresholds stand in the claims' texts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from zscope.studies.toylang.config import REFERENCE, ToylangConfig
from zscope.studies.toylang.onsets import BEHAVIOUR, WEIGHTS, ordered
from zscope.studies.toylang.targets import DIRECT_R, EXACT_PATCHING, EXCESS, EXCESS_OF_ALL, FIRST

Row = dict[str, Any]
NEAR = 0.05  # share: a probability is as the program's
# The primitive that each set of named heads is for.
NAMED_FOR = {"induction": "induction", "rules": "skip", "suppression": "suppress"}


@dataclass(frozen=True)
class Outcome:
    """What one seed says: a number, and whether the claim holds."""

    value: float
    holds: bool


@dataclass(frozen=True)
class Claim:
    """A claim about runs.

    Attributes:
        table: that it needs.
        of_seed: of that table's rows of one run what it says; None if it says nothing.
    """

    text: str
    table: str
    of_seed: Callable[[pd.DataFrame], Outcome | None]


def summary_rows(tables: Mapping[str, pd.DataFrame], config: ToylangConfig) -> list[Row]:
    """Rows of toylang_summary.

    tables: by name, of all conditions: toylang_training, _readouts, _ablations, _degrees,
    _phenomena, _onsets, _onset_summary and _comparisons. The claims of one that is not given, or
    that has no rows of a condition, are left out.
    """
    found = []
    for condition in (REFERENCE, *config.models):
        language = config.conditions[condition].language
        claims = _claims(language.skip.max_skip)
        found += [row for claim in claims for row in _tested(claim, condition, tables)]
        found += _order(condition, tables)
    return [*found, *_compared(tables)]


# --- claims about runs ---------------------------------------------------------------------------


def _claims(max_skip: int) -> list[Claim]:
    """Those of a language whose skip rules reach `max_skip` tokens."""
    return [
        Claim(
            f"the excess over the floor is at most {EXCESS_OF_ALL} nats",
            "toylang_training",
            lambda rows: _at_most(_last_excess(rows).get("all"), EXCESS_OF_ALL),
        ),
        Claim(
            f"the excess is at most {EXCESS} nats on every primitive",
            "toylang_training",
            lambda rows: _at_most(_last_excess(rows).max(), EXCESS),
        ),
        Claim(
            f"names x verbs in the weights have r of at least {DIRECT_R} with the truth",
            "toylang_readouts",
            lambda rows: _at_least(_last(rows, "direct", "r"), DIRECT_R),
        ),
        Claim(
            "the weights' top verb is right for every name",
            "toylang_readouts",
            lambda rows: _all_of(_last(rows, "direct", "top1")),
        ),
        *(
            claim
            for by, suffix in (("one head", ""), ("all paths over two tokens", "_all_paths"))
            for claim in (
                Claim(
                    f"every skip rule is among the first {FIRST} of all triples, by {by}",
                    "toylang_readouts",
                    _worst_rank(f"rank{suffix}"),
                ),
                Claim(
                    f"each of the first {FIRST} triples that can occur is true (P@{FIRST} = 1), "
                    f"by {by}",
                    "toylang_readouts",
                    _all_true(f"precision_at_{FIRST}{suffix}"),
                ),
            )
        ),
        Claim(
            f"the window of every rule ends at max_skip, {max_skip} tokens",
            "toylang_readouts",
            lambda rows: _edges(_last(rows, "window", "edge"), max_skip),
        ),
        Claim(
            "one pair of heads matches every object to itself (induction)",
            "toylang_readouts",
            lambda rows: _all_of(_last(rows, "induction", "hits")),
        ),
        Claim(
            "in the weights `never` puts the top verb below the others for every name",
            "toylang_readouts",
            lambda rows: _all_of(_last(rows, "suppression", "below")),
        ),
        *(
            Claim(
                f"to ablate the heads named for {chosen_by} raises the excess of {primitive} more "
                "than any random set of as many heads of the same layers",
                "toylang_ablations",
                _named_beats_random(chosen_by, primitive),
            )
            for chosen_by, primitive in NAMED_FOR.items()
        ),
        Claim(
            f"exact patching is at most {EXACT_PATCHING:g} nats from running the patched model",
            "toylang_degrees",
            lambda rows: _at_most(rows["error"].max(), EXACT_PATCHING),
        ),
        *_phenomena(),
        Claim(
            "bigram sets in first, induction last",
            "toylang_onsets",
            _first_and_last,
        ),
        Claim(
            "induction is in the weights when its excess falls (within one doubling of the step)",
            "toylang_onsets",
            _weights_beside_behaviour,
        ),
    ]


def _phenomena() -> list[Claim]:
    """Claims about the three experiments (zscope.studies.toylang.phenomena.experiments defines cases and metrics)."""

    def claim(text: str, of_seed: Callable[[pd.DataFrame], Outcome | None]) -> Claim:
        return Claim(text, "toylang_phenomena", of_seed)

    return [
        claim(
            f"after `never` the top verb is as likely as it should be (within {NEAR}) at every "
            "distance in its window",
            lambda rows: _farthest(rows, within=True),
        ),
        claim(
            f"after `never` the top verb is as likely as it should be (within {NEAR}) at every "
            "distance beyond its window",
            lambda rows: _farthest(rows, within=False),
        ),
        claim(
            "the head that the weights name for suppression carries more of it than any other",
            _named_suppression,
        ),
        claim(
            "the weights order heads by what their ablation takes from suppression (rank "
            "correlation above 0, p < .05)",
            _suppression_order,
        ),
        claim(
            f"one wrong repeat lowers the first colour by at most {NEAR}",
            lambda rows: _at_most(
                _of(rows, "error_correction", "third occurrence", "fall", 1)["value"], NEAR
            ),
        ),
        claim(
            "the first colour stays above a wrong one that was said twice, in most prefixes",
            lambda rows: _above(
                _of(rows, "error_correction", "fourth occurrence", "corrects", 2), 0.5
            ),
        ),
        claim("later heads make up for the loss of some head of layer 0", _repaired),
        claim("one path from layer 0 serves two primitives or more", _reused),
    ]


def _tested(claim: Claim, condition: str, tables: Mapping[str, pd.DataFrame]) -> list[Row]:
    """No row if nothing was measured."""
    if claim.table not in tables:
        return []
    rows = tables[claim.table]
    said = [
        claim.of_seed(of_run) for _, of_run in rows[rows["condition"] == condition].groupby("seed")
    ]
    outcomes = [outcome for outcome in said if outcome is not None]
    if not outcomes:
        return []
    held = sum(outcome.holds for outcome in outcomes)
    values = [outcome.value for outcome in outcomes]
    return [
        {
            "condition": condition,
            "claim": claim.text,
            "measured": _spread(values),
            "holds": _grade(held, len(outcomes)),
            "n": len(outcomes),
        }
    ]


def _grade(held: int, n: int) -> str:
    if held in (0, n):
        return "yes" if held else "no"
    return f"partly: {held} of {n} seeds"


def _spread(values: list[float]) -> str:
    known = [value for value in values if np.isfinite(value)]
    if not known:
        return "undefined"
    if len(values) == 1:
        return f"{known[0]:.3g}"
    text = f"median {np.median(known):.3g} ({min(known):.3g} to {max(known):.3g})"
    missing = len(values) - len(known)
    return text + (f", undefined in {missing}" if missing else "")


def _number(value: Any) -> float | None:
    """The one value of a selection; None if there is none, NaN if it is null."""
    if isinstance(value, pd.DataFrame):
        value = value["value"]
    if isinstance(value, pd.Series):
        if value.empty:
            return None
        (value,) = value
    return None if value is None else float("nan") if pd.isna(value) else float(value)


def _at_most(value: Any, bound: float) -> Outcome | None:
    number = _number(value)
    return None if number is None else Outcome(number, number <= bound)


def _at_least(value: Any, bound: float) -> Outcome | None:
    number = _number(value)
    return None if number is None else Outcome(number, number >= bound)


def _above(value: Any, bound: float) -> Outcome | None:
    number = _number(value)
    return None if number is None else Outcome(number, number > bound)


def _all_of(rows: pd.DataFrame) -> Outcome | None:
    number = _number(rows)
    return None if number is None else Outcome(number, number == rows["n"].iloc[0])


def _farthest(rows: pd.DataFrame, *, within: bool) -> Outcome | None:
    """The largest deviation of p_top from the program's, over the distances at which `never` acts
    in the program, or those at which it does not."""
    p_top = rows[(rows["experiment"] == "suppression") & (rows["metric"] == "p_top")]
    with_never, without = (
        p_top[p_top["case"] == case].set_index("x") for case in ("with never", "without never")
    )
    acts = with_never["truth"] != without["truth"].reindex(with_never.index)
    off = (with_never["value"] - with_never["truth"]).abs()[acts == within]
    return None if off.empty else _at_most(off.max(), NEAR)


def _worst(rows: pd.DataFrame) -> float | None:
    return None if rows.empty else float(rows["value"].max(skipna=False))


def _edges(rows: pd.DataFrame, max_skip: int) -> Outcome | None:
    """The value is the edge that is farthest from max_skip."""
    if rows.empty:
        return None
    edges = rows["value"].to_numpy(dtype=float)
    if np.isnan(edges).any():
        return Outcome(float("nan"), False)
    return Outcome(float(edges[np.abs(edges - max_skip).argmax()]), bool((edges == max_skip).all()))


def _last_excess(rows: pd.DataFrame) -> pd.Series:
    """By primitive, at the last evaluation of a run."""
    rows = rows[(rows["metric"] == "excess") & (rows["split"] == "held_out")]
    return rows[rows["step"] == rows["step"].max()].set_index("primitive")["value"]


def _last(rows: pd.DataFrame, readout: str, metric: str) -> pd.DataFrame:
    """Rows of a readout at the last checkpoint; of the two that some have, the one for all."""
    rows = rows[
        (rows["readout"] == readout)
        & (rows["metric"] == metric)
        & (rows["step"] == rows["step"].max())
    ]
    whole = rows[rows["item"] == "all"]
    return rows if whole.empty else whole


def _of(
    rows: pd.DataFrame, experiment: str, case: str, metric: str, x: float | None = None
) -> pd.DataFrame:
    at = rows["x"].isna() if x is None else rows["x"] == x
    return rows[
        (rows["experiment"] == experiment)
        & (rows["case"] == case)
        & (rows["metric"] == metric)
        & at
    ]


def _worst_rank(metric: str) -> Callable[[pd.DataFrame], Outcome | None]:
    return lambda rows: _at_most(_worst(_last(rows, "rules", metric)), FIRST)


def _all_true(metric: str) -> Callable[[pd.DataFrame], Outcome | None]:
    return lambda rows: _at_least(_last(rows, "rules", metric), 1)


def _named_beats_random(chosen_by: str, primitive: str) -> Callable[[pd.DataFrame], Outcome | None]:
    def of_seed(rows: pd.DataFrame) -> Outcome | None:
        rows = rows[(rows["metric"] == "change") & (rows["primitive"] == primitive)]
        named = rows[rows["chosen_by"] == chosen_by]
        if named.empty:
            return None
        heads = str(named["heads"].iloc[0])
        random = rows[rows["chosen_by"].str.startswith("random") & (rows["heads"] != heads)]
        random = random[random["heads"].map(_layers) == _layers(heads)]
        if random.empty:
            return None
        rise = float(named["value"].iloc[0])
        return Outcome(rise, bool((random["value"] < rise).all()))

    return of_seed


def _layers(heads: str) -> Counter[str]:
    """How many heads of each layer: "L0H3+L1H1" has one of 0 and one of 1."""
    return Counter(re.findall(r"L(\d+)H\d+", heads))


def _named_suppression(rows: pd.DataFrame) -> Outcome | None:
    """The change of the drop by the named head, more negative than by any other."""
    changes = rows[(rows["experiment"] == "suppression") & (rows["metric"] == "change")]
    is_named = changes["case"].str.startswith("named ")
    if not is_named.any():
        return None
    named = changes[is_named].iloc[0]
    others = changes[~is_named & (changes["case"] != named["case"].removeprefix("named "))]
    return Outcome(float(named["value"]), bool((others["value"] > named["value"]).all()))


def _suppression_order(rows: pd.DataFrame) -> Outcome | None:
    """Spearman's rank correlation over heads; the value is rho."""
    heads = rows[(rows["experiment"] == "suppression") & ~rows["case"].str.startswith("named ")]
    by_weights, change = (
        heads[heads["metric"] == metric].set_index("case")["value"]
        for metric in ("by_weights", "change")
    )
    if len(by_weights) < 3 or by_weights.nunique() < 2 or change.nunique() < 2:
        return None
    found = spearmanr(by_weights, -change[by_weights.index])
    return Outcome(float(found.statistic), bool(found.statistic > 0 and found.pvalue < 0.05))


def _repaired(rows: pd.DataFrame) -> Outcome | None:
    """The largest repair, in nats; its whole interval must be above 0."""
    repair = rows[(rows["experiment"] == "error_correction") & (rows["metric"] == "repair")]
    if repair.empty:
        return None
    return Outcome(float(repair["value"].max()), bool((repair["ci_low"] > 0).any()))


def _reused(rows: pd.DataFrame) -> Outcome | None:
    """The largest number of primitives that a path serves."""
    served = rows[(rows["experiment"] == "reuse") & (rows["metric"] == "n_primitives")]
    if served.empty:
        return None
    most = float(served["value"].max())
    return Outcome(most, most >= 2)


# --- onsets --------------------------------------------------------------------------------------


def _onset_of(rows: pd.DataFrame, kind: str) -> pd.Series:
    """By primitive; infinite where it never set in."""
    of_kind = rows[(rows["kind"] == kind) & (rows["primitive"] != "all")]
    return of_kind.set_index("primitive")["onset"].astype(float).fillna(np.inf)


def _first_and_last(rows: pd.DataFrame) -> Outcome | None:
    """The value is induction's onset over bigram's."""
    when = _onset_of(rows, BEHAVIOUR)
    if not {"bigram", "induction"} <= {*when.index} or np.isinf(when["bigram"]):
        return None
    others = when.drop(["bigram", "induction"])
    first = bool((others >= when["bigram"]).all())
    last = bool((others <= when["induction"]).all() and when["induction"] > when["bigram"])
    return Outcome(float(when["induction"] / when["bigram"]), first and last)


def _weights_beside_behaviour(rows: pd.DataFrame) -> Outcome | None:
    """The value is the onset in the weights over that in behaviour."""
    weights, behaviour = (
        _onset_of(rows, kind).get("induction", np.nan) for kind in (WEIGHTS, BEHAVIOUR)
    )
    if np.isnan(weights + behaviour) or np.isinf([weights, behaviour]).all():
        return None
    ratio = float(weights / behaviour)
    return Outcome(ratio, 0.5 <= ratio <= 2)


def _order(condition: str, tables: Mapping[str, pd.DataFrame]) -> list[Row]:
    """What the order of the medians is: a finding, and so without a verdict of its own."""
    summary = tables.get("toylang_onset_summary")
    if summary is None:
        return []
    rows = summary[
        (summary["condition"] == condition)
        & (summary["kind"] == BEHAVIOUR)
        & (summary["primitive"] != "all")
    ]
    if rows.empty:
        return []
    median = rows.set_index("primitive")["median"]
    parts = [
        f"{name} {median[name]:.0f}" if pd.notna(median[name]) else f"{name} never"
        for name in ordered(rows)
    ]
    return [
        {
            "condition": condition,
            "claim": "order of onset in behaviour (median step over seeds)",
            "measured": ", ".join(parts),
            "holds": "described",
            "n": int(rows["n"].max()),
        }
    ]


# --- claims about two conditions -----------------------------------------------------------------


def _compared(tables: Mapping[str, pd.DataFrame]) -> list[Row]:
    comparisons = tables.get("toylang_comparisons")
    if comparisons is None:
        return []
    found = []
    for condition, rows in comparisons.groupby("condition", sort=False):
        how = rows["how"].iloc[0]
        if how == "model":
            found += _model_claim(str(condition), rows)
        else:
            found.append(_dependency_claim(str(condition), rows))
    return found


def _model_claim(condition: str, rows: pd.DataFrame) -> list[Row]:
    induction = rows[rows["primitive"] == "induction"]
    if induction.empty:
        return []
    row = induction.iloc[0]
    holds = {
        "later": "yes",
        "never": "yes",
        "earlier": "no",
        "all later": f"unclear: later in all seeds, too few for a test (p = {row['p']:.2g})",
        "all earlier": f"unclear: earlier in all seeds, too few for a test (p = {row['p']:.2g})",
    }.get(row["verdict"], "unclear")
    return [
        {
            "condition": condition,
            "claim": f"{row['reference']} learns induction earlier than {condition}",
            "measured": _shift(row),
            "holds": holds,
            "n": int(row["n"]),
        }
    ]


def _shift(row: pd.Series) -> str:
    if pd.isna(row["shift"]):
        return f"{row['primitive']}: {row['verdict']} (censored in {row['n_censored']})"
    ends = [row["ci_low"], row["ci_high"]]
    text = f"{row['primitive']} {row['shift']:+.2f} doublings"
    if any(pd.notna(end) for end in ends):
        low, high = ("beyond" if pd.isna(end) else f"{end:+.2f}" for end in ends)
        text += f" ({low} to {high})"
    return text


def _dependency_claim(condition: str, rows: pd.DataFrame) -> Row:
    """Whether any other onset moves when one primitive is removed or delayed."""
    changed, how = rows["changed"].iloc[0], rows["how"].iloc[0]
    others = rows[rows["primitive"] != "all"]  # the changed one has a verdict of its own
    firm = others[others["verdict"].isin(["later", "earlier", "never"])]
    hints = others[others["verdict"].isin(["all later", "all earlier"])]
    parts = [f"{row['verdict']}: {_shift(row)}" for _, row in pd.concat([firm, hints]).iterrows()]
    return {
        "condition": condition,
        "claim": f"other onsets move when {changed} is {how}",
        "measured": "; ".join(parts) or "none in one direction in all seeds",
        "holds": "yes" if len(firm) else "unclear",
        "n": int(rows["n"].max()),
    }
