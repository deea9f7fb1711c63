"""How each primitive is learned: excess over its floor against the optimizer step, seed by seed."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import marks, style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.toylang.figures.lookups import NAMES, excess, labels_of, seeds_text
from zscope.studies.toylang.tables import TRAINING
from zscope.studies.toylang.targets import EXCESS, EXCESS_OF_ALL, excess_target

NEEDS = (TRAINING,)
COLUMNS = 5


@style.styled
def draw(tables: Tables) -> Figure:
    rows = excess(tables)
    if rows.empty:
        return style.nothing_to_draw("the reference was not trained")
    names = labels_of(rows)
    height = math.ceil(len(names) / COLUMNS)
    fig = style.figure(style.DOUBLE, 1.45 * height + 0.8)
    axes = fig.subplots(height, COLUMNS, sharex=True, sharey=True, squeeze=False)
    for ax, name in zip(axes.flat, names, strict=False):
        style.panel_title(ax, NAMES.get(name, name))
        of = select(rows, primitive=name)
        panel(ax, of, style.BLACK if name == "all" else style.BLUE)
        style.step_axis(ax, rows["step"], "")
        target = excess_target(name)
        ax.axhline(target, **style.DASHED)
    for ax in axes.flat[len(names) :]:
        ax.set_axis_off()
    limits(axes[0, 0], rows)  # shared by all
    for column in range(COLUMNS):
        last = [ax for ax in axes[:, column] if ax.axison]
        if last:
            last[-1].set_xlabel("optimizer steps")
            last[-1].tick_params(labelbottom=True)
    for ax in axes[:, 0]:
        ax.set_ylabel("excess (nats)")
    style.note(
        fig,
        f"{seeds_text(rows)} {style.LINES} Bands: {tables.percent} intervals over sequences.",
        "Excess: exact KL from the language to the model where the primitive governs; 0 is "
        "perfect.",
        f"Dashed: the targets, {EXCESS_OF_ALL:g} nats of all and {EXCESS:g} of every primitive.",
    )
    return fig


def panel(ax: Axes, rows: pd.DataFrame, colour: str) -> None:
    """Excess on a logarithmic y with its own limits; values not above 0 are not drawn."""
    # A log axis has no place for an interval's end at 0.
    low = pd.Series(numbers(rows["ci_low"]), rows.index).clip(lower=1e-6)
    marks.seed_lines(ax, rows.assign(ci_low=low), colour)
    limits(ax, rows)
    ax.set_yscale("log", nonpositive="mask")


def limits(ax: Axes, rows: pd.DataFrame) -> None:
    """Show all values above 0, and the targets."""
    values, high = numbers(rows["value"]), numbers(rows["ci_high"])
    known = values[values > 0]
    top = np.nanmax([*known, *high], initial=0.1)
    ax.set_ylim(known.min(initial=0.01) / 1.3, top * 1.3)
