"""When each primitive sets in: in behaviour, and in the weights that a readout names."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import marks, style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.toylang.figures import looks
from zscope.studies.toylang.figures.lookups import NAMES, labels_of, seeds_text
from zscope.studies.toylang.tables import BEHAVIOUR, ONSET_SUMMARY, ONSETS, REFERENCE, WEIGHTS

NEEDS = (ONSETS, ONSET_SUMMARY)
COLOURS = {BEHAVIOUR: looks.BEHAVIOUR, WEIGHTS: looks.WEIGHTS}
METRICS = {
    "kl_self": "KL of names",
    "rank_all_paths": "worst rank",
    "hits": "diagonal of M",
    "below": "top verb lowest",
}
KINDS = {BEHAVIOUR: "behaviour: excess", WEIGHTS: "weights: readout"}


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get(ONSETS, condition=REFERENCE)
    if rows.empty:
        return style.nothing_to_draw("no onset was looked for in the reference")
    names = labels_of(rows)
    fig = style.figure(style.DOUBLE, 0.36 * len(names) + 1.3)
    ax = fig.subplots()
    panel(ax, tables, rows)
    style.legend(
        fig,
        {KINDS[k]: COLOURS[k] for k in KINDS if k in set(rows["kind"])},
        extra=[style.dot("a seed's onset"), style.arrow("censored: not by the last step", ">")],
    )
    style.note(
        fig,
        f"{seeds_text(rows)} Bars: Kaplan-Meier median over seeds with its "
        f"{tables.percent} interval (from 2 seeds on; an arrow: it ends beyond the last step).",
        _behaviour(rows),
        _thresholds(rows),
        "The weights are read at checkpoints, which are further apart than evaluations.",
    )
    return fig


def panel(ax: Axes, tables: Tables, rows: pd.DataFrame, *, short: bool = False) -> None:
    """Time on x, one row per primitive, its kinds and metrics below each other."""
    names = labels_of(rows)
    summary = tables.get(ONSET_SUMMARY, condition=REFERENCE)
    for place, name in enumerate(names):
        of = select(rows, primitive=name)
        found = sorted(set(zip(of["kind"], of["metric"], strict=True)))
        room = 0.8 / len(found)
        for i, (kind, metric) in enumerate(found):
            one = select(of, kind=kind, metric=metric).sort_values("seed")
            centre = place - 0.4 + (i + 0.5) * room
            limit = float(one["last_step"].max())
            marks.onset_dots(
                ax,
                centre + marks.spread(len(one), 0.55 * room),
                numbers(one["onset"]),
                numbers(one["last_step"]),
                COLOURS[kind],
                name=f"{kind} {name}",
                horizontal=True,
            )
            middle = select(summary, kind=kind, metric=metric, primitive=name)
            if len(middle):
                median, low, high = (
                    float(numbers(middle[c])[0]) for c in ("median", "ci_low", "ci_high")
                )
                marks.median_mark(
                    ax, centre - 0.42 * room, centre + 0.42 * room, median, low, high, limit,
                    COLOURS[kind], horizontal=True,
                )  # fmt: skip
            if kind == WEIGHTS and not short:
                looks.beside(ax, centre, METRICS.get(metric, metric), color=COLOURS[kind])
    style.step_axis(ax, [*numbers(rows["onset"]), *numbers(rows["last_step"])])
    looks.named_rows(ax, names, "primitive")
    for edge in np.arange(0.5, len(names) - 1):
        ax.axhline(edge, color="#E4E4E4", linewidth=0.5, zorder=0)


def _behaviour(rows: pd.DataFrame) -> str:
    known = numbers(select(rows, kind=BEHAVIOUR)["threshold"])
    if not known.size:
        return ""
    return (
        "Behaviour: the excess is below a share of its first value, the same for all "
        f"({known.min():.2g} to {known.max():.2g} nats)."
    )


def _thresholds(rows: pd.DataFrame) -> str:
    of = select(rows, kind=WEIGHTS)
    if of.empty:
        return "No weights were read."
    words = [
        f"{NAMES.get(p, p)}: {METRICS.get(m, m)} past {t:g}"
        for p, m, t in of[["primitive", "metric", "threshold"]]
        .drop_duplicates()
        .itertuples(index=False)
    ]
    return f"Weights: {'; '.join(words)}."
