"""Models, intervals and nulls as marks: the part that the figures of the study share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.ticker import MaxNLocator

from zscope.figures import marks, style
from zscope.figures.frames import numbers, select
from zscope.figures.tables import Tables
from zscope.studies.crosslingual.figures.lookups import models_of
from zscope.verdicts import LEAST_DRAWS

COLOURS = {
    "none": style.BLACK,
    "z": style.BLUE,
    "z_perp": style.VERMILLION,
    "full": style.GREEN,
    "random": style.GREY,
    "energy": style.ORANGE,
    "random_perp": style.GREY,
    "energy_perp": style.ORANGE,
    "own": style.PURPLE,
    "placebo": style.SKY,
}
LANGUAGES = {"en": style.GREEN, "zh": style.PURPLE}
# Of residual updates there are three energy-matched nulls, drawn alike.
UPDATE_NULLS = ("energy_input", "energy_output", "energy_own")
COLOURS |= dict.fromkeys(UPDATE_NULLS, COLOURS["energy"])
NULL_NAMES = {
    "random": "random spaces",
    **dict.fromkeys(("energy", *UPDATE_NULLS), "energy-matched spaces"),
}
OBJECTIVES = {
    "original": style.VERMILLION,
    "gap": style.BLUE,
    "info_nce": style.GREEN,
    "uniform": style.BLACK,
    "random": style.GREY,
}
OBJECTIVE_NAMES = {
    "original": "original objective",
    "gap": "contrast: gap",
    "info_nce": "contrast: InfoNCE",
    "uniform": "equal weights",
    "random": "random weights",
}

BIN = 0.012
"""Draws whose values are closer than this are drawn one above the other: shares of 100 problems."""

model_dots = partial(marks.group_dots, by="model")


def draw_dots(
    ax: Axes,
    place: float,
    frame: pd.DataFrame,
    models: Sequence[str],
    colour: Any,
    *,
    name: str,
    width: float = 0.6,
    size: float = 2.5,
) -> None:
    """A small dot per draw of a null, around the place that `model_dots` gives to its model.

    frame: one row per model and draw, with columns model and value. Values run along x. size: area
    of a dot, in square points.
    """
    offsets = dict(zip(models, marks.spread(len(models), 0.7 * width), strict=True))
    room = 0.7 * width if len(models) == 1 else 0.55 * width / (len(models) - 1)
    for model in frame["model"].unique():
        values = numbers(select(frame, model=model)["value"])
        values = values[np.isfinite(values)]
        ax.scatter(
            values,
            place + offsets[model] + swarm(values, room),
            s=size,
            color=colour,
            alpha=0.45,
            linewidths=0,
            zorder=1.2,
            clip_on=False,
            label=f"_draws {name} {model}",
        )


def swarm(values: np.ndarray, room: float) -> np.ndarray:
    """Offsets across the axis, within `room` around 0, that put about equal values side by side."""
    bins = np.round(values / BIN).astype(int)
    sizes = {b: int((bins == b).sum()) for b in bins}
    step = room / max(6, *(n - 1 for n in sizes.values()), 1)
    seen: dict[int, int] = {}
    out = np.zeros(len(values))
    for i, b in enumerate(bins):
        seen[b] = seen.get(b, -1) + 1
        out[i] = (seen[b] - (sizes[b] - 1) / 2) * step
    return out


def model_lines(
    ax: Axes,
    frame: pd.DataFrame,
    colour: Any,
    *,
    x: str = "layer",
    y: str = "value",
    linestyle: Any = "-",
) -> None:
    """A thin line per model with its interval as a faint band; the median over 3 models or more.

    frame: one row per model and x, with columns model, x and y, and, if y is the value, ci_low and
    ci_high. The median is drawn where all models have a value. A model alone is drawn thick.
    """
    frame = frame.assign(**{y: numbers(frame[y])})
    groups = list(frame.sort_values(x).groupby("model", sort=False))
    alone = len(groups) == 1
    for model, rows in groups:
        place = rows[x].to_numpy(float)
        ax.plot(
            place,
            rows[y].to_numpy(),
            color=colour,
            linestyle=linestyle,
            linewidth=1.6 if alone else 0.7,
            alpha=1.0 if alone else 0.55,
            marker="o" if len(place) <= 12 else "",
            markersize=3.5 if alone else 2.2,
            markeredgewidth=0,
            label=f"_model {model}",
        )
        if y == "value" and "ci_low" in rows:
            low, high = (numbers(rows[c]) for c in ("ci_low", "ci_high"))
            if np.isfinite(low).any():
                ax.fill_between(
                    place, low, high, color=colour, alpha=0.13, linewidth=0, label="_interval"
                )
    middle = marks.median_over_runs(frame.rename(columns={"model": "run"}), x, y)
    if len(middle):
        ax.plot(
            middle.index.to_numpy(float),
            middle.to_numpy(float),
            color=colour,
            linestyle=linestyle,
            linewidth=1.8,
            label="_median",
        )


def null_band(
    ax: Axes,
    frame: pd.DataFrame,
    colour: Any,
    name: str,
    *,
    x: str = "layer",
    over: str | None = None,
) -> None:
    """The null's interval as a band, its mean as a thin dotted line: medians over models.

    over: a column that the null is divided by. Nothing is drawn without null_low and null_high, or
    where a null has fewer draws than a band needs.
    """
    frame = enough(frame)
    scale = numbers(frame[over]) if over else 1.0
    columns = {c: numbers(frame[c]) / scale for c in ("null_low", "null_mean", "null_high")}
    middle = pd.DataFrame({x: frame[x].to_numpy(float), **columns}).groupby(x).median()
    middle = middle.dropna(subset=["null_low", "null_high"])
    if middle.empty:
        return
    low, high = middle["null_low"].to_numpy(), middle["null_high"].to_numpy()
    place = middle.index.to_numpy()
    if len(place) == 1:
        place, low, high = place[0] + np.array([-0.3, 0.3]), np.repeat(low, 2), np.repeat(high, 2)
    ax.fill_between(
        place, low, high, color=colour, alpha=0.25, linewidth=0, zorder=0.8, label=f"_null {name}"
    )
    ax.plot(
        middle.index, middle["null_mean"], color=colour, linestyle=":", linewidth=0.9, zorder=0.9
    )


def null_bands(ax: Axes, frame: pd.DataFrame) -> None:
    """A band for each null that the rows are compared with, in its colour."""
    for null, rows in by_null(frame).items():
        null_band(ax, rows, COLOURS[null], null)


def difference(ax: Axes, frame: pd.DataFrame, colour: Any, named: str) -> None:
    """A difference over layers, with the bands of its nulls and a baseline at 0."""
    if frame.empty:
        style.not_applicable(ax, "not measured")
        return
    null_bands(ax, frame)
    model_lines(ax, once(frame, "layer"), colour)
    style.baseline(ax, 0.0, named)


def null_bar(
    ax: Axes, place: float, frame: pd.DataFrame, *, width: float = 0.8, horizontal: bool = True
) -> None:
    """The null's interval as a grey bar behind the dots at `place`: median over models; nothing
    where it has fewer draws than an interval needs."""
    frame = enough(frame)
    low, high = (constant(frame, column) for column in ("null_low", "null_high"))
    if not np.isfinite(low) or not np.isfinite(high):
        return
    look: dict[str, Any] = {"color": style.GREY, "alpha": 0.25, "zorder": 0.8, "label": "_null"}
    if horizontal:
        ax.barh(place, high - low, width, left=low, **look)
    else:
        ax.bar(place, high - low, width, bottom=low, **look)


def enough(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows whose null has LEAST_DRAWS draws, or needs none."""
    if "draws" not in frame:
        return frame
    return frame[~(numbers(frame["draws"]) < LEAST_DRAWS)]


