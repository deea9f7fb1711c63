"""The look of zscope's figures: sizes, colours, axes, baselines, words, saving.

A figure module decorates its `draw` with `styled`, gets its panels from `figure`, and draws with
the helpers here and in `marks`, so that a mark means the same in all figures: a dashed grey line is
a baseline.
"""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator
from matplotlib.transforms import Bbox

from zscope.core.files import atomic_path

P = ParamSpec("P")

COLUMN, DOUBLE = 3.4, 7.0
"""Widths of a figure in one and in two columns of a page, in inches."""
SMALL = 7.0
"""The smallest font size, in points at those widths."""
PLACES = 9
"""Decimals of the places of panels, as shares of the figure: a millionth of a point."""

# Okabe and Ito (2008): distinct for all common kinds of colour vision.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILLION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY = "#6B6B6B"
QUALITATIVE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK, YELLOW)

# The look of every baseline.
DASHED: dict[str, Any] = {
    "color": GREY,
    "linestyle": (0, (4, 2)),
    "linewidth": 0.8,
    "zorder": 1.5,
    "label": "_baseline",
}
RC: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same outlines everywhere
    "font.size": SMALL,
    "axes.titlesize": 8,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 0.8,
    "lines.markersize": 3.5,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "svg.fonttype": "path",
    "svg.hashsalt": "zscope",
}


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Run a drawing function under zscope's matplotlib settings, whatever the user's are."""

    @wraps(draw)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with _settings():
            return draw(*args, **kwargs)

    return wrapped


def _settings() -> Any:
    settings: dict[Any, Any] = {**matplotlib.rcParamsDefault, **RC}
    # Looking for a window system takes pyplot, and nothing here is shown in a window.
    del settings["backend"]
    return matplotlib.rc_context(settings)


def figure(width: float, height: float) -> Figure:
    """An empty figure, in inches. It belongs to no window, so it need not be closed."""
    return Figure(figsize=(width, height), layout="constrained")


def stacked(fig: Figure, *heights: float) -> list[SubFigure]:
    """Bands of the figure from the top, of these relative heights, each with a grid of its own."""
    bands: Any = fig.subfigures(len(heights), 1, height_ratios=list(heights), squeeze=False)
    return list(bands[:, 0])


def save_figure(
    fig: Figure, paths: Sequence[str | os.PathLike[str]], provenance: Mapping[str, Any]
) -> None:
    """Write the figure to every path (.svg or .png), complete or not at all, and empty it.

    The provenance goes into the file's Description as JSON. The bytes depend only on the figure,
    the provenance and the version of matplotlib. Raises ValueError for another suffix.
    """
    description = json.dumps(dict(provenance), sort_keys=True)
    # No date and no program version: a redraw gives the same bytes.
    metadata: dict[str, dict[str, str | None]] = {
        "svg": {"Description": description, "Date": None, "Creator": "zscope"},
        "png": {"Description": description, "Software": None},
    }
    for path in map(Path, paths):
        if path.suffix.removeprefix(".") not in metadata:
            raise ValueError(f"{path}: a figure is saved as .svg or .png")
    _lay_out(fig)
    for path in map(Path, paths):
        kind = path.suffix.removeprefix(".")
        with _settings(), atomic_path(path) as temporary:
            fig.savefig(temporary, format=kind, metadata=metadata[kind])
    fig.clear()


def _lay_out(fig: Figure) -> None:
    """Lay the figure out once for all files, because this takes most of the time of a save."""
    with _settings():
        fig.set_dpi(RC["savefig.dpi"])
        if engine := fig.get_layout_engine():
            engine.execute(fig)
        fig.set_layout_engine(None)
        _round_places(fig)


def _round_places(fig: Figure | SubFigure) -> None:
    """Round what the layout solver has placed, for it does not repeat its last bits."""
    for part in fig.subfigs:
        box = part.bbox_relative
        box.p0, box.p1 = np.round(box.p0, PLACES), np.round(box.p1, PLACES)
        _round_places(part)
    for ax in fig.get_axes():
        ax.set_position(Bbox(np.round(ax.get_position(original=True).get_points(), PLACES)))


# --- axes ----------------------------------------------------------------------------------


def step_axis(ax: Axes, steps: Iterable[float], label: str = "optimizer steps") -> None:
    """Time on x, symmetric-log to show step 0: linear up to the first step after it."""
    _time_axis(ax.xaxis, ax.set_xscale, ax.set_xlim, steps)
    ax.set_xlabel(label)


def time_axis_y(ax: Axes, times: Iterable[float], label: str) -> None:
    """Time on y, as `step_axis`; also for other units, and for lags, which can be negative."""
    _time_axis(ax.yaxis, ax.set_yscale, ax.set_ylim, times)
    ax.set_ylabel(label)


def _time_axis(axis: Any, set_scale: Any, set_limits: Any, times: Iterable[float]) -> None:
    known = np.array([t for t in times if np.isfinite(t)], dtype=float)
    sizes = np.abs(known[known != 0])
    small, large = (sizes.min(), sizes.max()) if sizes.size else (1.0, 10.0)
    threshold = max(small, large / 200)  # otherwise the first few steps would take most of the axis
    low = min(0.0, known.min(initial=0.0))
    set_scale("symlog", linthresh=threshold, linscale=0.5)
    set_limits(low * 1.3, max(known.max(initial=0.0), threshold) * 1.12)
    ticks = _ticks(threshold, large * 1.12)
    minus = [-t for t in ticks if t <= -low]
    axis.set_major_locator(FixedLocator([*reversed(minus), 0.0, *ticks]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _ticks(low: float, high: float) -> list[float]:
    """Ticks from low to high that are far enough apart to be read: powers of ten, and their
    multiples by 3, or by 2 and 5, if there are fewer than three."""
    powers = range(-6, 12)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        ticks = [f * 10.0**p for p in powers for f in factors if low <= f * 10.0**p <= high]
        if len(ticks) >= 3:
            break
    apart: list[float] = []
    for tick in reversed(ticks):
        if not apart or apart[-1] >= 2.4 * tick:
            apart.append(tick)
    return apart[::-1] or [low]


def short_number(value: float) -> str:
    """1500 as 1.5k, 2000000 as 2M."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def baseline(ax: Axes, y: float, text: str, *, above: bool = True) -> None:
    """A dashed grey line at y, named beside the right end of the axes; nothing if y is NaN.

    above: whether the name stands just above the height of the line or just below it.
    """
    if not np.isfinite(y):
        return
    ax.axhline(y, **DASHED)
    ax.annotate(
        text,
        (1.0, y),
        (2, 0),
        ("axes fraction", "data"),
        "offset points",
        color=GREY,
        ha="left",
        va="bottom" if above else "top",
        annotation_clip=False,
    )


