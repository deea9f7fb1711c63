"""When heads get their pattern, when the behaviour needs them, and when it is there."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import marks, style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.heads.tables import (
    BEHAVIOUR_THERE,
    CHECKPOINTS,
    EFFECT,
    EXCESS,
    NAMED,
    ONSET_MEDIANS,
    ONSETS,
    OTHER,
    PATTERN,
    RANDOM_SET,
    SCORE,
    SET,
)

NEEDS = (CHECKPOINTS, ONSETS, ONSET_MEDIANS)
OF_A_SUBJECT = True
SOURCES = ("toylang", "lag")
COLOURS = {PATTERN: style.BLUE, EFFECT: style.VERMILLION, BEHAVIOUR_THERE: style.BLACK}
OTHERS = "#A0A0A0"
# Of each quantity: its metric, whose curve it is, whose stand beside, and the label of the axis.
CURVES = {
    PATTERN: (SCORE, NAMED, OTHER, "score"),
    EFFECT: (EFFECT, SET, RANDOM_SET, "effect (nats)"),
    BEHAVIOUR_THERE: (EXCESS, None, None, "excess (nats)"),
}


@style.styled
def draw(tables: Tables) -> Figure:
    subject = str(tables.declared["subject"])
    rows, onsets = tables.get(CHECKPOINTS), tables.get(ONSETS)
    detectors = list(rows.loc[rows["chosen_by"] == NAMED, "detector"].unique())
    if not detectors:
        return style.nothing_to_draw(f"no head of {subject} is named at the last step")
    fig = style.figure(style.DOUBLE, 1.35 * len(detectors) + 1.1)
    axes = fig.subplots(len(detectors), 4, squeeze=False, sharex=True)
    for row, detector in zip(axes, detectors, strict=True):
        style.panel_title(row[0], detector)
        for ax, quantity in zip(row, CURVES, strict=False):
            _curves(ax, select(rows, detector=detector), quantity)
            _ticks_at_top(ax, select(onsets, detector=detector, quantity=quantity), quantity)
        medians = select(tables.get(ONSET_MEDIANS), detector=detector)
        _onsets(row[3], select(onsets, detector=detector), medians)
    for ax in axes.flat:
        style.step_axis(ax, rows["step"], "")
    for ax in axes[-1]:
        ax.set_xlabel("optimizer steps")
    style.legend(
        fig,
        COLOURS,
        extra=[
            style.line("heads that are not named", OTHERS),
            style.dot("onset in a model"),
            style.arrow("censored", ">"),
        ],
    )
    n = rows["model"].nunique()
    style.note(
        fig,
        f"{n} model(s) of {subject}. Thin: a named head (score), the named heads of a model "
        "together (effect), a model (excess), with intervals over sequences; thick: median over 3 "
        "or more. "
        "Grey: other heads of the same layers, and random sets of as many.",
        f"Bars: Kaplan-Meier median over models with its {tables.percent} interval.",
    )
    return fig


def _curves(ax: Axes, rows: pd.DataFrame, quantity: str) -> None:
    metric, by, beside, label = CURVES[quantity]
    ax.set_ylabel(label)
    of_metric = select(rows, metric=metric)
    if beside is not None:
        ax.axhline(0, **style.DASHED)
        others = select(of_metric, chosen_by=beside).sort_values("step")
        for _, one in others.groupby(["model", "heads", "like"]):
            steps, values = one["step"].to_numpy(int), numbers(one["value"])
            ax.plot(steps, values, color=OTHERS, linewidth=0.5, zorder=1, label="_model beside")
    own = of_metric if by is None else select(of_metric, chosen_by=by)
    if own.empty:
        style.not_applicable(ax, "the least harm is not known")
        return
    curves = own.assign(run=own["model"].astype(str) + " " + own["heads"].astype(str))
    marks.seed_lines(ax, curves, COLOURS[quantity])
    ax.margins(y=0.12)
    style.at_least(ax, 0, 0.02)


def _ticks_at_top(ax: Axes, onsets: pd.DataFrame, quantity: str) -> None:
    """The onset of every model, as a short tick at the upper edge."""
    for step in numbers(onsets["onset"].dropna()):
        ax.axvline(step, 0.93, 1, color=COLOURS[quantity], linewidth=1.0, label="_onset")


def _onsets(ax: Axes, onsets: pd.DataFrame, medians: pd.DataFrame) -> None:
    """Time on x; pattern, effect and behaviour below each other."""
    for place, (quantity, colour) in enumerate(COLOURS.items()):
        of = select(onsets, quantity=quantity).sort_values("model")
        if of.empty:
            continue
        last = numbers(of["last_step"])
        y = place + marks.spread(len(of), 0.5)
        times = numbers(of["onset"])
        marks.onset_dots(ax, y, times, last, colour, name=quantity, horizontal=True)
        middle = select(medians, quantity=quantity)
        if len(middle):
            median, low, high = (
                float(numbers(middle[c])[0]) for c in ("median", "ci_low", "ci_high")
            )
            marks.median_mark(
                ax, place - 0.36, place + 0.36, median, low, high, last.max(), colour,
                horizontal=True,
            )  # fmt: skip
    ax.set_ylim(2.6, -0.6)
    ax.set_yticks(range(3), list(COLOURS))
    ax.set_ylabel("onset of")
