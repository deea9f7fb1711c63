"""What is said of each detector on each subject: the word, a mark per model, the effect."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from zscope.figures import style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.heads.tables import (
    ALL_MODELS,
    EFFECT_ONLY,
    NONE,
    PATTERN_ONLY,
    SKIPPED,
    SUMMARY,
    YES,
)
from zscope.verdicts import UNKNOWN

NEEDS = (SUMMARY,)
# Shape and filling tell the words apart without their colours.
MARKS: dict[str, dict[str, Any]] = {
    YES: {"color": style.GREEN, "marker": "o"},
    PATTERN_ONLY: {"color": style.ORANGE, "marker": "o", "fillstyle": "left"},
    EFFECT_ONLY: {"color": style.BLUE, "marker": "o", "fillstyle": "right"},
    NONE: {"color": style.VERMILLION, "marker": "o", "fillstyle": "none"},
    UNKNOWN: {"color": style.GREY, "marker": "s", "markerfacecolor": "#D9D9D9"},
    SKIPPED: {"color": style.GREY, "marker": "x"},
}
WIDTH = 14  # of a word, in letters
LINES = 5.4  # of a cell: the marks, a word on two lines, the effect and that on the control
SMALLEST = 0.005  # an effect that is rounded to nothing


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get(SUMMARY)
    if rows.empty:
        return style.nothing_to_draw("no heads were asked")
    subjects, detectors = list(rows["subject"].unique()), list(rows["detector"].unique())
    height = 0.125 * LINES * len(detectors) + 1.2
    fig = style.figure(style.DOUBLE, height)
    ax = fig.subplots()
    ax.set_xlim(-0.5, len(subjects) - 0.5)
    ax.set_ylim(len(detectors) - 0.5, -0.5)
    names = [textwrap.fill(s.replace("/", "/ "), WIDTH).replace("/ ", "/") for s in subjects]
    ax.set_xticks(range(len(subjects)), names)
    ax.set_yticks(range(len(detectors)), detectors)
    ax.set_xlabel("subject")
    ax.set_ylabel("detector")
    ax.xaxis.set_label_position("top")
    ax.tick_params(top=False, bottom=False, left=False, labeltop=True, labelbottom=False)
    ax.spines[:].set_visible(False)
    for line in range(len(detectors) + 1):
        ax.axhline(line - 0.5, color="#D9D9D9", linewidth=0.5)
    for x, subject in enumerate(subjects):
        for y, detector in enumerate(detectors):
            _cell(ax, x, y, select(rows, subject=subject, detector=detector))
    marks = [Line2D([], [], linestyle="", label=word, **look) for word, look in MARKS.items()]
    style.legend(fig, {}, extra=marks)
    style.note(
        fig,
        "A mark is one model; the word is the verdict over all models of the subject. "
        "Below it, in nats, what ablating the named heads costs their behaviour and the control: "
        f"of one model with its {tables.percent} interval over sequences, of several from the "
        "least to the largest.",
    )
    return fig


def _cell(ax: Axes, x: int, y: int, rows: pd.DataFrame) -> None:
    if rows.empty:
        return
    models, whole = rows[rows["model"] != ALL_MODELS], select(rows, model=ALL_MODELS)
    step = min(0.08, 0.8 / len(models))
    first = x - step * (len(models) - 1) / 2
    for i, word in enumerate(models["verdict"]):
        ax.plot(
            first + i * step,
            y - 0.37,
            linestyle="",
            markersize=4.5,
            markeredgewidth=0.8,
            label=f"_verdict {word}",
            **MARKS[str(word)],
        )
    word = textwrap.fill(str(whole["verdict"].iloc[0]), WIDTH)
    ax.text(x, y - 0.27, word, ha="center", va="top", linespacing=1.0)
    if effect := _effect(models):
        ax.text(x, y + 0.46, effect, ha="center", va="bottom", color=style.GREY, linespacing=1.0)


def _effect(models: pd.DataFrame) -> str:
    """The effect and that on the control, of the models that name heads: of one with its interval,
    of several from the least to the largest."""
    named = models[models["value"].notna()]
    if named.empty:
        return ""
    value, control = numbers(named["value"]), numbers(named["control"])
    if len(named) == 1:
        low, high = (float(numbers(named[c])[0]) for c in ("ci_low", "ci_high"))
        first = f"{_nats(value[0])} [{_nats(low)}, {_nats(high)}]"
    else:
        first = _range(value)
    return f"{first}\ncontrol {_range(control)}"


def _range(values: np.ndarray) -> str:
    least, most = _nats(values.min()), _nats(values.max())
    return least if least == most else f"{least} to {most}"


def _nats(value: float) -> str:
    text = f"{0.0 if abs(value) < SMALLEST else value:.2f}"
    return text.replace("-", "\u2212")
