"""The headline: does Z carry the answer? Rates in the declared cell and its three neighbours."""

from __future__ import annotations

from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.tables import Tables
from zscope.studies.crosslingual.figures import model_marks, rates
from zscope.studies.crosslingual.figures.lookups import cell_of, count, in_words
from zscope.studies.crosslingual.tables import DRAWS, RATES, SIZES, TESTS

CONDITIONS = (
    rates.Z,
    rates.ENERGY,
    rates.RANDOM,
    rates.OWN,
    rates.PLACEBO,
    rates.Z_PERP,
    rates.ENERGY_PERP,
    rates.FULL,
)

NEEDS = (RATES, DRAWS, TESTS, SIZES)
METRICS = ("answer_changed", "source_answer", "language_switched", "broken")
SOURCES = {"mismatched": "another problem's", "matched": "the translation's"}
WHERE = {"prefill": "the prompt", "all": "every token"}


@style.styled
def draw(tables: Tables) -> Figure:
    if tables.get(RATES).empty:
        return style.nothing_to_draw("nothing was patched", count(tables))
    if tables.get(RATES, stratum="baseline_correct").empty:
        return style.nothing_to_draw(rates.NONE_RIGHT, count(tables))
    cells = neighbours(tables)
    # The draws need room in the declared cell.
    fig = style.figure(style.DOUBLE, 1.85 * len(cells) + 2.1)
    bands = style.stacked(fig, 1.5, *[1.0] * (len(cells) - 1))
    for band, cell, letter in zip(bands, cells, "abcde", strict=False):
        source = SOURCES.get(cell["source"], f"the {cell['source']}")
        title = f"{letter}  {source} states ({cell['source']}), at {WHERE[cell['where']]}"
        if cell == cells[0]:
            title += " - the declared cell"
            band.set_facecolor("#FFFBEF")
        whys = dict.fromkeys(METRICS, "not run")
        if cell["source"] != "mismatched":
            whys["source_answer"] = "the source has no other answer"
        if cell["where"] == "all" and cell["design"] != "mean":
            whys = dict.fromkeys(METRICS, f"design {cell['design']} patches the prompt alone")
        for ax in rates.band(band, title, tables, cell, CONDITIONS, whys, "patched"):
            ax.set_facecolor("none")
            if ax.axison:
                style.vertical(ax, 0.0)
    style.note(
        fig,
        count(tables, tables.get(RATES, stratum="baseline_correct", space="z")),
        f"{in_words(tables, 'layer', 'k', 'kind', 'design').capitalize()}, "
        f"{tables.declared['direction']} (source -> prompt).",
        "Only problems that were right unpatched; dashed: unpatched outputs, 0 by definition.",
        model_marks.dots_note(tables, "Wilson interval"),
        rates.draws_note(tables, cells),
        rates.elsewhere_note(tables, cells),
        "Z would be causal if Z changed more answers than nearly every energy-matched draw and "
        "kept the language, and Z-perp switched the language and kept the answers. Broken text "
        "is neither a changed answer nor another language.",
    )
    return fig


def neighbours(tables: Tables) -> list[dict]:
    """The declared cell, then the other combinations of matched or mismatched, prompt or all."""
    declared = cell_of(tables)
    others = [
        declared | {"source": source, "where": where} for source in SOURCES for where in WHERE
    ]
    return [declared, *(cell for cell in others if cell != declared)]
