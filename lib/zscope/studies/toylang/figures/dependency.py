"""Which primitive waits for which: onsets with one primitive removed or delayed, cell by cell."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from zscope.figures import style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.toylang.figures import squares
from zscope.studies.toylang.figures.lookups import NAMES, labels_of, seeds_text
from zscope.studies.toylang.onsets import paired
from zscope.studies.toylang.tables import BEHAVIOUR, COMPARISONS, ONSETS

NEEDS = (COMPARISONS, ONSETS)
FRAMES = {  # solid for verdicts of a test, dotted for what all seeds suggest
    "later": "-",
    "earlier": "-",
    "never": "-",
    "all later": ":",
    "all earlier": ":",
}
UNKNOWN = {"unclear": "?", "changed": "?"}  # written where no shift is known
REACH = 2.0  # doublings from the middle of a cell to its edge, and to the darkest colour
NORM, CMAP = Normalize(-REACH, REACH), matplotlib.colormaps[squares.DIVERGING]


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get(COMPARISONS)
    rows = rows[rows["how"].isin(["removed", "delayed"])]
    if rows.empty:
        return style.nothing_to_draw("no primitive was removed or delayed")
    conditions = list(dict.fromkeys(rows["condition"]))
    names = labels_of(rows)
    onsets = tables.get(ONSETS, kind=BEHAVIOUR)
    fig = style.figure(style.DOUBLE, 0.5 * len(conditions) + 2.0)
    ax = fig.subplots()
    labels = []
    for i, condition in enumerate(conditions):
        of = select(rows, condition=condition)
        labels.append(f"{NAMES.get(of['changed'].iloc[0], of['changed'].iloc[0])}\n"
                      f"{of['how'].iloc[0]}")  # fmt: skip
        for j, name in enumerate(names):
            _cell(ax, i, j, select(of, primitive=name), name, onsets)
    ax.set_xlim(-0.5, len(names) - 0.5)
    ax.set_ylim(len(conditions) - 0.5, -0.5)
    ax.set_xticks(range(len(names)), [NAMES.get(n, n).replace(" ", "\n") for n in names])
    ax.xaxis.tick_top()
    ax.xaxis.set_label_position("top")
    ax.set_xlabel("primitive whose onset moves")
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylabel("changed in the data")
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(False)
    squares.colour_bar(ax, ScalarMappable(NORM, CMAP), "shift of the onset (doublings)")
    style.note(
        fig,
        f"{seeds_text(select(onsets, condition=conditions[0]))} Numbers and colours: "
        "median over shared seeds of log2(onset / the reference's); +1: twice as late.",
        f"Dots: seeds, on a line from -{REACH:g} to +{REACH:g} doublings (tick: 0; at an edge: "
        "that or more); open arrows: later or earlier by an unknown amount: one of the two never "
        "set in; ?: no median.",
        "Solid frame: verdict later, earlier or never (exact sign test after Holm over all rows); "
        "dotted frame: all seeds, at least 3, moved the same way, which is suggestive only. "
        "Hatched: the changed primitive itself.",
        "Without a primitive the others are more frequent, which alone can bring an onset forward.",
    )
    return fig


def _cell(ax: Axes, i: int, j: int, of: pd.DataFrame, name: str, onsets: pd.DataFrame) -> None:
    if of.empty:
        _box(ax, i, j, "#F2F2F2", hatch="////")
        behind = {"facecolor": "#F2F2F2", "edgecolor": "none", "pad": 1.0}
        ax.text(j, i, "off", ha="center", va="center", color=style.GREY, bbox=behind, label="_off")
        return
    row = of.iloc[0]
    shift = float(numbers(of["shift"])[0])
    colour = CMAP(NORM(shift)) if np.isfinite(shift) else "#FFFFFF"
    _box(ax, i, j, colour, hatch="////" if row["changed"] == name else "")
    verdict = str(row["verdict"])
    if verdict in FRAMES:
        look = {"edgecolor": style.BLACK, "linestyle": FRAMES[verdict]}
        _box(ax, i, j, "none", linewidth=1.3, zorder=5, label=f"_verdict {verdict}", **look)
    dark = np.isfinite(shift) and abs(shift) > 0.65 * REACH
    ink = "white" if dark else "black"
    text = f"{shift:+.1f}" if np.isfinite(shift) else UNKNOWN.get(verdict, verdict)
    # A hatch would run through the text.
    behind = {"facecolor": colour, "edgecolor": "none", "pad": 1.0}
    ax.text(j, i - 0.16, text, ha="center", va="center", color=ink, bbox=behind, label="_shift")
    ax.plot([j - 0.4, j + 0.4], [i + 0.24] * 2, color=ink, linewidth=0.5, alpha=0.6)
    ax.plot([j] * 2, [i + 0.17, i + 0.31], color=ink, linewidth=0.6)
    own, reference = (
        select(onsets, condition=row[c], primitive=name) for c in ("condition", "reference")
    )
    for value in paired(own, reference)["shift"]:
        if np.isnan(value):
            continue
        known = np.isfinite(value)
        ax.plot(
            j + 0.4 * float(np.clip(value, -REACH, REACH)) / REACH,
            i + 0.24,
            marker="o" if known else ("<" if value < 0 else ">"),
            markersize=2.6 if known else 4,
            markerfacecolor=ink if known else "none",
            color=ink,
            markeredgewidth=0.7,
            linestyle="",
            label="_seed" if known else "_censored",
            zorder=4,
        )


def _box(ax: Axes, i: int, j: int, colour: Any, **look: Any) -> None:
    style_ = {"edgecolor": "#BBBBBB", "linewidth": 0.4, "zorder": 0.5, **look}
    ax.add_patch(Rectangle((j - 0.48, i - 0.46), 0.96, 0.92, facecolor=colour, **style_))
