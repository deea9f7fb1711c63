"""Do components serve one primitive? Their ablation by primitive, beside that of single heads."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from zscope.figures import marks, style
from zscope.figures.frames import count_seeds, numbers, select
from zscope.figures.tables import Tables
from zscope.studies.components.decomposition.tables import (
    RISES as DECOMPOSITION_RISES,
)
from zscope.studies.components.decomposition.tables import (
    VERDICTS as DECOMPOSITION_VERDICTS,
)
from zscope.studies.components.figures import decomposition_looks as looks

NEEDS = (DECOMPOSITION_RISES, DECOMPOSITION_VERDICTS)


@style.styled
def draw(tables: Tables) -> Figure:
    rows = looks.first_model(tables.get(DECOMPOSITION_RISES, phase=looks.FIRST))
    verdicts = looks.first_model(tables.get(DECOMPOSITION_VERDICTS))
    if rows.empty:
        return style.nothing_to_draw("no component was ablated")
    seeds, names = looks.seeds_of(rows), looks.primitives_of(rows)
    fig = style.figure(style.DOUBLE, 6.0)
    upper, lower = style.stacked(fig, 2.9, 3.1)
    axes = upper.subplots(1, 3, width_ratios=[len(names), len(names), len(names)])
    one = select(rows, seed=seeds[0])
    limit = max(1.0, float(rows[rows["set"] != "random"]["value"].abs().max()))
    norm = SymLogNorm(0.1, vmin=-limit, vmax=limit)
    for ax, rule, letter in zip(axes, ("strict", "loose"), "ab", strict=False):
        style.panel_title(ax, f"{letter}  components, {rule} rule")
        of = select(one, set="components", rule=rule)
        image = square(ax, of, "chosen_for", names, norm)
        ax.set_ylabel("chosen for (components)")
    style.panel_title(axes[2], "c  heads at their mean")
    image = square(axes[2], select(one, set="head"), "head", names, norm) or image
    axes[2].set_ylabel("head")
    if image:
        upper.colorbar(image, ax=axes.tolist(), label="rise of excess (nats)", pad=0.01)
    for ax, rule, letter in zip(
        lower.subplots(1, 2, sharey=True), ("strict", "loose"), "de", strict=True
    ):
        style.panel_title(ax, f"{letter}  on the primitive itself, {rule} rule")
        own(ax, select(rows, rule=rule), names, seeds)
        single_heads(ax, select(one, set="head"), names)
        if rule == "strict":
            ax.set_ylabel("primitive")
            words(ax, verdicts, names)
    style.legend(
        fig,
        {},
        extra=[
            style.dot("components chosen for it", style.BLUE),
            style.dot("random sets like them"),
            style.line("a head at its mean", style.ORANGE, linestyle="", marker="|", markersize=6),
        ],
    )
    style.note(
        fig,
        f"{count_seeds(len(seeds))} Above: the first decomposition. Below: all of them, with "
        f"{tables.percent} intervals over sequences; bars: median over seeds (from 3 on). "
        "Components are chosen on other sequences. Words: verdict over the decompositions.",
    )
    return fig


def square(
    ax: Axes, rows: pd.DataFrame, by: str, names: list[str], norm: SymLogNorm
) -> AxesImage | None:
    """Rises by set and primitive."""
    if rows.empty:
        style.not_applicable(ax, "no component passes the rule")
        return None
    values = rows.pivot(index=by, columns="primitive", values="value").reindex(columns=names)
    if by == "chosen_for":
        sizes = rows.groupby(by)["components"].first()
        values.index = pd.Index([f"{name} ({sizes[name]})" for name in values.index])
    image = looks.heat(ax, values, norm, "PuOr")
    ax.set_xlabel("primitive")
    return image


def own(ax: Axes, rows: pd.DataFrame, names: list[str], seeds: list[int]) -> None:
    """The rise of every primitive with its own components, and with their random sets."""
    for place, name in enumerate(names):
        of = rows[(rows["chosen_for"] == name) & (rows["primitive"] == name)]
        null = numbers(select(of, set="random")["value"])
        y = place + 0.35 * (np.arange(len(null)) % 9 / 8 - 0.5)
        ax.scatter(null, y, s=3, color=style.GREY, linewidths=0, alpha=0.6, label=f"_random {name}")
        marks.group_dots(
            ax, place, select(of, set="components"), seeds, style.BLUE, by="seed", name=name
        )
    looks.named_rows(ax, names)
    ax.set_xscale("symlog", linthresh=0.1)
    ax.axvline(0, **style.DASHED)
    ax.set_xticks([0, 0.1, 1], ["0", "0.1", "1"])
    ax.set_xlabel("rise of excess (nats)")


def single_heads(ax: Axes, rows: pd.DataFrame, names: list[str]) -> None:
    """The rise of every primitive with each head alone at its mean."""
    for place, name in enumerate(names):
        values = numbers(select(rows, primitive=name)["value"])
        y = np.full(len(values), place + 0.38)
        ax.scatter(values, y, s=16, marker="|", color=style.ORANGE, label=f"_heads {name}")


def words(ax: Axes, verdicts: pd.DataFrame, names: list[str]) -> None:
    """The verdict on every primitive, on the right."""
    for place, name in enumerate(names):
        for verdict in select(verdicts, rule="strict", primitive=name)["verdict"]:
            ax.annotate(
                verdict.replace(" between trainings", ""),
                (1.0, place),
                (2, 0),
                ("axes fraction", "data"),
                "offset points",
                color=style.GREY,
                va="center",
                annotation_clip=False,
            )
