"""What do layers take from the key d tokens back, by which head, and is that redundant with it?"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from zscope.figures import style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.heads.head_sets import heads_text
from zscope.studies.heads.tables import LAYER_OFFSETS, OFFSETS, REDUNDANCY

NEEDS = (OFFSETS, LAYER_OFFSETS, REDUNDANCY)
OF_A_SUBJECT = True


@style.styled
def draw(tables: Tables) -> Figure:
    subject = str(tables.declared["subject"])
    captured, layers = tables.get(OFFSETS), tables.get(LAYER_OFFSETS)
    redundancy = tables.get(REDUNDANCY)
    if captured.empty:
        return style.nothing_to_draw(f"{subject} has no text to ask what layers take from where")
    fig = style.figure(style.DOUBLE, 2.8)
    left, middle, right = fig.subplots(1, 3)
    shown = str(captured["model"].iloc[0])
    names = _layers(left, select(layers, model=shown))
    _captured(middle, captured, redundancy)
    _redundancy(right, redundancy)
    style.legend(
        fig,
        {},
        extra=[
            *names,
            style.line("best previous-token head", style.VERMILLION, linewidth=1.4),
            style.line("other heads of its layer", style.GREY),
        ],
    )
    style.note(
        fig,
        f"{captured['model'].nunique()} model(s) of {subject}; left: {shown}, "
        f"whose best previous-token head is {_best(redundancy, shown)}. "
        f"Bars: {tables.percent} intervals over sequences. A redundancy that is not drawn is "
        "undefined: losing these values changes nothing.",
    )
    return fig


def _best(redundancy: pd.DataFrame, model: str) -> str:
    rows = select(redundancy, model=model)
    if rows.empty:
        return "none"
    return heads_text([(int(rows["layer"].iloc[0]), int(rows["head"].iloc[0]))])


def _layers(ax: Axes, rows: pd.DataFrame) -> list[object]:
    """A line per layer; handles of the first and the last one."""
    style.panel_title(ax, "Layers")
    every = sorted(rows["layer"].unique())
    colours = dict(zip(every, style.gradient(len(every)), strict=True))
    for layer, of_layer in rows.groupby("layer"):
        x, y = numbers(of_layer["offset"]), numbers(of_layer["value"])
        ax.plot(x, y, color=colours[layer], linewidth=0.9, label=f"_model layer {layer}")
    ax.axhline(0, **style.DASHED)
    _offsets(ax)
    ax.set_ylabel("share of the layer's write")
    ends = dict.fromkeys((every[0], every[-1])) if every else {}
    return [style.line(f"layer {layer}", colours[layer], linewidth=1.4) for layer in ends]


def _captured(ax: Axes, captured: pd.DataFrame, redundancy: pd.DataFrame) -> None:
    """The best head of every model, and the others of its layer."""
    style.panel_title(ax, "Heads of its layer")
    ax.axhline(0, **style.DASHED)
    ax.axhline(1, **style.DASHED)
    best = redundancy[["model", "layer", "head"]].drop_duplicates()
    for model, layer, head in best.itertuples(index=False):
        for h, rows in select(captured, model=model, layer=layer).groupby("head"):
            _line(ax, rows, h == head)
    _offsets(ax)
    ax.set_ylabel("captured by the head")


def _redundancy(ax: Axes, redundancy: pd.DataFrame) -> None:
    style.panel_title(ax, "In logits")
    ax.axhline(0, **style.DASHED)
    ax.axhline(1, **style.DASHED)
    for _, rows in redundancy.groupby("model"):
        _line(ax, rows[rows["value"].notna()], True)
    _offsets(ax)
    ax.set_ylabel("redundancy of the values there")


def _offsets(ax: Axes) -> None:
    ax.set_xlabel("offset (tokens)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def _line(ax: Axes, rows: pd.DataFrame, best: bool) -> None:
    colour = style.VERMILLION if best else style.GREY
    x, y = numbers(rows["offset"]), numbers(rows["value"])
    width, order = (1.2, 3) if best else (0.6, 2)
    ax.plot(x, y, color=colour, linewidth=width, zorder=order, marker=".", label="_model")
    if best:
        ax.vlines(x, numbers(rows["ci_low"]), numbers(rows["ci_high"]), color=colour, linewidth=0.7)
