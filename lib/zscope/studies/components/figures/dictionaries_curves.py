"""How much of the stream do so many codes leave unexplained, by variant and by site?"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from zscope.figures import style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.components.dictionaries.tables import DICTIONARIES_CURVES
from zscope.studies.components.figures.dictionaries_looks import (
    codes_axis,
    in_words,
    shown,
    variant_legend,
)

NEEDS = (DICTIONARIES_CURVES,)
ENDS = ["value", "ci_low", "ci_high"]


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get(DICTIONARIES_CURVES, of="trained")
    swept = _swept(rows)
    if swept.empty:
        return style.nothing_to_draw("no dictionary was trained at more than one strength")
    subject, model = str(swept["subject"].iloc[0]), str(swept["model"].iloc[0])
    rows = select(swept, subject=subject, model=model)
    sites = rows.groupby("layer")["variant"].nunique()
    scored = int(sites[sites == sites.max()].reset_index()["layer"].iloc[0])
    here = select(rows, layer=scored)
    one = str(rows.groupby("variant")["layer"].nunique().idxmax())
    fig = style.figure(style.DOUBLE, 2.7)
    left, middle, right = fig.subplots(1, 3)
    for variant, (_, colour) in shown(here["variant"]).items():
        _line(left, select(here, variant=variant), "fvu", colour)
        _line(middle, select(here, variant=variant), "dead", colour)
    layers = sorted(rows["layer"].unique())
    for layer, colour in zip(layers, style.gradient(len(layers)), strict=True):
        of = select(rows, variant=one, layer=layer)
        _line(right, of, "fvu", colour, "--")
    style.panel_title(left, f"Before layer {scored}")
    style.panel_title(middle, f"Before layer {scored}")
    style.panel_title(right, f"Sites, {shown([one])[one][0]}")
    for ax in (left, right):
        ax.set_ylabel("variance unexplained (share)")
        ax.set_yscale("log")
        ax.yaxis.set_minor_locator(NullLocator())
    style.share_axis(middle, "dead latents (share)")
    for ax in (left, middle, right):
        codes_axis(ax, "codes per input (L0)")
    handles = [
        style.line(f"before layer {layer}", colour, linestyle="--", linewidth=1.4)
        for layer, colour in zip(layers, style.gradient(len(layers)), strict=True)
    ]
    style.legend(fig, variant_legend(here["variant"]), extra=handles, columns=4)
    style.note(
        fig,
        f"{in_words(subject)}, {model}; one dictionary per point. Bars: {tables.percent} intervals "
        "over sequences, of dead latents over latents. Dashed: sites of the right panel.",
    )
    return fig


def _swept(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the first seed of variants with several strengths at a site of a model."""
    if rows.empty:
        return rows
    first = rows[rows["seed"] == rows.groupby(["subject", "model"])["seed"].transform("first")]
    keys = ["subject", "model", "layer", "variant"]
    return first[first.groupby(keys)["strength"].transform("nunique") > 1]


def _line(ax: Axes, rows: pd.DataFrame, metric: str, colour: object, style_: str = "-") -> None:
    l0 = select(rows, metric="l0").set_index("strength")["value"]
    of = select(rows, metric=metric).set_index("strength")[ENDS]
    both = of.assign(l0=l0).sort_values("l0")
    x, low, high = (numbers(both[c]) for c in ("l0", "ci_low", "ci_high"))
    ax.plot(x, numbers(both["value"]), color=colour, linestyle=style_, marker="o", label="_model")
    ax.vlines(x, low, high, color=colour, linewidth=0.7)
