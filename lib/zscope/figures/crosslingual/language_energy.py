"""Does Z avoid the language? The share of the languages' mean difference that lies in Z."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.crosslingual import marks
from zscope.figures.crosslingual.data import Tables, layers_of, select
from zscope.figures.crosslingual.geometry import cases, geometry_rows


@style.styled
def draw(tables: Tables) -> Figure:
    rows = select(geometry_rows(tables), metric="language_energy")
    if rows.empty:
        return style.nothing_to_draw("no language energy was measured", tables.count())
    layers, columns = layers_of(rows), cases(rows)
    fig = style.figure(style.DOUBLE, 2.9)
    axes = fig.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    chances = {}
    for ax, (pooling, k), letter in zip(axes, columns, "abcdefgh", strict=False):
        style.panel_title(ax, f"{letter}  {pooling}, k = {k}")
        of = select(rows, pooling=pooling, k=k)
        for null, against in marks.by_null(of).items():
            marks.null_band(ax, against, marks.COLOURS[null], null)
        marks.model_lines(ax, marks.once(of, "layer"), style.BLUE)
        chances[k] = marks.constant(select(of, null="chance"), "null_mean")
        style.baseline(ax, chances[k], "k/d" if ax is axes[-1] else "")
        marks.layer_axis(ax, layers)
    style.at_least(axes[0], 0.0, 1.5 * float(np.nanmax([*chances.values()], initial=0.0)))
    axes[0].set_ylim(bottom=0.0)
    axes[0].set_ylabel("language energy in Z (share)")
    style.legend(
        fig,
        {"Z": style.BLUE},
        extra=marks.null_patches(marks.by_null(rows)),
    )
    style.note(
        fig,
        tables.count(rows),
        f"Z of the layer, kernel {tables.cell['kind']}; first token {tables.cell['position_0']}d. "
        f"Chance k/d: {', '.join(f'{c:.3g} at k = {k}' for k, c in chances.items())}.",
        "Shaded: random and energy-matched spaces, 95 %.",
        marks.lines_note(tables.models),
    )
    return fig
