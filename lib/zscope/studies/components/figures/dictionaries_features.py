"""Do latents say what is true of the toy language, beyond random and untrained ones?"""

from __future__ import annotations

import textwrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.components.dictionaries.tables import ALL_MODELS, DICTIONARIES_VERDICTS
from zscope.studies.components.figures.dictionaries_looks import in_words

NEEDS = (DICTIONARIES_VERDICTS,)
COLUMNS = {
    "probe": ("probe of the whole stream", style.BLACK, "|"),
    "probe_untrained": ("the same, untrained", style.GREY, "|"),
    "random": ("random dictionaries", style.SKY, "s"),
    "untrained": ("untrained dictionary", style.ORANGE, "o"),
    "f1": ("dictionary", style.VERMILLION, "o"),
}
"""Columns of the table: names, colours and marks, from the upper line of a group to the lower."""


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get(DICTIONARIES_VERDICTS)
    if rows.empty:
        return style.nothing_to_draw("no toy model was asked")
    subjects = list(rows["subject"].unique())
    groups = list(rows["group"].unique())
    fig = style.figure(style.DOUBLE, 0.42 * len(groups) + 1.5)
    axes = fig.subplots(1, len(subjects), sharey=True, squeeze=False)[0]
    for ax, subject in zip(axes, subjects, strict=True):
        of = select(rows, subject=subject)
        style.panel_title(ax, in_words(subject))
        for y, group in enumerate(groups):
            _group(ax, select(of, group=group), y)
        ax.set_xlim(-0.03, 1.62)
        ax.set_xticks([0, 0.5, 1])
        ax.set_xlabel("F1 of the best latent")
        ax.set_ylim(len(groups) - 0.5, -0.5)
        for y in range(1, len(groups)):
            ax.axhline(y - 0.5, color="#D9D9D9", linewidth=0.5)
    axes[0].set_yticks(range(len(groups)), groups)
    axes[0].set_ylabel("group of labels")
    extra = [
        style.line(name, colour, linestyle="", marker=marker, markersize=4)
        for name, colour, marker in COLUMNS.values()
    ]
    style.legend(fig, {}, extra=extra, columns=5)
    models = rows.loc[rows["model"] != ALL_MODELS, "model"].nunique()
    level = f" {tables.percent} intervals of the differences are in the table."
    style.note(
        fig,
        f"A mark is one of {models} trained models, each the mean over dictionary seeds. Words: "
        "the verdict over the trainings, from the paired test against the untrained model's "
        f"dictionaries and the rank among random ones.{level}",
    )
    return fig


def _group(ax: Axes, rows: pd.DataFrame, y: float) -> None:
    models = rows[rows["model"] != ALL_MODELS]
    for i, (column, (_, colour, marker)) in enumerate(COLUMNS.items()):
        x = numbers(models[column])
        at = [y - 0.32 + 0.16 * i] * len(x)
        ax.scatter(
            x, at, s=13, marker=marker, color=colour, linewidths=0.9, label=f"_dots {column}"
        )
    whole = select(rows, model=ALL_MODELS)
    if len(whole):
        word = textwrap.fill(str(whole["verdict"].iloc[0]), 14)
        ax.text(1.1, y, word, va="center", linespacing=1.0)
