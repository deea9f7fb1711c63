"""Which earlier head does a pattern need? The share on its targets, with that head at its mean."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.heads.figures.lookups import asked, naming_rows
from zscope.studies.heads.tables import SCORES, UNDER_ABLATION

NEEDS = (UNDER_ABLATION, SCORES)
OF_A_SUBJECT = True
COLUMNS = 3
PREVIOUS, OTHER, NONE = "previous", "another", "none"
# What the earlier head is named for, from what is drawn first to what is drawn last.
NAMED = {
    NONE: ("not named", style.GREY),
    OTHER: ("named otherwise", style.BLUE),
    PREVIOUS: ("previous-token head", style.VERMILLION),
}


@style.styled
def draw(tables: Tables) -> Figure:
    subject = str(tables.declared["subject"])
    scores, shares = tables.get(SCORES), tables.get(UNDER_ABLATION)
    if shares.empty:
        return style.nothing_to_draw(f"no head of {subject} with heads before it is named")
    shares = shares.assign(named_for=_named_for(scores, shares))
    detectors = [d for d in asked(scores) if d in set(shares["detector"])]
    n_rows = math.ceil(len(detectors) / COLUMNS)
    n_columns = min(COLUMNS, len(detectors))
    width = style.COLUMN if n_columns == 1 else style.DOUBLE
    fig = style.figure(width, 0.85 * width / n_columns * n_rows + 1.2)
    axes = fig.subplots(n_rows, n_columns, squeeze=False)
    for ax, detector in zip(axes.flat, detectors, strict=False):
        style.panel_title(ax, detector)
        _panel(ax, select(shares, detector=detector))
    for ax in list(axes.flat)[len(detectors) :]:
        ax.set_axis_off()
    hollow = {"markerfacecolor": "none", "markersize": 2.5}
    style.legend(
        fig,
        {},
        extra=[
            *(style.dot(name, colour) for name, colour in NAMED.values()),
            style.line("by first order", linestyle="", marker="o", **hollow),
        ],
        columns=2,
    )
    style.note(
        fig,
        f"{shares['model'].nunique()} model(s) of {subject}; a dot is a named head with one "
        "earlier head at its mean; on the dashed line nothing changes. Bars: "
        f"{tables.percent} intervals over sequences, of heads that were run.",
    )
    return fig


def _named_for(scores: pd.DataFrame, shares: pd.DataFrame) -> list[str]:
    """Of every row, what names the earlier head."""
    found: dict[tuple[str, int, int], str] = {}
    for model in shares["model"].unique():
        for detector in asked(scores):
            rows = naming_rows(scores, str(model), detector)
            if rows.empty:
                continue
            named = rows[rows["named"] | rows["named_by_class"]]
            for layer, head in zip(named["layer"], named["head"], strict=True):
                key = (str(model), int(layer), int(head))
                if detector == PREVIOUS or found.get(key) != PREVIOUS:
                    found[key] = PREVIOUS if detector == PREVIOUS else OTHER
    heads = zip(shares["model"], shares["ablated_layer"], shares["ablated_head"], strict=True)
    return [found.get((str(m), int(layer), int(h)), NONE) for m, layer, h in heads]


def _panel(ax: Axes, rows: pd.DataFrame) -> None:
    ax.plot([0, 1], [0, 1], **style.DASHED)
    for by, (_, colour) in NAMED.items():
        for exact, face in ((False, "none"), (True, colour)):
            some = rows[(rows["named_for"] == by) & (rows["exact"].astype(bool) == exact)]
            x, y = numbers(some["clean"]), numbers(some["value"])
            if exact:
                ax.vlines(
                    x, numbers(some["ci_low"]), numbers(some["ci_high"]), color=colour,
                    linewidth=0.5, alpha=0.6,
                )  # fmt: skip
            ax.scatter(
                x, y, s=9 if exact else 3, facecolors=face, edgecolors=colour, linewidths=0.5,
                zorder=3, label=f"_heads {by}",
            )  # fmt: skip
    ends = pd.concat([rows[c].astype(float) for c in ("clean", "value")])
    low, high = min(0.0, ends.min()), max(1.0, ends.max())
    ax.set_xlim(low - 0.03, high + 0.03)
    ax.set_ylim(low - 0.03, high + 0.03)
    ax.set_aspect("equal")
    ax.set_xlabel("share on its targets")
    ax.set_ylabel("with an earlier head at its mean")
