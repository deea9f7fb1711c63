"""The reference against other models on the same data: onsets and final excess, seed by seed."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import marks, style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.toylang.figures import looks
from zscope.studies.toylang.figures.lookups import at_last, excess, labels_of, seeds_of, seeds_text
from zscope.studies.toylang.tables import BEHAVIOUR, COMPARISONS, ONSETS, REFERENCE, TRAINING
from zscope.studies.toylang.targets import excess_target

NEEDS = (COMPARISONS, ONSETS, TRAINING)
COLOURS = looks.SERIES[:2]
APART = 0.05  # half the distance between the two models of a pair, in rows


@style.styled
def draw(tables: Tables) -> Figure:
    compared = tables.get(COMPARISONS, how="model")
    models = list(dict.fromkeys(compared["condition"]))
    onsets = tables.get(ONSETS, kind=BEHAVIOUR)
    if not models:
        return style.nothing_to_draw("there is no other model to compare with")
    names, conditions = labels_of(compared), (REFERENCE, *models)
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
        f"{seeds_text(*(select(onsets, condition=c) for c in conditions))} "
        "a: lines join the two models of a seed. At the right: median shift of the onset in "
        f"doublings with its {tables.percent} interval, and the verdict (exact sign test, after "
        "Holm over all rows; all later: every seed moved that way, which is suggestive only).",
        f"b: dots: seeds with {tables.percent} intervals; bars: median over seeds (from 3 on); "
        "dashed: the targets.",
    )
    return fig


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
    looks.named_rows(ax, names, "primitive")


def _verdict(ax: Axes, place: int, of: pd.DataFrame) -> None:
    if of.empty:
        return
    shift, low, high = (float(numbers(of[c])[0]) for c in ("shift", "ci_low", "ci_high"))
    text = str(of["verdict"].iloc[0])
    if np.isfinite(shift):
        ends = f" [{low:+.1f}, {high:+.1f}]" if np.isfinite(low) and np.isfinite(high) else ""
        text = f"{shift:+.1f}{ends} {text}"
    looks.beside(ax, place, text)


def _final(ax: Axes, tables: Tables, model: str, names: list[str]) -> None:
    found = [at_last(excess(tables, c)) for c in (REFERENCE, model)]
    if all(f.empty for f in found):
        style.not_applicable(ax, "neither was trained")
        return
    seeds = seeds_of(*found)
    values: list[float] = []
    for frame, colour, shift in zip(found, COLOURS, (-0.2, 0.2), strict=True):
        for place, name in enumerate(names):
            of = select(frame, primitive=name)
            looks.seed_dots(ax, place + shift, of, seeds, colour, name=name, width=0.36)
            values += [*numbers(of["value"]), *numbers(of["ci_low"])]
    for place, name in enumerate(names):
        target = excess_target(name)
        ax.plot([target] * 2, [place - 0.45, place + 0.45], **style.DASHED)
    looks.log_x(ax, values, 0.005, 0.1)
    looks.named_rows(ax, names, shown=False)
    ax.set_xlabel("excess (nats)")
