"""Rates of patching as rows of dots: the part that patching, necessity and the dashboard share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from zscope.figures import style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.crosslingual.figures import model_marks
from zscope.studies.crosslingual.figures.lookups import CELL, models_of, of_range
from zscope.studies.crosslingual.tables import DRAWS, RATES, TESTS
from zscope.verdicts import LEAST_DRAWS

METRICS = {
    "answer_changed": "answer changed",
    "source_answer": "answer of the source",
    "language_switched": "language switched",
    "correct": "right answer",
    "broken": "broken text",
}
CHANGES = {"answer_changed": style.BLUE, "language_switched": style.VERMILLION}
DRAWN = ("random", "energy", "random_perp", "energy_perp")
STRIPE = "#F4F4F4"
NONE_RIGHT = "no problem was right unpatched"


class Condition(NamedTuple):
    """What is patched in. source: instead of the cell's."""

    name: str
    space: str
    colour: str
    source: str | None = None


NONE = Condition("unpatched", "none", model_marks.COLOURS["none"])
Z = Condition("Z", "z", model_marks.COLOURS["z"])
ENERGY = Condition("energy-matched", "energy", model_marks.COLOURS["energy"])
RANDOM = Condition("random", "random", model_marks.COLOURS["random"])
OWN = Condition("Z, own mean", "z", model_marks.COLOURS["own"], "own")
PLACEBO = Condition("Z, placebo", "z", model_marks.COLOURS["placebo"], "placebo")
Z_PERP = Condition("Z-perp", "z_perp", model_marks.COLOURS["z_perp"])
ENERGY_PERP = Condition("energy-matched perp", "energy_perp", model_marks.COLOURS["energy"])
FULL = Condition("everything", "full", model_marks.COLOURS["full"])


def condition_rows(
    tables: Tables, cell: Mapping[str, Any], condition: Condition, metric: str
) -> pd.DataFrame:
    """One row per model, over the problems that were right unpatched; n is how many.

    cell: layer, k, kind, design, source, where, position_0 and direction. The unpatched outputs,
    of the design's prompt, and a patch of everything are the same at every k and kernel.
    """
    rows = tables.get(
        RATES,
        space=condition.space,
        metric=metric,
        stratum="baseline_correct",
        layer=cell["layer"],
        position_0=cell["position_0"],
        direction=cell["direction"],
    )
    if condition.space == "none":
        forced = "site_answer" if cell["design"] == "site_answer" else "none"
        return select(rows, design=forced)
    source = condition.source or cell["source"]
    rows = select(rows, design=cell["design"], where=cell["where"], source=source)
    if condition.space == "full":
        return rows.drop_duplicates("model")
    return select(rows, k=cell["k"], kind=cell["kind"])


def draw_rows(
    tables: Tables, cell: Mapping[str, Any], space: str, metric: str | None = None
) -> pd.DataFrame:
    """One row per model and draw of a random space, over the problems that were right unpatched;
    none where the draws were not kept apart. metric: None for all."""
    wanted = {"metric": metric} if metric else {}
    where = {column: cell[column] for column in CELL}
    return tables.get(DRAWS, **where, space=space, stratum="baseline_correct", **wanted)


def panel(
    ax: Axes,
    tables: Tables,
    cell: Mapping[str, Any],
    conditions: Sequence[Condition],
    metrics: Mapping[str, str | None],
    why: str = "not run",
) -> None:
    """Conditions on y, rates on x, one dot per model; behind it a small one per draw, if there are.

    metrics: name -> colour (None: the condition's); several share a condition's row, from above.
    why: what an empty panel says.
    """
    found = {
        (c, metric): condition_rows(tables, cell, c, metric)
        for c in conditions
        for metric in metrics
    }
    patched = [rows for (c, _), rows in found.items() if c.space != "none"]
    if not any(rows["value"].notna().any() for rows in patched):
        judged = tables.get(RATES, stratum="baseline_correct")
        run = len(tables.get(RATES))
        style.not_applicable(ax, NONE_RIGHT if run and judged.empty else why)
        return
    height = 0.8 / len(metrics)
    for place, condition in enumerate(conditions):
        if place % 2:
            ax.axhspan(place - 0.5, place + 0.5, color=STRIPE, linewidth=0, zorder=0)
        for j, (metric, colour) in enumerate(metrics.items()):
            at = place + (j - (len(metrics) - 1) / 2) * height
            models, look = models_of(tables), colour or condition.colour
            named: dict[str, Any] = {"name": f"{metric} {condition.name}", "width": 0.75 * height}
            filled = not condition.space.endswith("_perp")
            rows = found[condition, metric]
            model_marks.model_dots(ax, at, rows, models, look, **named, filled=filled)
            if condition.space in DRAWN:
                draws = draw_rows(tables, cell, condition.space, metric)
                model_marks.draw_dots(ax, at, draws, models, look, **named)
    model_marks.name_axis(ax, [c.name for c in conditions])
    ax.tick_params(axis="y", length=0)
    model_marks.share_axis(ax)


def band(
    fig: SubFigure,
    title: str,
    tables: Tables,
    cell: Mapping[str, Any],
    conditions: Sequence[Condition],
    metrics: Mapping[str, str],
    label: str,
) -> list[Axes]:
    """Panels of one cell side by side, one per metric; the conditions are named on the left.

    metrics: name -> what an empty panel says. label: of the conditions.
    """
    fig.suptitle(title, fontsize=8, x=0.01, ha="left")
    axes = fig.subplots(1, len(metrics))
    for ax, (metric, why) in zip(axes, metrics.items(), strict=True):
        panel(ax, tables, cell, conditions, {metric: None}, why)
        ax.set_xlabel(f"{METRICS[metric]} (share)")
        ax.set_ylabel(label if ax is axes[0] else "")
        if ax is not axes[0]:
            ax.tick_params(labelleft=False)
    return list(axes)


def draws_note(tables: Tables, cells: Sequence[Mapping[str, Any]]) -> str:
    """What the small dots of the cells are, and what the energy is matched on."""
    rows = pd.concat([draw_rows(tables, cell, space) for cell in cells for space in DRAWN])
    matched = ", ".join(rows["matched_on"].dropna().unique())
    return dots_of(rows) + f" Energy is matched on {matched}." * bool(matched)


def dots_of(rows: pd.DataFrame) -> str:
    """How many draws are small dots, and whether they are a null; rows: of DRAWS."""
    counts = rows.groupby(["model", "space", *CELL], dropna=False)["draw"].nunique()
    if counts.empty:
        return ""
    few = f" (fewer than {LEAST_DRAWS} are no null)" * bool(counts.min() < LEAST_DRAWS)
    return f"Small dots: {of_range(counts, 'draw')} of a random space{few}."


def elsewhere_note(tables: Tables, cells: Sequence[Mapping[str, Any]]) -> str:
    """How many draws are behind the random spaces that no verdict reads."""
    of_cells = [tables.get(TESTS, **{column: cell[column] for column in CELL}) for cell in cells]
    tests = pd.concat(of_cells)
    draws = numbers(tests[tests["second"].isin(DRAWN)]["draws"])
    few = of_range(draws[draws < LEAST_DRAWS], "draw")
    return f"Without small dots: {few} of a random space, no null." * bool(few)
