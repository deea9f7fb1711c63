"""The one look of zscope's figures: sizes, colours, axes, lines over seeds, onsets, saving.

A figure module decorates its `draw` with `styled`, gets its panels from `figure`, and draws with
the helpers here, so that the same thing looks the same everywhere: a thin line is one seed, a
faint band its interval, a thick line the median over seeds, a dashed grey line a baseline, a dot
an onset, an open arrow an onset that had not come by the last step (right-censored).
"""

from __future__ import annotations

import json
import os
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from zscope.figures.frames import numbers
from zscope.files import atomic_path

P = ParamSpec("P")

COLUMN, DOUBLE = 3.4, 7.0
"""Widths of a figure in one and in two columns of a page, in inches."""
SMALL = 7.0
"""The smallest font size, in points at those widths."""

# Okabe and Ito (2008): told apart with every common colour vision.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILLION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY = "#6B6B6B"
QUALITATIVE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK, YELLOW)
METRIC_COLOURS = {
    "loss": ORANGE,
    "first_loss": BLACK,
    "set_mass": BLUE,
    "z_gap": VERMILLION,
    "candidate_loss": GREEN,
    "candidate_accuracy": PURPLE,
    "candidate_top3": SKY,
    "lag": PURPLE,
}
PHASE_COLOURS = {"nothing learned": "#EEEEEE", "knows B, ignores z": "#FFF3D6", "uses z": "#E3F1FA"}

RC: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same outlines everywhere
    "font.size": SMALL,
    "axes.titlesize": 8,
    "axes.labelsize": SMALL,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
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
    "image.cmap": "viridis",
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
    return matplotlib.rc_context(settings)


def figure(width: float, height: float) -> Figure:
    """An empty figure, in inches; it belongs to no window and needs no closing."""
    return Figure(figsize=(width, height), layout="constrained")


def stacked(fig: Figure, *heights: float) -> list[SubFigure]:
    """The figure cut into bands, from the top, of these relative heights; each has its own grid."""
    bands: Any = fig.subfigures(len(heights), 1, height_ratios=list(heights), squeeze=False)
    return list(bands[:, 0])


def save_figure(
    fig: Figure, paths: Sequence[str | os.PathLike[str]], provenance: Mapping[str, Any]
) -> None:
    """Write the figure to every path (.svg or .png), whole or not at all, and empty it.

    The provenance goes, as JSON, into the file's Description. The bytes depend on the figure, the
    provenance and the version of matplotlib alone. Raises ValueError for another suffix.
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
            if kind == "svg":
                _number_clips(temporary)
    fig.clear()


def _lay_out(fig: Figure) -> None:
    """Place everything once, for all files: most of the time of a save is its layout."""
    with _settings():
        fig.set_dpi(RC["savefig.dpi"])
        if engine := fig.get_layout_engine():
            engine.execute(fig)
        fig.set_layout_engine(None)


def _number_clips(path: Path) -> None:
    """Name the clips of an SVG by their order.

    Matplotlib names them by a digest of their coordinates, which the solver of its layout does not
    repeat to the last bit.
    """
    text = path.read_text("utf-8")
    names = dict.fromkeys(re.findall(r"\bp[0-9a-f]{10}\b", text))
    numbers = {name: f"clip{i}" for i, name in enumerate(names)}
    path.write_text(re.sub(r"\bp[0-9a-f]{10}\b", lambda found: numbers[found[0]], text), "utf-8")


# --- axes ----------------------------------------------------------------------------------


def step_axis(ax: Axes, steps: Iterable[float], label: str = "optimizer steps") -> None:
    """Time on x, symmetric-log, so that step 0 shows: linear up to the first step after it."""
    _time_axis(ax.xaxis, ax.set_xscale, ax.set_xlim, steps)
    ax.set_xlabel(label)


def time_axis_y(ax: Axes, times: Iterable[float], label: str) -> None:
    """Time on y, as `step_axis` (also for other units, and for lags, which can be below 0)."""
    _time_axis(ax.yaxis, ax.set_yscale, ax.set_ylim, times)
    ax.set_ylabel(label)


def _time_axis(axis: Any, set_scale: Any, set_limits: Any, times: Iterable[float]) -> None:
    known = np.array([t for t in times if np.isfinite(t)], dtype=float)
    sizes = np.abs(known[known != 0])
    small, large = (sizes.min(), sizes.max()) if sizes.size else (1.0, 10.0)
    threshold = max(small, large / 200)  # else the first few steps would take most of the axis
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
    """Powers of ten from low to high; their threefold too where there are fewer than three; and
    where that is not enough either, round numbers that stand far enough apart to be read."""
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

    above: the name stands a little above the line's height, or a little below it.
    """
    if not np.isfinite(y):
        return
    ax.axhline(y, color=GREY, linestyle=(0, (4, 2)), linewidth=0.8, zorder=1.5, label="_baseline")
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
        look: Any = {"color": GREY, "linestyle": (0, (4, 2)), "linewidth": 0.8}
        ax.axvline(x, **look, zorder=1.5, label="_baseline")


