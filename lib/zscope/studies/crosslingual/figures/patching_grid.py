"""Does the verdict depend on the cell? Z minus energy-matched, for all layers, k and kernels."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.crosslingual.figures import model_marks
from zscope.studies.crosslingual.figures.lookups import count, models_of, of_cell, of_range
from zscope.studies.crosslingual.figures.rates import CHANGES, METRICS
from zscope.studies.crosslingual.tables import SIZES, TESTS
from zscope.verdicts import LEAST_DRAWS

NEEDS = (TESTS, SIZES)

DECLARED = "#FFF3D6"


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get(
        TESTS,
        first="z",
        second="energy",
        stratum="baseline_correct",
        **of_cell(tables, "design", "source", "where", "position_0"),
    )
    rows = rows[rows["metric"].isin(CHANGES)]
    if rows.empty:
        why = "Z was not compared with energy-matched spaces"
        return style.nothing_to_draw(why, count(tables))
    cells = rows[["layer", "kind", "k"]].drop_duplicates()
    cells = cells.sort_values(["kind", "layer", "k"], ascending=[True, True, False])
    order = list(cells.itertuples(index=False, name=None))
    columns = [
        (direction, metric) for direction in dict.fromkeys(rows["direction"]) for metric in CHANGES
    ]
    fig = style.figure(style.DOUBLE, 0.34 * len(order) + 1.9)
    axes = fig.subplots(1, len(columns), sharey=True, sharex=True, squeeze=False)[0]
    for ax, (direction, metric), letter in zip(axes, columns, "abcdefgh", strict=False):
        style.panel_title(ax, f"{letter}  {direction}")
        _panel(ax, tables, select(rows, direction=direction, metric=metric), order, metric)
        declared = direction == tables.declared["direction"]
        _mark_declared(ax, tables, order, declared)
    ends = [numbers(rows[c]) for c in ("ci_low", "ci_high", "value")]
    reach = max(0.2, *(float(abs(v[v == v]).max(initial=0)) for v in ends))
    axes[0].set_xlim(-1.05 * reach, 1.05 * reach)
    names = [f"layer {layer}, {kind}, k = {k}" for layer, kind, k in order]
    model_marks.name_axis(axes[0], names, "cell")
    style.legend(
        fig,
        {METRICS[m]: c for m, c in CHANGES.items()},
        extra=[style.patch("the declared cell", DECLARED)],
    )
    style.note(
        fig,
        count(tables, rows),
        f"Design {tables.declared['design']}, source {tables.declared['source']}, "
        f"where {tables.declared['where']}; only problems that were right unpatched. Dashed: no "
        "difference. Z carries the answer alone if blue lies right of it and red left.",
        model_marks.dots_note(tables, "bootstrap interval over problems"),
        _draws(rows),
        "A robustness table, not a search: the verdict is read from the declared cell.",
    )
    return fig


def _draws(rows: pd.DataFrame) -> str:
    """How many draws are behind the differences, and which are open dots."""
    draws = numbers(rows["draws"])
    few = draws < LEAST_DRAWS
    text = f"Open: {of_range(draws[few], 'energy-matched draw')}, no null. " if few.any() else ""
    enough = of_range(draws[draws >= LEAST_DRAWS], "draw")
    return text + (f"Filled: {enough}." if enough else "")


def _panel(ax: Axes, tables: Tables, rows: pd.DataFrame, order: list[tuple], metric: str) -> None:
    for place, (layer, kind, k) in enumerate(order):
        of = select(rows, layer=layer, kind=kind, k=k)
        no_null = numbers(of["draws"]) < LEAST_DRAWS
        for kept, filled in ((~no_null, True), (no_null, False)):
            model_marks.model_dots(
                ax,
                place,
                of[kept],
                models_of(tables),
                CHANGES[metric],
                name=metric,
                filled=filled,
            )
    style.vertical(ax, 0.0)
    ax.set_xlabel(f"{METRICS[metric]},\nZ minus energy-matched\n(difference of shares)")


def _mark_declared(ax: Axes, tables: Tables, order: list[tuple], declared: bool) -> None:
    cell = tuple(of_cell(tables, "layer", "kind", "k").values())
    if declared and cell in order:
        place = order.index(cell)
        ax.axhspan(
            place - 0.5, place + 0.5, color=DECLARED, linewidth=0, zorder=0, label="_declared"
        )
