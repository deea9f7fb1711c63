"""What does each node do, and what do the methods say that it does?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.components.attribution.tables import (
    NODES as ATTRIBUTION_NODES,
)
from zscope.studies.components.figures.attribution_looks import (
    COLOURS,
    KINDS,
    names,
    subjects_in,
)

NEEDS = (ATTRIBUTION_NODES,)
SHOWN = ["atp", "ig", "atp_qk"]  # with a sign; the last is drawn on top
LINEAR = 0.1  # nats


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get(ATTRIBUTION_NODES)
    if rows.empty:
        return style.nothing_to_draw("no nodes were patched")
    bands = [
        (subject, int(layer))
        for subject in subjects_in(rows)
        for layer in sorted(select(rows, subject=subject)["layer"].unique())
    ]
    fig = style.figure(style.DOUBLE, 1.55 * len(bands) + 0.9)
    axes = fig.subplots(len(bands), len(KINDS), sharex=True, sharey=True, squeeze=False)
    most = float(np.nanmax(np.abs(rows[["exact", *SHOWN]].to_numpy(float)), initial=1.0))
    for row, (subject, layer) in zip(axes, bands, strict=True):
        for ax, kind in zip(row, KINDS, strict=True):
            shown = SHOWN if kind in ("q", "k") else SHOWN[1:]
            _panel(ax, select(rows, subject=subject, layer=layer, kind=kind), shown, most)
            style.panel_title(ax, f"{kind}, layer {layer}")
        row[0].set_ylabel(f"{subject.partition('/')[2] or subject}\nestimate (nats)")
    for ax in axes[-1]:
        ax.set_xlabel("exact effect (nats)")
    style.legend(fig, {}, extra=[style.dot(n, c) for n, c in names(SHOWN).items()])
    style.note(
        fig,
        f"A dot is a node of a pair in one of {rows['model'].nunique()} trainings; nodes that "
        "cannot have an effect are left out. For v and z the QK fix changes nothing. Dashed: "
        f"estimate = effect. Axes are linear up to {LINEAR:g} nats, then logarithmic.",
    )
    return fig


def _panel(ax: Axes, rows: pd.DataFrame, shown: list[str], most: float) -> None:
    ax.plot([-1.3 * most, 1.3 * most], [-1.3 * most, 1.3 * most], **style.DASHED)
    for method in shown:
        ax.scatter(
            numbers(rows["exact"]),
            numbers(rows[method]),
            s=1.2,
            color=COLOURS[method],
            alpha=0.35,
            linewidths=0,
            rasterized=True,  # tens of thousands of dots
            zorder=2,
            label=f"_dots {method}",
        )
    for scale, limit, locate in (
        (ax.set_xscale, ax.set_xlim, ax.set_xticks),
        (ax.set_yscale, ax.set_ylim, ax.set_yticks),
    ):
        scale("symlog", linthresh=LINEAR)
        limit(-most * 1.3, most * 1.3)
        ticks = [-10, -1, 0, 1, 10] if most > 10 else [-1, 0, 1]
        locate(ticks, [f"{tick}".replace("-", "\u2212") for tick in ticks])
    ax.minorticks_off()
