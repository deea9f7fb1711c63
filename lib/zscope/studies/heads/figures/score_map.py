"""Which head has which pattern: scores over layers and heads, a panel for each detector."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zscope.figures import style
from zscope.figures.tables import Tables
from zscope.studies.heads.figures.lookups import asked, first_model, grid, naming_rows, word_of
from zscope.studies.heads.tables import SCORES, VERDICTS

NEEDS = (SCORES, VERDICTS)
OF_A_SUBJECT = True
COLUMNS = 4


@style.styled
def draw(tables: Tables) -> Figure:
    subject = str(tables.declared["subject"])
    scores, verdicts = tables.get(SCORES), tables.get(VERDICTS)
    if scores.empty:
        return style.nothing_to_draw(f"no detector applies to {subject}")
    model, detectors = first_model(scores), asked(scores)
    panels = {d: naming_rows(scores, model, d) for d in detectors}
    n_rows = math.ceil(len(panels) / COLUMNS)
    n_layers = 1 + int(scores["layer"].max())
    height = 0.75 + 0.055 * max(n_layers, 8)
    fig = style.figure(style.DOUBLE, n_rows * height + 1.0)
    axes = fig.subplots(n_rows, COLUMNS, squeeze=False)
    image = None
    for ax, (detector, rows) in zip(axes.flat, panels.items(), strict=False):
        style.panel_title(ax, f"{detector}\n{word_of(verdicts, subject, detector)}")
        values = grid(rows, "value")
        image = ax.imshow(
            values,
            cmap="RdBu_r",
            vmin=-1,
            vmax=1,
            origin="lower",
            aspect="auto",
            interpolation="none",
        )
        _rings(ax, grid(rows, "named"), grid(rows, "named_by_class"))
        ax.set_xlabel("head")
        ax.set_ylabel("layer")
        for axis, n in ((ax.xaxis, values.shape[1]), (ax.yaxis, values.shape[0])):
            axis.set_ticks([0, n - 1] if n > 1 else [0])
    for ax in list(axes.flat)[len(panels) :]:
        ax.set_axis_off()
    if image is not None:
        fig.colorbar(image, ax=list(axes.flat), shrink=0.8, label="score")
    ring = {"linestyle": "", "marker": "o", "markerfacecolor": "none"}
    style.legend(
        fig,
        {},
        extra=[
            style.line("named", style.BLACK, **ring),
            style.line("named by a class of query tokens", style.GREEN, **ring),
        ],
    )
    others = scores["model"].nunique() - 1
    style.note(
        fig,
        f"{model}" + (f", one of {others + 1} models of {subject}." if others else "."),
        f"Named by the lower end of the {tables.percent} interval over sequences and by q. "
        "Below each name: the verdict over all models. White: as the null, or undefined.",
    )
    return fig


def _rings(ax: Axes, named: np.ndarray, by_class: np.ndarray) -> None:
    """A ring around every named head; green where a class alone names it."""
    for marked, colour in (
        (named == 1, style.BLACK),
        ((by_class == 1) & (named != 1), style.GREEN),
    ):
        layers, heads = np.nonzero(marked)
        ax.scatter(
            heads,
            layers,
            s=22,
            facecolors="none",
            edgecolors=colour,
            linewidths=0.9,
            label="_heads named",
        )
