"""Does Z avoid the language? The share of the languages' mean difference that lies in Z."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import select
from zscope.figures.tables import Tables
from zscope.studies.crosslingual.figures import model_marks
from zscope.studies.crosslingual.figures.geometry import cases, geometry_rows
from zscope.studies.crosslingual.figures.lookups import count, draws_of, in_words, layers_of
from zscope.studies.crosslingual.tables import GEOMETRY

NEEDS = (GEOMETRY,)


@style.styled
def draw(tables: Tables) -> Figure:
    rows = select(geometry_rows(tables), metric="language_energy")
    if rows.empty:
        return style.nothing_to_draw("no language energy was measured", count(tables))
    layers, columns = layers_of(rows), cases(rows)
    fig = style.figure(style.DOUBLE, 2.9)
    axes = fig.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    chances = {}
    for ax, (pooling, k), letter in zip(axes, columns, "abcdefgh", strict=False):
        style.panel_title(ax, f"{letter}  {pooling}, k = {k}")
        of = select(rows, pooling=pooling, k=k)
        model_marks.null_bands(ax, of)
        model_marks.model_lines(ax, model_marks.once(of, "layer"), style.BLUE)
        chances[k] = model_marks.constant(select(of, null="chance"), "null_mean")
        style.baseline(ax, chances[k], "k/d" if ax is axes[-1] else "")
        model_marks.layer_axis(ax, layers)
    style.at_least(axes[0], 0.0, 1.5 * float(np.nanmax([*chances.values()], initial=0.0)))
    axes[0].set_ylim(bottom=0.0)
    axes[0].set_ylabel("language energy in Z (share)")
    style.legend(fig, {"Z": style.BLUE}, extra=model_marks.null_patches(rows))
    shown = ", ".join(f"{chance:.3g} at k = {k}" for k, chance in chances.items())
    style.note(
        fig,
        count(tables, rows),
        f"Z of the layer, {in_words(tables, 'kind')}; first token "
        f"{tables.declared['position_0']}d. Chance k/d: {shown}.",
        f"Shaded: random spaces, and spaces that hold as much energy of these pooled vectors as Z, "
        f"{draws_of(rows)} each, {tables.percent}.",
        model_marks.lines_note(tables),
    )
    return fig
