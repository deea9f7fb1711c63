"""What does an induction head's pattern lose when its queries and keys are coded sparsely?"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.components.dictionaries.tables import DICTIONARIES_QK
from zscope.studies.components.figures.dictionaries_looks import codes_axis, in_words

NEEDS = (DICTIONARIES_QK,)
TRAININGS = {
    "separate": ("each on its own vectors", style.BLUE),
    "joint": ("both on the pattern and the vectors", style.VERMILLION),
    "joint_alone": ("both on the pattern alone", style.ORANGE),
    "random": ("random, fitted decoders", style.GREY),
}


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get(DICTIONARIES_QK)
    if rows.empty:
        return style.nothing_to_draw("no head was asked")
    widths = sorted(int(w) for w in rows["width"].unique() if w > 0)
    fig = style.figure(style.DOUBLE, 2.9)
    axes = fig.subplots(1, len(widths), sharey=True, squeeze=False)[0]
    for ax, width in zip(axes, widths, strict=True):
        for training, (_, colour) in TRAININGS.items():
            for _, line in select(rows, width=width, training=training).groupby("model"):
                _line(ax, line, colour)
        style.panel_title(ax, f"{width} latent{'s' * (width > 1)} per dimension")
        codes_axis(ax, "codes per query and per key (L0)")
        ax.set_yscale("log")
    axes[0].set_ylabel("divergence of the pattern\n(nats per row)")
    for ax in axes:
        for level in numbers(select(rows, training="uniform")["value"]):
            ax.axhline(level, **style.DASHED)
    names = dict(TRAININGS.values())
    style.legend(fig, names, extra=[style.line("uniform attention", linestyle="--")], columns=3)
    heads = rows.drop_duplicates("model")
    said = ", ".join(
        f"{m} L{layer}H{h} ({score:.2f})"
        for m, layer, h, score in heads[["model", "layer", "head", "score"]].itertuples(index=False)
    )
    style.note(
        fig,
        f"{in_words(str(rows['subject'].iloc[0]))}; a line is the induction head of one training: "
        f"{said}, in brackets its weight on the key that induction looks for. Bars: "
        f"{tables.percent} intervals over sequences.",
    )
    return fig


def _line(ax: Axes, line: pd.DataFrame, colour: object) -> None:
    line = line.sort_values("codes")
    x, y, low, high = (numbers(line[c]) for c in ("codes", "value", "ci_low", "ci_high"))
    ax.plot(x, y, color=colour, marker="o", linewidth=0.9, label="_model")
    ax.vlines(x, low, high, color=colour, linewidth=0.6)