def name_axis(ax: Axes, names: Sequence[str], label: str = "") -> None:
    """Names on y, from above, for rows of dots at 0, 1, 2, ..."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_ylabel(label)


def share_axis(ax: Axes, label: str = "", high: float = 1.03) -> None:
    """A share on x, from 0 to 1, with room for a dot at either end."""
    ax.set_xlim(-0.03, high)
    ax.set_xticks([0, 0.5, 1])
    ax.set_xlabel(label)


def layer_axis(ax: Axes, layers: Iterable[int], label: str = "layer") -> None:
    """Layers on x, at whole numbers."""
    known = sorted({int(v) for v in layers}) or [0]
    pad = max(0.4, 0.02 * (known[-1] - known[0]))
    ax.set_xlim(known[0] - pad, known[-1] + pad)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    ax.set_xlabel(label)


def constant(frame: pd.DataFrame, column: str) -> float:
    """The median of a column that is about the same in every row; NaN without values."""
    values = numbers(frame[column])
    return float(np.nanmedian(values)) if np.isfinite(values).any() else float("nan")


def null_patches(frame: pd.DataFrame) -> list[Any]:
    """Legend entries of the nulls that the rows are compared with."""
    return [null_patch(NULL_NAMES[name], COLOURS[name]) for name in by_null(frame)]


def null_patch(name: str, colour: str = style.GREY) -> Any:
    """Legend entry of a null's band."""
    return style.patch(name, (*to_rgb(colour), 0.35))


def lines_note(tables: Tables, *, intervals: bool = True) -> str:
    """What lines are, in words. intervals: whether they have any."""
    band = f"; band: its {tables.percent} interval" if intervals else ""
    if len(models_of(tables)) < 2:
        return f"Line: the model{band}."
    return f"Thin: a model{band}; thick: median over models (from 3 on)."


def dots_note(tables: Tables, interval: str = "interval") -> str:
    """What dots are, in words."""
    if len(models_of(tables)) < 2:
        return f"Dots: the model with its {tables.percent} {interval}."
    its = f"{tables.percent} {interval}"
    return f"Dots: models, each with its {its}; bars: median over models (from 3 on)."


def by_null(frame: pd.DataFrame) -> Mapping[str, pd.DataFrame]:
    """The rows against each null that is there."""
    return {name: rows for name in NULL_NAMES if len(rows := select(frame, null=name))}


def once(frame: pd.DataFrame, *by: str) -> pd.DataFrame:
    """One row per model and `by`: a value is repeated for every null that it is compared with."""
    return frame.drop_duplicates(["model", *by])