def vertical(ax: Axes, x: float) -> None:
    """A dashed grey line at x; nothing if x is NaN."""
    if np.isfinite(x):
        ax.axvline(x, **DASHED)


def share_axis(ax: Axes, label: str) -> None:
    """A share on y, from 0 to 1."""
    ax.set_ylim(-0.03, 1.05)
    ax.set_yticks([0, 0.5, 1])
    ax.set_ylabel(label)


def at_least(ax: Axes, low: float, high: float) -> None:
    """Widen y to show low to high, so that noise around zero does not fill the panel."""
    bottom, top = ax.get_ylim()
    ax.set_ylim(min(bottom, low), max(top, high))


def not_applicable(ax: Axes, why: str) -> None:
    """Say on an empty panel why there is nothing to draw."""
    ax.set_axis_off()
    inches = ax.get_window_extent().width / RC["figure.dpi"]
    width = max(18, int(inches * 14))
    text = textwrap.fill(f"not applicable: {why}", width)
    ax.text(0.5, 0.5, text, ha="center", va="center", color=GREY, transform=ax.transAxes)


def nothing_to_draw(why: str, *sentences: str) -> Figure:
    """A small figure that says why there is nothing to draw, with the notes."""
    fig = figure(COLUMN, 1.6)
    not_applicable(fig.subplots(), why)
    note(fig, *sentences)
    return fig


def panel_title(ax: Axes, text: str) -> None:
    ax.set_title(text, loc="left")


# --- words ---------------------------------------------------------------------------------


def count_lines(row: Mapping[str, str]) -> int:
    """The number of lines that a row of a `word_table` takes."""
    return max(text.count("\n") + 1 for text in row.values())


def word_table(
    ax: Axes,
    columns: Mapping[str, float],
    rows: Sequence[Mapping[str, str]],
    colour: Callable[[str, str], Any],
) -> None:
    """Draw rows of words under the names of their columns, instead of axes.

    columns: the left edge of each, as a share of the width. rows: texts by column, already wrapped.
    colour: the colour of a text, given its column and the text.
    """
    ax.set_axis_off()
    lines = [count_lines(row) for row in rows]
    total = sum(lines) + 1.2
    for name, left in columns.items():
        ax.text(left, 1, name, va="top", fontweight="bold", transform=ax.transAxes)
        line = 1.2
        for row, height in zip(rows, lines, strict=True):
            ax.text(
                left,
                1 - line / total,
                row[name],
                va="top",
                color=colour(name, row[name]),
                linespacing=1.05,
                transform=ax.transAxes,
            )
            line += height


def legend(
    fig: Figure, entries: Mapping[str, Any], *, extra: Sequence[Any] = (), columns: int = 0
) -> None:
    """A legend above the panels: a line per name and colour, then ready-made handles."""
    handles = [*(line(name, c, linewidth=1.8) for name, c in entries.items()), *extra]
    if handles:
        columns = columns or min(len(handles), 6)
        fig.legend(handles=handles, loc="outside upper center", ncols=columns)


def dot(name: str, colour: Any = GREY) -> Line2D:
    return line(name, colour, linestyle="", marker="o")


def arrow(name: str = "censored: not reached by the last step", marker: str = "^") -> Line2D:
    return line(name, linestyle="", marker=marker, markerfacecolor="none")


def line(name: str, colour: Any = GREY, **style: Any) -> Line2D:
    return Line2D([], [], color=colour, label=name, **style)


def patch(name: str, colour: Any) -> Patch:
    return Patch(facecolor=colour, edgecolor=GREY, linewidth=0.3, label=name)


LINES = "Thin: one seed and its interval; thick: median over seeds (3 or more)."


def note(fig: Figure, *sentences: str) -> None:
    """Write notes in small print below the panels: numbers of seeds, intervals, censoring."""
    width = int(fig.get_figwidth() * 16.5)
    fig.supxlabel(
        textwrap.fill(" ".join(s for s in sentences if s), width), fontsize=SMALL, color=GREY
    )


def gradient(n: int) -> list[Any]:
    """n ordered colours from dark to light (viridis without its pale end)."""
    return [matplotlib.colormaps["viridis"](v) for v in np.linspace(0, 0.88, n)]
