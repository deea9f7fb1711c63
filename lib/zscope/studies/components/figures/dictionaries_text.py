"""What do dictionaries of a language model leave, and what does it lose with them put back?"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.components.dictionaries.tables import DICTIONARIES_TEXT
from zscope.studies.components.figures.dictionaries_looks import codes_axis, shown

NEEDS = (DICTIONARIES_TEXT,)
SOURCES = ("named",)  # of models of `models:` alone
WIDTHS = {"dictionary": 1.2, "random": 0.8}


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get(DICTIONARIES_TEXT)
    if rows.empty:
        return style.nothing_to_draw("no pretrained model was asked")
    fig = style.figure(style.DOUBLE, 2.5)
    left, middle, right = fig.subplots(1, 3)
    subjects = dict(zip(rows["subject"].unique(), style.QUALITATIVE, strict=False))
    for subject, colour in subjects.items():
        of = select(rows, subject=subject)
        _line(left, of, "dictionary", "fvu", colour)
        _line(middle, of, "dictionary", "dead", colour)
        _line(right, of, "dictionary", "rise", colour)
        _line(right, of, "random", "rise", style.GREY)
        mean = numbers(select(of, replaced="mean", metric="rise")["value"])
        for level in mean:
            style.baseline(right, float(level), "mean")
    style.share_axis(left, "variance unexplained (share)")
    style.share_axis(middle, "dead latents (share)")
    right.set_ylabel("rise of the loss (nats per token)")
    style.at_least(right, 0, 0.1)
    for ax in (left, middle, right):
        codes_axis(ax, "codes per token (L0)")
    names = {str(s): c for s, c in subjects.items()}
    extra = [style.line("random dictionary, fitted decoder", style.GREY)]
    style.legend(fig, names, extra=extra)
    site = ", ".join(f"{s} before layer {_layer(rows, s)}" for s in names)
    variants = ", ".join(name for name, _ in shown(rows["variant"]).values())
    style.note(
        fig,
        f"{site}; {variants}; {rows['n'].iloc[0]} passages that no dictionary was trained on. "
        f"Bars: {tables.percent} intervals over passages, of dead latents over latents.",
    )
    return fig


def _layer(rows: pd.DataFrame, subject: str) -> int:
    return int(select(rows, subject=subject)["layer"].iloc[0])


def _line(ax: Axes, rows: pd.DataFrame, replaced: str, metric: str, colour: object) -> None:
    l0 = select(rows, replaced="dictionary", metric="l0").set_index("strength")["value"]
    of = select(rows, replaced=replaced, metric=metric).set_index("strength")
    both = of[["value", "ci_low", "ci_high"]].assign(l0=l0).sort_values("l0")
    x, low, high = (numbers(both[c]) for c in ("l0", "ci_low", "ci_high"))
    y = numbers(both["value"])
    ax.plot(x, y, color=colour, marker="o", linewidth=WIDTHS[replaced], label="_model")
    ax.vlines(x, low, high, color=colour, linewidth=0.7)
