"""The reference against other models on the same data: onsets and final excess, seed by seed."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import marks, style
from zscope.studies.toylang.figures import squares
from zscope.studies.toylang.figures.lookups import (
    NAMES,
    REFERENCE,
    Tables,
    at_last,
    count_seeds,
    labels_of,
    numbers,
    seeds_of,
    select,
)
from zscope.studies.toylang.targets import excess_target

COLOURS = (squares.BEHAVIOUR, squares.WEIGHTS)
APART = 0.05  # of a primitive's row: half of what a pair is apart


@style.styled
def draw(tables: Tables) -> Figure:
    compared = tables.get("toylang_comparisons", how="model")
    models = list(dict.fromkeys(compared["condition"]))
    onsets = tables.get("toylang_onsets", kind="behaviour")
    if not models:
        return style.nothing_to_draw("there is no other model to compare with")
    names = labels_of(compared)
    fig = style.figure(style.DOUBLE, len(models) * (0.27 * len(names) + 0.8) + 0.9)
    rows = fig.subplots(len(models), 2, squeeze=False, width_ratios=[1.5, 1])
    for (onset, final), model in zip(rows, models, strict=True):
        style.panel_title(onset, f"a  onset: {model}")
        _onsets(onset, onsets, select(compared, condition=model), model, names)
        style.panel_title(final, "b  excess at the end")
        _final(final, tables, model, names)
    style.legend(
        fig,
        {REFERENCE: COLOURS[0], " / ".join(models): COLOURS[1]},
        extra=[style.arrow("censored: not by the last step", ">")],
    )
    style.note(
        fig,
        f"{count_seeds(select(onsets, condition=REFERENCE), *_of(onsets, models))} "
        "a: lines join the two models of a seed. At the right: median shift of the onset in "
        "doublings with its interval, and the verdict (exact sign test, after Holm over all rows; "
        "all later: every seed moved so, which is a hint and no finding).",
        "b: dots: seeds with 95 % intervals; bars: median over seeds (from 3 on); dashed: the "
        "targets.",
    )
    return fig


def _of(onsets: pd.DataFrame, models: list[str]) -> list[pd.DataFrame]:
    return [select(onsets, condition=model) for model in models]


def _onsets(
    ax: Axes, onsets: pd.DataFrame, compared: pd.DataFrame, model: str, names: list[str]
) -> None:
    seen: list[float] = []
    for place, name in enumerate(names):
        pair = [
            select(onsets, condition=c, primitive=name).set_index("seed")
            for c in (REFERENCE, model)
        ]
        seeds = sorted({*pair[0].index} | {*pair[1].index})
        where = place + marks.spread(len(seeds), 0.6)
        times = []
        # A little apart, so that two runs censored at one step show both.
        for of, colour, c, up in zip(
            pair, COLOURS, (REFERENCE, model), (-APART, APART), strict=True
        ):
            of = of.reindex(seeds)
            time, limit = numbers(of["onset"]), numbers(of["last_step"])
            marks.onset_dots(
                ax, where + up, time, limit, colour, name=f"{c} {name}", horizontal=True
            )
            times.append(np.where(np.isfinite(time), time, limit))
        for at, a, b in zip(where, *times, strict=True):
            ends = [at - APART, at + APART]
            ax.plot([a, b], ends, color=style.GREY, linewidth=0.5, alpha=0.7, label="_pair")
        seen += [*times[0], *times[1]]
        _verdict(ax, place, select(compared, primitive=name))
    style.step_axis(ax, seen)
    ax.set_yticks(range(len(names)), [NAMES.get(n, n) for n in names])
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_ylabel("primitive")


def _verdict(ax: Axes, place: int, of: pd.DataFrame) -> None:
    if of.empty:
        return
    shift, low, high = (float(numbers(of[c])[0]) for c in ("shift", "ci_low", "ci_high"))
    text = str(of["verdict"].iloc[0])
    if np.isfinite(shift):
        ends = f" [{low:+.1f}, {high:+.1f}]" if np.isfinite(low) and np.isfinite(high) else ""
        text = f"{shift:+.1f}{ends} {text}"
    ax.annotate(
        text,
        (1.0, place),
        (6, 0),
        ("axes fraction", "data"),
        "offset points",
        va="center",
        annotation_clip=False,
    )


def _final(ax: Axes, tables: Tables, model: str, names: list[str]) -> None:
    found = [at_last(tables.excess(c)) for c in (REFERENCE, model)]
    if all(f.empty for f in found):
        style.not_applicable(ax, "neither was trained")
        return
    seeds = seeds_of(*found)
    values: list[float] = []
    for frame, colour, shift in zip(found, COLOURS, (-0.2, 0.2), strict=True):
        for place, name in enumerate(names):
            of = select(frame, primitive=name)
            squares.seed_dots(ax, place + shift, of, seeds, colour, name=name, width=0.36)
            values += [*numbers(of["value"]), *numbers(of["ci_low"])]
    for place, name in enumerate(names):
        target = excess_target(name)
        ax.plot([target] * 2, [place - 0.45, place + 0.45], color=style.GREY,
                linestyle=(0, (4, 2)), linewidth=0.8, label="_baseline")  # fmt: skip
    squares.log_x(ax, values, 0.005, 0.1)
    ax.set_yticks(range(len(names)), [""] * len(names))
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlabel("excess (nats)")
