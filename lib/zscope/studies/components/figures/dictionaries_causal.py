"""What does a model lose, by primitive, where the stream is replaced by its reconstruction?"""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from zscope.figures import style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.components.dictionaries.tables import DICTIONARIES_CAUSAL
from zscope.studies.components.figures.dictionaries_looks import dots, in_words, names_below

NEEDS = (DICTIONARIES_CAUSAL,)
REPLACED = {
    "dictionary": ("by the dictionary's reconstruction", style.VERMILLION),
    "random": ("by a random dictionary's", style.SKY),
    "mean": ("by its mean", style.GREY),
}
LINEAR = 0.01
"""Rises below are drawn on a linear scale, in nats."""
TICKS = (-0.01, 0, 0.01, 0.1, 1, 10)


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get(DICTIONARIES_CAUSAL, metric="rise")
    if rows.empty:
        return style.nothing_to_draw("no toy model was asked")
    subjects = list(rows["subject"].unique())
    # A scored training is drawn by its first dictionary: a dot is a model.
    rows = rows[rows["seed"] == rows.groupby(["subject", "replaced"])["seed"].transform("min")]
    primitives = [p for p in rows["primitive"].unique() if p != "all"] + ["all"]
    fig = style.figure(style.DOUBLE, 2.9)
    axes = fig.subplots(1, len(subjects), sharey=True, squeeze=False)[0]
    for ax, subject in zip(axes, subjects, strict=True):
        for x, primitive in enumerate(primitives):
            for i, (replaced, (_, colour)) in enumerate(REPLACED.items()):
                of = select(rows, subject=subject, primitive=primitive, replaced=replaced)
                dots(ax, of, x + 0.27 * (i - 1), colour, replaced, width=0.2)
        style.panel_title(ax, in_words(subject))
        ax.axhline(0, **style.DASHED)
        names_below(ax, [p.replace("_", " ") for p in primitives], slanted=True)
        ax.set_xlabel("primitive that governs")
        ax.set_yscale("symlog", linthresh=LINEAR)
        low, high = numbers(rows["value"]).min(), numbers(rows["value"]).max()
        ax.set_ylim(min(-LINEAR, 1.5 * low), max(1.0, 2 * high))
        ax.yaxis.set_major_locator(FixedLocator([t for t in TICKS if t <= 2 * high]))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        ax.yaxis.set_minor_locator(NullLocator())
    axes[0].set_ylabel("rise of the excess (nats)")
    style.legend(fig, {}, extra=[style.dot(n, c) for n, c in REPLACED.values()])
    style.note(
        fig,
        f"A dot is one trained model; bars: {tables.percent} intervals over sequences. A random "
        "dictionary has as many codes, and the best linear decoder of them.",
    )
    return fig