def share_axis(ax: Axes, label: str) -> None:
    """A share on y, from 0 to 1."""
    ax.set_ylim(-0.03, 1.05)
    ax.set_yticks([0, 0.5, 1])
    ax.set_ylabel(label)


def at_least(ax: Axes, low: float, high: float) -> None:
    """Widen y to show low to high, so that noise around nothing does not fill the panel."""
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
    """A small figure that says why there is nothing to draw, and the notes."""
    fig = figure(COLUMN, 1.6)
    not_applicable(fig.subplots(), why)
    note(fig, *sentences)
    return fig


def panel_title(ax: Axes, text: str) -> None:
    ax.set_title(text, loc="left")


# --- seeds ---------------------------------------------------------------------------------


def seed_lines(
    ax: Axes, frame: pd.DataFrame, colour: Any, *, x: str = "step", y: str = "value"
) -> None:
    """A thin line a run with its interval as a faint band, and the median over runs, thick.

    frame: one row a (run, x), with columns run, x, y, ci_low, ci_high. The median is drawn at the
    steps that all runs have, and only over 3 runs or more.
    """
    for run, of_run in frame.sort_values(x).groupby("run", sort=True):
        low, high = (of_run[c].to_numpy(float, na_value=np.nan) for c in ("ci_low", "ci_high"))
        steps = of_run[x].to_numpy(float)
        ax.plot(
            steps,
            of_run[y].to_numpy(float, na_value=np.nan),
            color=colour,
            linewidth=0.7,
            alpha=0.55,
            label=f"_seed {run}",
        )
        if np.isfinite(low).any():
            ax.fill_between(steps, low, high, color=colour, alpha=0.12, linewidth=0)
    middle = median_over_runs(frame, x, y)
    if len(middle):
        ax.plot(middle.index, middle.to_numpy(float), color=colour, linewidth=1.8, label="_median")


def median_over_runs(frame: pd.DataFrame, x: str = "step", y: str = "value") -> pd.Series:
    """The median over runs at every x that all runs have; empty below 3 runs."""
    runs = frame["run"].nunique()
    grouped = frame.dropna(subset=[y]).groupby(x)[y]
    middle = grouped.median()
    return middle[grouped.size() == runs] if runs >= 3 else middle.iloc[:0]


def onset_marks(ax: Axes, onsets: Iterable[float], colour: Any, name: str) -> None:
    """A thin dotted vertical line at every seed's onset; NaN (censored) is not drawn."""
    for step in onsets:
        if np.isfinite(step):
            ax.axvline(
                step,
                color=colour,
                linestyle=":",
                linewidth=0.8,
                alpha=0.8,
                zorder=1,
                label=f"_onset {name}",
            )


def onset_dots(
    ax: Axes,
    x: Iterable[float],
    times: Iterable[float],
    limits: Iterable[float],
    colour: Any,
    *,
    name: str,
    horizontal: bool = False,
) -> None:
    """A dot an onset; an open arrow at `limits`, the last time seen, where the time is NaN.

    horizontal: time runs along x, so the arrow points to the right.
    """
    place, time, limit = (np.asarray(list(v), dtype=float) for v in (x, times, limits))
    came = np.isfinite(time)
    for kept, values, marker, face, label in (
        (came, time, "o", colour, "_onset"),
        (~came & np.isfinite(limit), limit, ">" if horizontal else "^", "none", "_censored"),
    ):
        if kept.any():
            pair = (values[kept], place[kept]) if horizontal else (place[kept], values[kept])
            ax.scatter(
                *pair,
                s=13,
                marker=marker,
                facecolors=face,
                edgecolors=colour,
                linewidths=0.8,
                alpha=0.85,
                zorder=3,
                label=f"{label} {name}",
                clip_on=False,
            )


def median_mark(
    ax: Axes,
    left: float,
    right: float,
    median: float,
    low: float,
    high: float,
    limit: float,
    colour: Any,
    *,
    horizontal: bool = False,
) -> None:
    """A median as a bar from left to right, its interval as a line at the right end.

    NaN ends lie beyond `limit`, the last time seen, where the line ends in an arrow. Nothing is
    drawn for a median beyond it: the open arrows of the runs say so. horizontal: time runs along
    x, and left and right are places on y.
    """
    across = ax.vlines if horizontal else ax.hlines
    along = ax.hlines if horizontal else ax.vlines
    if np.isfinite(median):
        across(median, left, right, color=colour, linewidth=2.0, zorder=4, label="_median")
    if not np.isfinite(low):
        return
    end = high if np.isfinite(high) else limit
    along(right, low, end, color=colour, linewidth=1.0, zorder=2, label="_interval")
    if not np.isfinite(high):
        point = (end, right) if horizontal else (right, end)
        ax.plot(
            *point,
            marker=">" if horizontal else "^",
            color=colour,
            markersize=3.5,
            label="_beyond",
            clip_on=False,
        )


