"""Do dictionaries find directions that were planted, and do their latents say when these are on?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.components.dictionaries.tables import DICTIONARIES_PLANTED
from zscope.studies.components.figures.dictionaries_looks import (
    dots,
    names_below,
    shown,
    variant_legend,
)

NEEDS = (DICTIONARIES_PLANTED,)
PANELS = {
    "mmcs": "best cosine, mean",
    "share_close": "share found (cosine > 0.9)",
    "one_to_one": "cosine, one to one",
    "f1": "F1 of the best latent",
}


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get(DICTIONARIES_PLANTED)
    if rows.empty:
        return style.nothing_to_draw("nothing was planted")
    conditions = list(rows["condition"].unique())
    variants = shown(rows["variant"])
    fig = style.figure(style.DOUBLE, 4.6)
    axes = fig.subplots(2, 2, sharex=True)
    for ax, (metric, label) in zip(axes.flat, PANELS.items(), strict=True):
        found = select(rows, metric=metric)
        for x, condition in enumerate(conditions):
            here = select(found, condition=condition)
            _null(ax, here, x)
            for i, (variant, (_, colour)) in enumerate(variants.items()):
                place = x + (i - (len(variants) - 1) / 2) * 0.8 / len(variants)
                of = select(here, variant=variant)
                dots(ax, of, place, colour, variant, width=0.4 / len(variants))
            if metric == "f1":
                probe = select(rows, metric="f1_probe", condition=condition)
                top = numbers(probe["value"])
                ax.hlines(top, x - 0.45, x + 0.45, color=style.BLACK, linewidth=0.5)
        style.share_axis(ax, label)
        names_below(ax, [c.replace(" ", "\n") for c in conditions])
    for ax in axes[1]:
        ax.set_xlabel("what is planted (ratio: directions per dimension)")
    extra = [
        style.patch("random dictionaries", "#D9D9D9"),
        style.line("probe of the whole input", style.BLACK, linewidth=0.8),
    ]
    style.legend(fig, variant_legend(rows["variant"]), extra=extra, columns=4)
    style.note(
        fig,
        f"A dot is one dictionary of one truth, {rows['seed'].nunique()} of each kind. "
        f"Bars: {tables.percent} intervals over directions; grey: the same share of random "
        "dictionaries, or (F1) the mean of one per truth.",
    )
    return fig


def _null(ax: Axes, rows: pd.DataFrame, x: float) -> None:
    """The widest band of the random dictionaries of a condition, or their means without one."""
    low, high, mean = (numbers(rows[c]) for c in ("null_low", "null_high", "null"))
    if np.isfinite(low).any():
        ends = float(np.nanmin(low)), float(np.nanmax(high))
        ax.fill_between([x - 0.47, x + 0.47], *ends, color="#D9D9D9", linewidth=0, zorder=0)
    for level in np.unique(mean[np.isfinite(mean)]):
        ax.hlines(level, x - 0.47, x + 0.47, color="#A0A0A0", linewidth=1.0, zorder=0.5)
