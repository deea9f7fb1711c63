"""Does the behaviour need the heads that have the pattern? Score against ablation, head by head."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.heads.figures.lookups import asked, naming_rows, word_of
from zscope.studies.heads.head_sets import heads_of
from zscope.studies.heads.tables import ABLATIONS, ALL_MODELS, SCORES, VERDICTS

NEEDS = (SCORES, ABLATIONS, VERDICTS)
OF_A_SUBJECT = True
COLUMNS = 3
# What a head was ablated for, from what is drawn first to what is drawn last.
CHOSEN = {
    "layer": ("early layer", style.SKY),
    "screen": ("first of the screen", style.ORANGE),
    "random": ("random, same layers", style.GREY),
    "named": ("named", style.VERMILLION),
}


@style.styled
def draw(tables: Tables) -> Figure:
    subject = str(tables.declared["subject"])
    scores, verdicts = tables.get(SCORES), tables.get(VERDICTS)
    ablations = tables.get(ABLATIONS, kind="mean")
    behaviours = {d: _behaviour(verdicts, subject, d) for d in asked(scores)}
    points = {
        d: _points(scores, select(ablations, behaviour=b), d) for d, b in behaviours.items() if b
    }
    points = {d: found for d, found in points.items() if not found.empty}
    if not points:
        return style.nothing_to_draw(f"no head of {subject} was ablated for a detector")
    n_rows = math.ceil(len(points) / COLUMNS)
    fig = style.figure(style.DOUBLE, 1.75 * n_rows + 1.0)
    axes = fig.subplots(n_rows, COLUMNS, squeeze=False)
    for ax, (detector, found) in zip(axes.flat, points.items(), strict=False):
        style.panel_title(ax, f"{detector}: {word_of(verdicts, subject, detector)}")
        _panel(ax, found, str(behaviours[detector]))
    for ax in list(axes.flat)[len(points) :]:
        ax.set_axis_off()
    style.legend(fig, {}, extra=[style.dot(name, colour) for name, colour in CHOSEN.values()])
    style.note(
        fig,
        f"{scores['model'].nunique()} model(s) of {subject}; a point is a head of one, its output "
        f"at its mean. Lines: {tables.percent} intervals over sequences, of the effect.",
    )
    return fig


def _behaviour(verdicts: pd.DataFrame, subject: str, detector: str) -> str | None:
    """The behaviour that a detector's heads should be needed for."""
    rows = select(verdicts, subject=subject, detector=detector)
    known = rows.loc[(rows["model"] != ALL_MODELS) & rows["behaviour"].notna(), "behaviour"]
    return None if known.empty else str(known.iloc[0])


def _points(scores: pd.DataFrame, ablations: pd.DataFrame, detector: str) -> pd.DataFrame:
    """Single heads that were ablated, with their score: one row per head of a model.

    chosen_by: of several reasons the last of CHOSEN; named only if this detector names it.
    """
    single = ablations[ablations["chosen_by"].isin(CHOSEN)]
    own = (single["chosen_by"] != "named") | (single["detector"] == detector)
    found = []
    for model, rows in single[own].groupby("model", sort=False):
        naming = naming_rows(scores, str(model), detector)
        value = naming.set_index(["layer", "head"])["value"]
        places = [heads_of(heads)[0] for heads in rows["heads"]]
        found.append(rows.assign(score=[value.get(place, float("nan")) for place in places]))
    if not found:
        return single.assign(score=[])
    order = {by: i for i, by in enumerate(CHOSEN)}
    every = pd.concat(found).sort_values("chosen_by", key=lambda c: c.map(order), kind="stable")
    every = every[pd.notna(every["score"])]
    return every.drop_duplicates(["model", "heads"], keep="last")


def _panel(ax: Axes, found: pd.DataFrame, behaviour: str) -> None:
    ax.axhline(0, **style.DASHED)
    ax.axvline(0, **style.DASHED)
    for by, (_, colour) in CHOSEN.items():
        rows = select(found, chosen_by=by)
        x, y = numbers(rows["score"]), numbers(rows["value"])
        ax.vlines(x, numbers(rows["ci_low"]), numbers(rows["ci_high"]), color=colour, linewidth=0.6)
        ax.scatter(x, y, s=9, color=colour, linewidths=0, zorder=3, label=f"_heads {by}")
    ax.set_xlabel("score")
    ax.set_ylabel(f"effect on {behaviour}\n(nats)")
    ax.margins(0.08)
