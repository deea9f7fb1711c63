"""Is Z necessary? Its content replaced by the mean over problems, against other spaces."""

from __future__ import annotations

from matplotlib.figure import Figure

from zscope.figures import style
from zscope.studies.crosslingual.figures import model_marks, rates
from zscope.studies.crosslingual.figures.lookups import Tables, layers_of, select, sizes_of

CONDITIONS = (
    rates.NONE,
    rates.Z,
    rates.ENERGY,
    rates.RANDOM,
    rates.Z_PERP,
    rates.ENERGY_PERP,
    rates.FULL,
)
METRICS = ("correct", "answer_changed", "language_changed")


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get(
        "crosslingual_rates",
        source="mean",
        design="mean",
        **tables.of_cell("where", "direction", "kind"),
    )
    if rows.empty:
        return style.nothing_to_draw("nothing was replaced by its mean", tables.count())
    rows = select(rows, stratum="baseline_correct")
    if rows.empty:
        return style.nothing_to_draw(rates.NONE_RIGHT, tables.count())
    cells = [
        {**tables.cell, "source": "mean", "design": "mean", "layer": layer, "k": k}
        for layer in layers_of(rows)
        for k in sizes_of(rows)
    ]
    fig = style.figure(style.DOUBLE, 1.6 * len(cells) + 1.0)
    for band, cell, letter in zip(
        style.stacked(fig, *[1.0] * len(cells)), cells, _LETTERS, strict=False
    ):
        band.suptitle(
            f"{letter}  layer {cell['layer']}, k = {cell['k']}", fontsize=8, x=0.01, ha="left"
        )
        axes = band.subplots(1, len(METRICS))
        for ax, metric in zip(axes, METRICS, strict=True):
            rates.panel(ax, tables, cell, CONDITIONS, {metric: None})
            ax.set_xlabel(f"{rates.METRICS[metric]} (share)")
            ax.set_ylabel("replaced" if ax is axes[0] else "")
            if ax is not axes[0]:
                ax.tick_params(labelleft=False)
    style.note(
        fig,
        tables.count(rows),
        f"Kernel {tables.cell['kind']}; the content of a space is replaced by its mean over the "
        f"other problems in the prompt's language, at {tables.cell['where']}; "
        f"{tables.cell['direction']} names the prompt's language last. Only problems that were "
        "right unpatched.",
        model_marks.dots_note(tables.models, "95 % Wilson interval"),
        "Z is necessary if without it fewer answers are right than without an energy-matched "
        "space.",
    )
    return fig


_LETTERS = "abcdefghijklmnop"
