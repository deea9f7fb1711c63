"""Is a feature split over several latents, or not there? F1 against the latents that are read."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.components.dictionaries.tables import DICTIONARIES_FEATURES
from zscope.studies.components.figures.dictionaries_looks import in_words

NEEDS = (DICTIONARIES_FEATURES,)
BASES = {
    "dictionary": ("dictionary", style.VERMILLION),
    "untrained": ("untrained dictionary", style.ORANGE),
    "random": ("random dictionary", style.SKY),
    "neurons": ("elements of the stream", style.GREEN),
}
PROBES = {"probe": style.BLACK, "probe_untrained": style.GREY}
GROUPS = ("previous", "bracket", "governs", "output")
"""Groups that the last token does not decide."""


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get(DICTIONARIES_FEATURES, metric="f1")
    rows = rows[rows["group"].isin(GROUPS)]
    if rows.empty:
        return style.nothing_to_draw("no toy model was asked")
    subjects = list(rows["subject"].unique())
    groups = [g for g in GROUPS if g in set(rows["group"])]
    fig = style.figure(style.DOUBLE, 1.55 * len(subjects) + 1.1)
    axes = fig.subplots(len(subjects), len(groups), sharex=True, sharey="row", squeeze=False)
    for subject, line in zip(subjects, axes, strict=True):
        for ax, group in zip(line, groups, strict=True):
            _panel(ax, select(rows, subject=subject, group=group))
            style.panel_title(ax, group)
        style.at_least(line[0], 0, 0.3)
        line[0].set_ylabel(f"{in_words(subject)}\nF1")
    for ax in axes[-1]:
        ax.set_xlabel("latents read")
    extra = [
        style.line("probe of the stream", style.BLACK, linestyle=":", linewidth=1.2),
        style.line("the same, untrained", style.GREY, linestyle=":", linewidth=1.2),
    ]
    names = dict(BASES.values())
    style.legend(fig, names, extra=extra, columns=3)
    style.note(
        fig,
        f"A line is one trained model and dictionary; bars: {tables.percent} intervals over "
        "sequences. Latents and thresholds were chosen on other sequences.",
    )
    return fig


def _panel(ax: Axes, rows: pd.DataFrame) -> None:
    ticks = sorted(k for k in rows["k"].unique() if k > 0)
    for basis, (_, colour) in BASES.items():
        of = select(rows, basis=basis)
        first = of[of["seed"] == of["seed"].min()]
        for _, line in first.groupby("model"):
            line = line.sort_values("k")
            x, y, low, high = (numbers(line[c]) for c in ("k", "value", "ci_low", "ci_high"))
            ax.plot(x, y, color=colour, linewidth=0.8, marker=".", label="_model")
            ax.vlines(x, low, high, color=colour, linewidth=0.5)
    for basis, colour in PROBES.items():
        for level in np.unique(numbers(select(rows, basis=basis)["value"])):
            ax.axhline(level, color=colour, linestyle=":", linewidth=0.7, label="_baseline")
    ax.set_xscale("log")
    ax.set_xticks(ticks, [str(k) for k in ticks])
    ax.minorticks_off()
    ax.margins(x=0.08)