def group_dots(
    ax: Axes,
    place: float,
    frame: pd.DataFrame,
    groups: Sequence[Any],
    colour: Any,
    *,
    by: str,
    name: str,
    width: float = 0.6,
    horizontal: bool = True,
    marker: str = "o",
    filled: bool = True,
) -> None:
    """A dot a row at `place`, its interval as a line, the median over 3 groups or more as a bar.

    frame: columns `by` and value, and ci_low and ci_high where there are intervals. groups: all
    that `by` can be, in order: each keeps its place within `width` wherever it is drawn.
    horizontal: values run along x.
    """
    offsets = dict(zip(groups, spread(len(groups), 0.7 * width), strict=True))
    values = numbers(frame["value"])
    where = np.array([place + offsets[group] for group in frame[by]])
    kept = np.isfinite(values)
    if "ci_low" in frame:
        interval = (numbers(frame[end])[kept] for end in ("ci_low", "ci_high"))
        for at, low, high in zip(where[kept], *interval, strict=True):
            if np.isfinite(low) and np.isfinite(high):
                ends = ([low, high], [at, at]) if horizontal else ([at, at], [low, high])
                ax.plot(*ends, color=colour, linewidth=0.8, alpha=0.6, zorder=2, label="_interval")
    if not kept.any():
        return
    pair = (values[kept], where[kept]) if horizontal else (where[kept], values[kept])
    ax.scatter(
        *pair,
        s=9,
        marker=marker,
        facecolors=colour if filled else "white",
        edgecolors=colour,
        linewidths=0.8,
        zorder=3,
        clip_on=False,
        label=f"_dots {name}",
    )
    if kept.sum() >= 3 and len({*frame[by][kept]}) >= 3:
        draw = ax.vlines if horizontal else ax.hlines
        draw(
            float(np.median(values[kept])),
            place - width / 2,
            place + width / 2,
            color=colour,
            linewidth=1.8,
            zorder=2.5,
            label="_median",
        )


def spread(n: int, width: float) -> np.ndarray:
    """Offsets that set n seeds side by side, evenly over `width` around 0."""
    return np.linspace(-width / 2, width / 2, n) if n > 1 else np.zeros(n)


# --- words ---------------------------------------------------------------------------------


def count_lines(row: Mapping[str, str]) -> int:
    """Lines that a row of a `word_table` takes."""
    return max(text.count("\n") + 1 for text in row.values())


def word_table(
    ax: Axes,
    columns: Mapping[str, float],
    rows: Sequence[Mapping[str, str]],
    colour: Callable[[str, str], Any],
) -> None:
    """Rows of words under the names of their columns, instead of axes.

    columns: where each begins, as a share of the width. Texts come wrapped. colour: of a column's
    text.
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
    """A legend above the panels: name -> colour (a line), then ready handles."""
    handles = [Line2D([], [], color=c, linewidth=1.8, label=n) for n, c in entries.items()]
    handles += extra
    if handles:
        fig.legend(
            handles=handles, loc="outside upper center", ncols=columns or min(len(handles), 6)
        )


def dot(name: str, colour: Any = GREY) -> Line2D:
    return Line2D([], [], linestyle="", marker="o", color=colour, label=name)


def arrow(name: str = "censored: not by the last step", marker: str = "^") -> Line2D:
    return Line2D(
        [], [], linestyle="", marker=marker, markerfacecolor="none", color=GREY, label=name
    )


def line(name: str, colour: Any = GREY, **style: Any) -> Line2D:
    return Line2D([], [], color=colour, label=name, **style)


def patch(name: str, colour: Any) -> Patch:
    return Patch(facecolor=colour, edgecolor=GREY, linewidth=0.3, label=name)


LINES = "Thin: a seed and its interval; thick: median over seeds (from 3 on)."


def note(fig: Figure, *sentences: str) -> None:
    """How many seeds, what an interval is, and what is censored: small, below the panels."""
    width = int(fig.get_figwidth() * 16.5)
    fig.supxlabel(
        textwrap.fill(" ".join(s for s in sentences if s), width), fontsize=SMALL, color=GREY
    )


def gradient(n: int) -> list[Any]:
    """n colours in order, dark to light (viridis without its pale end)."""
    return [matplotlib.colormaps["viridis"](v) for v in np.linspace(0, 0.88, n)]
