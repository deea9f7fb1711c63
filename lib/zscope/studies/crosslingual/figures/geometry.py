"""Do translations lie closer in Z than outside it? ratio_Z and ratio_Zperp over layers."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import select
from zscope.figures.tables import Tables
from zscope.studies.crosslingual.figures import model_marks
from zscope.studies.crosslingual.figures.lookups import (
    count,
    draws_of,
    in_words,
    ks_of,
    layers_of,
    of_cell,
)
from zscope.studies.crosslingual.tables import GEOMETRY

NEEDS = (GEOMETRY,)

POOLINGS = ("mean", "last")
NAMES = {"ratio_z": "Z", "ratio_z_perp": "Z-perp"}
COLOURS = {"ratio_z": model_marks.COLOURS["z"], "ratio_z_perp": model_marks.COLOURS["z_perp"]}


@style.styled
def draw(tables: Tables) -> Figure:
    rows = geometry_rows(tables)
    rows = rows[rows["metric"].isin([*NAMES, "ratio_difference"])]
    if rows.empty:
        return style.nothing_to_draw("no distance between translations was measured", count(tables))
    layers = layers_of(rows)
    columns = cases(rows)
    fig = style.figure(style.DOUBLE, 4.6)
    axes = fig.subplots(
        2, len(columns), sharex=True, sharey="row", squeeze=False, height_ratios=(1.2, 1)
    )
    for (above, below), (pooling, k), letter in zip(axes.T, columns, "abcdefgh", strict=False):
        style.panel_title(above, f"{letter}  {pooling}, k = {k}")
        of = select(rows, pooling=pooling, k=k)
        last = (pooling, k) == columns[-1]
        _ratios(above, of, "same as\nothers" if last else "")
        differences = select(of, metric="ratio_difference")
        model_marks.difference(below, differences, style.GREEN, "no\ndifference" if last else "")
        model_marks.layer_axis(below, layers)
    # The axes of a row are one: its limits are set when all of it is drawn.
    style.at_least(axes[0, 0], 0.8, 1.05)
    style.at_least(axes[1, 0], -0.1, 0.1)
    axes[0, 0].set_ylabel("distance of translations over\ndistance of others (ratio)")
    axes[1, 0].set_ylabel("ratio of Z minus\nratio of Z-perp")
    style.legend(
        fig,
        {NAMES[m]: c for m, c in COLOURS.items()} | {"difference": style.GREEN},
        extra=model_marks.null_patches(rows),
    )
    style.note(
        fig,
        count(tables, rows),
        f"Z of the layer, {in_words(tables, 'kind')}, all heads; first token "
        f"{tables.declared['position_0']}d. Below 1, the translations of a problem lie closer than "
        "other problems. Shaded: the same measure in random spaces and in spaces that hold as much "
        f"energy of these pooled vectors as Z, {draws_of(rows)} each, {tables.percent} (above: of "
        "Z).",
        model_marks.lines_note(tables),
    )
    return fig


def geometry_rows(tables: Tables) -> pd.DataFrame:
    """Rows of the declared kernel, of all heads together."""
    rows = tables.get(GEOMETRY, **of_cell(tables, "kind", "position_0"))
    return rows[rows["head"].isna()]


def cases(rows: pd.DataFrame) -> list[tuple[str, int]]:
    """Pooling and k of the columns."""
    return [
        (pooling, k)
        for pooling in POOLINGS
        for k in ks_of(rows)
        if len(select(rows, pooling=pooling, k=k))
    ]


def _ratios(ax: Axes, rows: pd.DataFrame, named: str) -> None:
    model_marks.null_bands(ax, select(rows, metric="ratio_z"))
    for metric, colour in COLOURS.items():
        model_marks.model_lines(ax, model_marks.once(select(rows, metric=metric), "layer"), colour)
    style.baseline(ax, 1.0, named)
