"""Does attribution find the heads of a language model that matter, and what may it have missed?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.components.attribution.tables import (
    PRETRAINED_NODES as ATTRIBUTION_PRETRAINED_NODES,
)
from zscope.studies.components.attribution.tables import (
    PRETRAINED_SCORES as ATTRIBUTION_PRETRAINED_SCORES,
)

NEEDS = (ATTRIBUTION_PRETRAINED_NODES, ATTRIBUTION_PRETRAINED_SCORES)
SOURCES = ("named",)  # of models of `models:` alone
FAMILIES = {"ioi": "indirect object", "repeats": "repeated text"}
COLOURS = (style.BLUE, style.VERMILLION, style.GREEN, style.PURPLE, style.ORANGE, style.SKY)
LINEAR = 0.05  # nats


@style.styled
def draw(tables: Tables) -> Figure:
    rows, scores = (
        tables.get(ATTRIBUTION_PRETRAINED_NODES),
        tables.get(ATTRIBUTION_PRETRAINED_SCORES),
    )
    if rows.empty:
        return style.nothing_to_draw("no language model was asked")
    subjects = [str(s) for s in rows["subject"].unique()]
    fig = style.figure(style.DOUBLE, 3.0 * len(subjects) + 0.7)
    axes = fig.subplots(len(subjects), len(FAMILIES), squeeze=False, sharex=True, sharey=True)
    most = float(np.abs(rows[["exact", "atp"]].to_numpy(float)).max(initial=1.0))
    for row, subject in zip(axes, subjects, strict=True):
        for ax, (family, name) in zip(row, FAMILIES.items(), strict=True):
            here = select(rows, subject=subject, family=family)
            _panel(ax, here, most)
            style.panel_title(ax, f"{subject}: {name}")
            said = _said(select(scores, subject=subject, family=family))
            ax.text(
                0.98, 0.02, said, va="bottom", ha="right", transform=ax.transAxes, linespacing=1.2
            )
        row[0].set_ylabel("estimate of AtP (nats)")
    for ax in axes[-1]:
        ax.set_xlabel("exact effect (nats)")
    hollow = {"markerfacecolor": "none", "linestyle": "", "marker": "o"}
    style.legend(
        fig,
        {},
        extra=[
            style.dot("largest estimates of a pair"),
            style.line("drawn from all others", **hollow),
        ],
    )
    style.note(
        fig,
        "z of a head at a position; colours: pairs of prompts. Brackets: "
        f"{tables.percent} intervals (correlation: over pairs; share: Wilson). Dashed: estimate = "
        f"effect. Axes are linear up to {LINEAR:g} nats, then logarithmic.",
    )
    return fig


def _panel(ax: Axes, rows: pd.DataFrame, most: float) -> None:
    ax.plot([-1.3 * most, 1.3 * most], [-1.3 * most, 1.3 * most], **style.DASHED)
    for i, (_, of_pair) in enumerate(rows.groupby("pair")):
        colour = COLOURS[i % len(COLOURS)]
        for chosen, face in (("random", "none"), ("top", colour)):
            some = select(of_pair, chosen=chosen)
            ax.scatter(
                numbers(some["exact"]), numbers(some["atp"]), s=9, facecolors=face,
                edgecolors=colour, linewidths=0.5, alpha=0.8, zorder=3, label="_dots",
            )  # fmt: skip
    for scale, limit, locate in (
        (ax.set_xscale, ax.set_xlim, ax.set_xticks),
        (ax.set_yscale, ax.set_ylim, ax.set_yticks),
    ):
        scale("symlog", linthresh=LINEAR)
        limit(-most * 1.4, most * 1.4)
        ticks = [-1, -0.1, 0, 0.1, 1]
        locate(ticks, [f"{tick:g}".replace("-", "\u2212") for tick in ticks])
    ax.minorticks_off()


def _said(scores: pd.DataFrame) -> str:
    lines = []
    for metric, text in (("pearson_top", "r, largest"), ("pearson_random", "r, others")):
        lines += [f"{text} {_number(row)}" for _, row in select(scores, metric=metric).iterrows()]
    for _, row in select(scores, metric="large_elsewhere").iterrows():
        lines.append(f"large among others {_number(row)}")
    return "\n".join(lines)


def _number(row: pd.Series) -> str:
    if pd.isna(row["value"]):
        return "undefined"
    value = f"{row['value']:.3f}"
    if pd.isna(row["ci_low"]):
        return value
    return f"{value} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]"
