"""Target against reconstruction: the components one after the other, and logit by logit."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import count_seeds, numbers, select
from zscope.figures.tables import Tables
from zscope.studies.components.decomposition.tables import (
    BUILDUP as DECOMPOSITION_BUILDUP,
)
from zscope.studies.components.decomposition.tables import (
    LOGITS as DECOMPOSITION_LOGITS,
)
from zscope.studies.components.figures import decomposition_looks as looks

NEEDS = (DECOMPOSITION_BUILDUP, DECOMPOSITION_LOGITS)
ORDERS = {"importance": style.BLUE, "random": style.GREY}


@style.styled
def draw(tables: Tables) -> Figure:
    rows = looks.first_model(tables.get(DECOMPOSITION_BUILDUP))
    logits = looks.first_model(tables.get(DECOMPOSITION_LOGITS))
    if rows.empty:
        return style.nothing_to_draw("no model was decomposed")
    seeds = looks.seeds_of(rows)
    fig = style.figure(style.DOUBLE, 3.1)
    one, by, pairs = fig.subplots(1, 3)
    style.panel_title(one, "a  all positions")
    over_components(one, select(rows, primitive="all"))
    one.set_ylabel("KL from the target (nats)")
    style.panel_title(by, "b  by primitive, by importance")
    names = looks.primitives_of(rows)
    colours = dict(zip(names, [*style.QUALITATIVE, style.GREY] * 2, strict=False))
    best = select(rows, order="importance")
    for name in names:
        for seed in seeds:
            of = select(best, primitive=name, seed=seed).sort_values("components")
            by.plot(of["components"], of["value"], color=colours[name], label=f"_seed {seed}")
    component_axis(by, rows)
    style.panel_title(pairs, "c  logits, g as masks")
    x, y = numbers(logits["target"]), numbers(logits["reconstruction"])
    pairs.scatter(x, y, s=3, color=style.BLUE, alpha=0.4, linewidths=0, label="_dots")
    pairs.axline((0, 0), slope=1, **style.DASHED)
    pairs.set_xlabel("target (logit less its mean)")
    pairs.set_ylabel("reconstruction (same)")
    style.legend(
        fig,
        {"largest importance first": style.BLUE, "random components": style.GREY, **colours},
        columns=5,
    )
    style.note(
        fig,
        f"{count_seeds(len(seeds))} Components are counted at each position, over all matrices, "
        f"without Delta. Bands: {tables.percent} intervals over sequences. Right: random positions "
        "and tokens of all decompositions.",
    )
    return fig


def over_components(ax: Axes, rows: pd.DataFrame) -> None:
    for order, colour in ORDERS.items():
        for seed, of in select(rows, order=order).sort_values("components").groupby("seed"):
            x = numbers(of["components"])
            ax.plot(x, numbers(of["value"]), color=colour, label=f"_seed {seed}")
            low, high = numbers(of["ci_low"]), numbers(of["ci_high"])
            ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    component_axis(ax, rows)


def component_axis(ax: Axes, rows: pd.DataFrame) -> None:
    ax.set_xscale("symlog", linthresh=1, linscale=0.4)
    ax.set_xlim(-0.2, float(rows["components"].max()) * 1.3)
    ax.set_xticks([0, 1, 10, 100], ["0", "1", "10", "100"])
    ax.minorticks_off()
    ax.set_yscale("log")
    ax.set_xlabel("components in use")
