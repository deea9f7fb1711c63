"""Does the FFN avoid the attention subspace? Its writes and reads inside Z, over chance."""

from __future__ import annotations

from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import select
from zscope.figures.tables import Tables
from zscope.studies.crosslingual.figures import model_marks
from zscope.studies.crosslingual.figures.lookups import count, draws_of, ks_of, layers_of, of_cell
from zscope.studies.crosslingual.tables import WEIGHTS

NEEDS = (WEIGHTS,)

PANELS = {
    "ffn_write_share": "a  writes",
    "ffn_read_share": "b  reads",
    "ffn_write_span": "c  leading span of writes",
}


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get(WEIGHTS, **of_cell(tables, "kind"))
    rows = rows[rows["metric"].isin(PANELS) & rows["null_mean"].notna()]
    if rows.empty:
        return style.nothing_to_draw("no overlap with the FFN was measured", count(tables))
    rows = rows.assign(ratio=rows["value"] / rows["null_mean"])
    layers, sizes = layers_of(rows), ks_of(rows)
    colours = dict(zip(sizes, style.QUALITATIVE, strict=False))
    fig = style.figure(style.DOUBLE, 2.9)
    axes = fig.subplots(1, len(PANELS), sharey=True)
    for ax, (metric, title) in zip(axes, PANELS.items(), strict=True):
        style.panel_title(ax, title)
        of = select(rows, metric=metric)
        if of.empty:
            style.not_applicable(ax, "not measured")
            continue
        for k, colour in colours.items():
            model_marks.null_band(ax, select(of, k=k), colour, f"k {k}", over="null_mean")
            model_marks.model_lines(ax, select(of, k=k), colour, y="ratio")
        style.baseline(ax, 1.0, "chance" if ax is axes[-1] else "")
        model_marks.layer_axis(ax, layers)
    style.at_least(axes[0], 0.0, 1.5)
    axes[0].set_ylabel("energy inside Z\nover chance k/d (ratio)")
    shares = {k: select(rows, k=k, metric="ffn_write_share") for k in sizes}
    chance = ", ".join(
        f"{model_marks.constant(of, 'null_mean'):.3g} at k = {k}" for k, of in shares.items()
    )
    style.legend(
        fig,
        {f"k = {k}": c for k, c in colours.items()},
        extra=[model_marks.null_patch("null: random spaces")],
    )
    style.note(
        fig,
        count(tables),
        f"Z of the layer, kernel {tables.declared['kind']}. Chance k/d: {chance}. Shaded: random "
        f"spaces of the same k, {draws_of(rows)}, {tables.percent}.",
        model_marks.lines_note(tables, intervals=False),
    )
    return fig
