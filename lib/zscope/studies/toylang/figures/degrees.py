"""Exact patching: how much of a head's effect is linear, quadratic, and so on."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import marks, style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.toylang.figures import looks
from zscope.studies.toylang.figures.lookups import seeds_of, seeds_text
from zscope.studies.toylang.tables import DEGREES, REFERENCE
from zscope.studies.toylang.targets import EXACT_PATCHING

NEEDS = (DEGREES,)
READS = {"here": "a  read at the patched token", "later": "b  read at later tokens"}


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get(DEGREES, condition=REFERENCE)
    if rows.empty:
        return style.nothing_to_draw("nothing was patched")
    rows = rows.assign(layer=rows["patch"].str.extract(r"L(\d+)H", expand=False))
    layers = sorted(set(rows["layer"].dropna()))
    colours = dict(zip(layers, looks.SERIES, strict=False))
    fig = style.figure(style.DOUBLE, 3.1)
    *axes, error = fig.subplots(1, 3, width_ratios=[1.2, 1.2, 1])
    for ax, (reads, title) in zip(axes, READS.items(), strict=True):
        style.panel_title(ax, title)
        _panel(ax, select(rows, reads=reads), colours)
    style.panel_title(error, "c  error")
    _errors(error, rows, colours)
    style.legend(fig, {f"heads of layer {layer}": colours[layer] for layer in colours})
    largest = numbers(rows["error"]).max()
    style.note(
        fig,
        f"{seeds_text(rows)} A head's output at one token is replaced by its output "
        "in another sequence; we read the logit of the next token. Dots: heads of all seeds; bars: "
        "median over heads and seeds.",
        "Share: mean size of one degree's part over the sum of the parts; whole: size of their "
        "sum, below 1 where parts cancel. Shares below 1e-4 lie at the lower edge.",
        f"c: largest difference from running the patched model (largest here: {largest:.1e}); "
        f"dashed: {EXACT_PATCHING:g}, the target.",
    )
    return fig


def _panel(ax: Axes, rows: pd.DataFrame, colours: dict[str, str]) -> None:
    if rows.empty:
        style.not_applicable(ax, "no patch reaches later tokens")
        return
    last = int(rows["degree"].max())
    for i, (layer, colour) in enumerate(colours.items()):
        of_layer = select(rows, layer=layer)
        for degree, of in of_layer.groupby("degree"):
            share = np.clip(numbers(of["share"]), 1e-4, None)
            centre = float(degree) + (i - (len(colours) - 1) / 2) * 0.4  # type: ignore[arg-type]
            ax.scatter(
                centre + marks.spread(len(share), 0.24),
                share,
                s=5,
                color=colour,
                alpha=0.6,
                linewidths=0,
                label=f"_dots {layer}",
                zorder=3,
            )
            if len(share) >= 3:
                ax.hlines(np.median(share), centre - 0.17, centre + 0.17, color=colour,
                          linewidth=1.8, label="_median")  # fmt: skip
    ax.axvline(0.5, color="#DDDDDD", linewidth=0.6, zorder=0)
    ax.set_yscale("log")
    ax.set_ylim(7e-5, 1.6)
    ax.set_xticks(range(last + 1), ["whole", *map(str, range(1, last + 1))])
    ax.set_xlim(-0.5, last + 0.5)
    ax.set_xlabel("degree in the patch's strength")
    ax.set_ylabel("share of the effect")


def _errors(ax: Axes, rows: pd.DataFrame, colours: dict[str, str]) -> None:
    seeds = seeds_of(rows)
    once = rows.drop_duplicates(["seed", "patch", "reads"])
    values = np.clip(numbers(once["error"]), 1e-17, None)
    for layer, colour in colours.items():
        of = (once["layer"] == layer).to_numpy(bool)
        ax.scatter(
            values[of],
            [seeds.index(int(s)) for s in once["seed"][of]],
            s=8,
            color=colour,
            alpha=0.7,
            linewidths=0,
            label=f"_error {layer}",
        )
    looks.log_x(ax, values, 1e-15, EXACT_PATCHING)
    style.vertical(ax, EXACT_PATCHING)
    looks.named_rows(ax, [str(s) for s in seeds], "seed")
    ax.set_xlabel("largest error (nats)")
