"""The study in one figure: six panels, and what the protocol and the controlled rules conclude."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.frames import select
from zscope.figures.tables import Tables
from zscope.studies.crosslingual.figures import (
    accuracy,
    bridge,
    model_marks,
    rates,
    retrieval,
    updates,
    verdict_table,
)
from zscope.studies.crosslingual.figures.ard_fits import declared_fits, nearest_layer
from zscope.studies.crosslingual.figures.lookups import cell_of, count, in_words, layers_of, of_cell
from zscope.studies.crosslingual.tables import (
    ACCURACY,
    ARD,
    BRIDGE,
    DRAWS,
    RATES,
    SIZES,
    SUMMARY,
    UPDATES,
    VERDICTS,
)
from zscope.verdicts import POWER

NEEDS = (ACCURACY, RATES, DRAWS, UPDATES, ARD, BRIDGE, SUMMARY, VERDICTS, SIZES)

CHANGED = {**rates.CHANGES, "broken": style.BLACK}
PATCHED = (rates.Z, rates.ENERGY, rates.OWN, rates.Z_PERP, rates.ENERGY_PERP, rates.FULL)
SITE = (rates.Z, rates.ENERGY, rates.Z_PERP, rates.FULL)
SCORES = {"protocol_r2": "fit", "loo_r2": "LOO", "ridge_loo_r2": "ridge", "procrustes_r2": "rot."}


@style.styled
def draw(tables: Tables) -> Figure:
    questions = verdict_table.asked(tables)
    table = verdict_table.height(questions)
    fig = style.figure(style.DOUBLE, 7.1 + table)
    upper, lower = style.stacked(fig, 5.2, table)
    (answers, site, cell), (update, retrieved, mapped) = upper.subplots(2, 3)
    style.panel_title(answers, "a  accuracy")
    accuracy.panel(answers, tables)
    style.panel_title(site, "b  control: the answer's site")
    # In the declared layer, at the answer's site, the state of another problem's.
    declared = cell_of(tables)
    one = declared | {"design": "site_answer", "source": "mismatched", "where": "prefill"}
    _rates(site, tables, one, SITE, {"source_answer": None}, "answer of the source (share)")
    style.panel_title(cell, "c  the declared cell")
    _rates(cell, tables, declared, PATCHED, CHANGED, "share of problems")
    style.panel_title(update, "d  R(l), added inside Z")
    _updates(update, tables)
    style.panel_title(retrieved, "e  held-out retrieval")
    _retrieval(retrieved, tables)
    style.panel_title(mapped, "f  linear bridge in Z")
    _bridge(mapped, tables)
    verdict_table.draw_table(lower.subplots(), questions)
    style.legend(
        fig,
        {f"a, d: {n}": c for n, c in model_marks.LANGUAGES.items()}
        | {f"c: {rates.METRICS[m]}": c for m, c in CHANGED.items()}
        | {f"f: {name}": bridge.SPACES[s] for s, name in bridge.NAMES.items()},
        columns=4,
    )
    cells = tables.get(RATES, stratum="baseline_correct", space="z")
    style.note(
        fig,
        count(tables, cells),
        f"{in_words(tables, 'layer', 'k', 'kind', 'design', 'source', 'where').capitalize()}, "
        f"{tables.declared['direction']}.",
        f"Dots and thin lines: models with {tables.percent} intervals; bars and thick lines: "
        "median over models (from 3 on). Dashed: chance, or no effect; shaded: energy-matched "
        "(orange) and random or permuted (grey). f: fit, in sample as in the protocol; LOO, left "
        "out; rot., a rotation.",
        rates.draws_note(tables, [declared, one]),
        "Table: a mark per model, then the word over trainings; value and detectable, from the "
        f"least to the largest among models. Detectable: the effect that is found with probability "
        f"{POWER:g}.",
    )
    return fig


def _rates(
    ax: Axes,
    tables: Tables,
    cell: dict[str, Any],
    conditions: Sequence[rates.Condition],
    metrics: Mapping[str, str | None],
    label: str,
) -> None:
    rates.panel(ax, tables, cell, conditions, metrics)
    ax.set_xlabel(label)
    ax.set_ylabel("patched")


def _updates(ax: Axes, tables: Tables) -> None:
    rows = select(updates.update_rows(tables), k=of_cell(tables, "k")["k"])
    if rows.empty:
        style.not_applicable(ax, "not measured")
        return
    updates.ratio(ax, rows, list(model_marks.LANGUAGES), named=True)
    style.at_least(ax, 0.0, 1.1)
    model_marks.layer_axis(ax, layers_of(rows))
    ax.set_ylabel("R (ratio)")


def _retrieval(ax: Axes, tables: Tables) -> None:
    rows = tables.get(ARD, metric="retrieval_category_zh_en", basis="coordinates")
    rows = declared_fits(rows)
    rows = select(rows, layer=nearest_layer(tables, rows))
    retrieval.panel(ax, tables, rows)
    ax.set_xlabel("accuracy in a category (share)")
    ax.set_ylabel("weights")


def _bridge(ax: Axes, tables: Tables) -> None:
    bridge.panel(
        ax, tables, select(bridge.bridge_rows(tables), k=of_cell(tables, "k")["k"]), SCORES
    )
