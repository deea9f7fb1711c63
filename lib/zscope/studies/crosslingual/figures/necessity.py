"""Is Z necessary? Its content replaced by the mean over problems, against other spaces."""

from __future__ import annotations

from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import select
from zscope.figures.tables import Tables
from zscope.studies.crosslingual.figures import model_marks, rates
from zscope.studies.crosslingual.figures.lookups import count, in_words, ks_of, layers_of, of_cell
from zscope.studies.crosslingual.tables import DRAWS, RATES, TESTS

CONDITIONS = (
    rates.NONE,
    rates.Z,
    rates.ENERGY,
    rates.RANDOM,
    rates.Z_PERP,
    rates.ENERGY_PERP,
    rates.FULL,
)

NEEDS = (RATES, DRAWS, TESTS)
METRICS = ("correct", "answer_changed", "broken")


@style.styled
def draw(tables: Tables) -> Figure:
    rows = tables.get(
        RATES, source="mean", design="mean", **of_cell(tables, "where", "direction", "kind")
    )
    if rows.empty:
        return style.nothing_to_draw("nothing was replaced by its mean", count(tables))
    rows = select(rows, stratum="baseline_correct")
    if rows.empty:
        return style.nothing_to_draw(rates.NONE_RIGHT, count(tables))
    cells = [
        {**tables.declared, "source": "mean", "design": "mean", "layer": layer, "k": k}
        for layer in layers_of(rows)
        for k in ks_of(rows)
    ]
    # The draws need room, where they are kept apart.
    heights = [2.8 if len(rates.draw_rows(tables, cell, "energy")) else 1.6 for cell in cells]
    fig = style.figure(style.DOUBLE, sum(heights) + 1.0)
    bands = style.stacked(fig, *heights)
    for band, cell, letter in zip(bands, cells, "abcdefghijklmnop", strict=False):
        title = f"{letter}  layer {cell['layer']}, k = {cell['k']}"
        metrics = dict.fromkeys(METRICS, "not run")
        rates.band(band, title, tables, cell, CONDITIONS, metrics, "replaced")
    style.note(
        fig,
        count(tables, rows),
        f"Kernel {tables.declared['kind']}; the content of a space is replaced by its mean over "
        f"the other problems in the prompt's language, {in_words(tables, 'where')}; "
        f"{tables.declared['direction']} names the prompt's language last. Only problems that were "
        "right unpatched.",
        model_marks.dots_note(tables, "Wilson interval"),
        rates.draws_note(tables, cells),
        rates.elsewhere_note(tables, cells),
        "Z is necessary if more answers change without it than without nearly every "
        "energy-matched draw; a broken text is no changed answer.",
    )
    return fig
