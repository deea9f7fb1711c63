"""What does each head do to an indirect object, by its own write and through later layers?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch

from zscope.figures import style
from zscope.figures.frames import numbers
from zscope.figures.tables import Tables
from zscope.studies.heads.head_sets import heads_text
from zscope.studies.heads.tables import IOI

NEEDS = (IOI,)
OF_A_SUBJECT = True
# From what is drawn first to what is drawn last.
ROLES = {
    "copy_suppression": ("copy suppression", style.BLUE),
    "s_inhibition": ("S-inhibition", style.GREEN),
    "name_mover": ("name mover", style.VERMILLION),
}
MOST_LABELS = 14
SPACE = 0.06  # between two labels, as a share of the panel


@style.styled
def draw(tables: Tables) -> Figure:
    subject = str(tables.declared["subject"])
    rows = tables.get(IOI)
    rows = rows[rows["direct"].notna()]
    if rows.empty:
        return style.nothing_to_draw(f"{subject} knows no names, or has no direct effects")
    rows = rows[rows["model"] == rows["model"].iloc[0]]
    fig = style.figure(style.DOUBLE, 4.2)
    ax = fig.subplots()
    _dots(ax, rows)
    _labels(ax, rows)
    ax.set_xlabel("direct effect on IO - S (logits)")
    ax.set_ylabel("indirect effect (logits)")
    hollow = {"markerfacecolor": "none", "markersize": 2.5}
    style.legend(
        fig,
        {},
        extra=[
            *(style.dot(name, colour) for name, colour in ROLES.values()),
            style.dot("no role"),
            style.line("total by first order", linestyle="", marker="o", **hollow),
        ],
    )
    style.note(
        fig,
        f"Every head of {rows['model'].iloc[0]}, at its mean at the end of {rows['n'].iloc[0]} "
        f"sentences; below 0 the head serves the indirect object. Bars: {tables.percent} intervals "
        "over sentences, of heads that were run. On the sloping line later heads make up for it.",
    )
    return fig


def _colour(row: pd.Series) -> str:
    return next((c for role, (_, c) in reversed(ROLES.items()) if bool(row[role])), style.GREY)


def _dots(ax: Axes, rows: pd.DataFrame) -> None:
    ax.axhline(0, **style.DASHED)
    ax.axvline(0, **style.DASHED)
    ax.axline((0, 0), slope=-1, **style.DASHED)
    colours = np.array([_colour(row) for _, row in rows.iterrows()])
    exact = rows["exact"].to_numpy(bool)
    x, y = numbers(rows["direct"]), numbers(rows["indirect"])
    for is_exact, size in ((False, 4), (True, 14)):
        kept = exact == is_exact
        face = colours[kept] if is_exact else "none"
        ax.scatter(
            x[kept], y[kept], s=size, facecolors=face, edgecolors=colours[kept], linewidths=0.5,
            zorder=3, label="_heads",
        )  # fmt: skip
    for ends, at, draw in (("direct", y, ax.hlines), ("indirect", x, ax.vlines)):
        low, high = (numbers(rows[f"{ends}_ci_{end}"])[exact] for end in ("low", "high"))
        draw(at[exact], low, high, color=colours[exact], linewidth=0.6, alpha=0.7)
    ax.margins(0.08)


def _apart(heights: np.ndarray) -> np.ndarray:
    """Descending heights, as shares of the panel, moved so that no two labels meet."""
    found = np.minimum(heights, 0.97)
    for i in range(1, len(found)):
        found[i] = min(found[i], found[i - 1] - SPACE)
    for i in range(len(found) - 1, -1, -1):
        found[i] = max(found[i], 0.03 + SPACE * (len(found) - 1 - i))
    return found


def _labels(ax: Axes, rows: pd.DataFrame) -> None:
    """The names of heads with a role, and of the largest others that were run, beside the panel in
    the order of their height."""
    of_role = rows[list(ROLES)].any(axis=1).to_numpy(bool)
    size = np.hypot(numbers(rows["direct"]), numbers(rows["indirect"]))
    order = np.lexsort((-size, ~of_role))[:MOST_LABELS]
    kept = rows.iloc[[i for i in order if of_role[i] or bool(rows["exact"].iloc[i])]]
    kept = kept.sort_values("indirect", ascending=False, kind="stable")
    low, high = ax.get_ylim()
    heights = _apart((numbers(kept["indirect"]) - low) / (high - low))
    for height, (_, row) in zip(heights, kept.iterrows(), strict=True):
        name = heads_text([(int(row["layer"]), int(row["head"]))])
        colour, at = _colour(row), (float(row["direct"]), float(row["indirect"]))
        ax.text(1.03, height, name, color=colour, va="center", transform=ax.transAxes)
        ax.add_patch(
            ConnectionPatch(
                at,
                (1.02, height),
                "data",
                "axes fraction",
                axesA=ax,
                axesB=ax,
                color=colour,
                linewidth=0.4,
                alpha=0.6,
                clip_on=False,
                in_layout=False,
            )
        )
