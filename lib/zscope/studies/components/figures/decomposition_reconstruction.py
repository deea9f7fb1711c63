"""How far is a decomposition from its target under each kind of mask, and under attack?"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import marks, style
from zscope.figures.frames import count_seeds, numbers, select
from zscope.figures.tables import Tables
from zscope.studies.components.decomposition.tables import (
    RECONSTRUCTION as DECOMPOSITION_RECONSTRUCTION,
)
from zscope.studies.components.figures import decomposition_looks as looks

NEEDS = (DECOMPOSITION_RECONSTRUCTION,)
LEAST = 1e-5  # of the logarithmic axes


@style.styled
def draw(tables: Tables) -> Figure:
    rows = looks.first_model(tables.get(DECOMPOSITION_RECONSTRUCTION, metric="kl"))
    if rows.empty:
        return style.nothing_to_draw("no model was decomposed")
    seeds = looks.seeds_of(rows)
    fig = style.figure(style.DOUBLE, 3.2)
    axes = fig.subplots(1, 3)
    style.panel_title(axes[0], "a  kinds of masks")
    style.panel_title(axes[1], "b  random masks")
    style.panel_title(axes[2], "c  adversary")
    kinds = [kind for kind in looks.MASKS if (rows["masks"] == kind).any()]
    whole = select(rows, primitive="all")
    dots(axes[0], [select(whole, masks=kind) for kind in kinds], seeds)
    looks.named_rows(axes[0], [looks.MASKS[kind] for kind in kinds])
    names = looks.primitives_of(rows)
    random = select(rows, masks="random")
    dots(axes[1], [select(random, primitive=name) for name in names], seeds)
    looks.named_rows(axes[1], names)
    attacked(axes[2], select(whole, masks="adversary"))
    none = numbers(select(whole, masks="none")["value"])
    if len(none):
        style.baseline(axes[2], float(none[0]), "none")
    style.legend(
        fig,
        {
            looks.PHASE_NAMES[p]: colour
            for p, colour in looks.PHASES.items()
            if (rows["phase"] == p).any()
        },
    )
    style.note(
        fig,
        f"{count_seeds(len(seeds))} Trained with random masks alone, or against an adversary too. "
        f"Lines at dots, and bands: {tables.percent} intervals over sequences; bars: median over "
        "seeds (from 3 on). Delta is left out but for the adversary's masks.",
    )
    return fig


def dots(ax: Axes, groups: list[pd.DataFrame], seeds: list[int]) -> None:
    """A row of dots per group, in two colours by the phase of training."""
    for place, of in enumerate(groups):
        for shift, (phase, colour) in zip((-0.17, 0.17), looks.PHASES.items(), strict=True):
            some = select(of, phase=phase)
            some = some.assign(
                **{c: numbers(some[c]).clip(LEAST) for c in ("value", "ci_low", "ci_high")}
            )
            marks.group_dots(
                ax, place + shift, some, seeds, colour, by="seed", name=phase, width=0.3
            )
    values = [v for of in groups for v in numbers(of["value"]).clip(LEAST)]
    if values:
        looks.log_x(ax, min(values) / 3, max(values) * 3)
    ax.set_xlabel("KL from the target (nats)")


def attacked(ax: Axes, rows: pd.DataFrame) -> None:
    """The adversary's damage over its steps."""
    for phase, colour in looks.PHASES.items():
        of = select(rows, phase=phase)
        if len(of):
            kept = of.assign(
                run=of["seed"],
                **{c: numbers(of[c]).clip(LEAST) for c in ("value", "ci_low", "ci_high")},
            )
            marks.seed_lines(ax, kept, colour, x="attack_steps")
    values = numbers(rows["value"]).clip(LEAST)
    if len(values):
        looks.log_y(ax, values.min() / 2, values.max() * 3)
    ax.set_xlabel("sign steps of the attack")
    ax.set_ylabel("KL from the target (nats)")
