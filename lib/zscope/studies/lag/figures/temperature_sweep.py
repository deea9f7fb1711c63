"""Onset of z use against learning rate, batch size, and their ratio (the "SGD temperature")."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from zscope.figures import style
from zscope.studies.lag.figures.lookups import UNITS, SweepView, count_censored, drawn_from
from zscope.studies.lag.figures.onset_plots import onsets_over
from zscope.studies.lag.tables import CURVES, ONSETS, RUNS, SUMMARY

NEEDS = (RUNS, CURVES, ONSETS, SUMMARY)
SWEEP = "temperature_sweep"
ACROSS = {
    "lr": "peak learning rate",
    "batch_size": "batch size (rows)",
    "lr_over_batch": "learning rate / batch size (1/rows)",
}
METRIC = "z_gap"


@drawn_from(SweepView)
def draw(sweep: SweepView) -> Figure:
    fig = style.figure(style.DOUBLE, 6.4)
    upper, lower = style.stacked(fig, 3.6, 1.7)
    sizes = sorted(set(sweep.facts("batch_size")))
    by_size = dict(zip(sizes, style.gradient(len(sizes)), strict=True))
    colours = [by_size[size] for size in sweep.facts("batch_size")]
    for row, unit in zip(upper.subplots(2, 3, sharey="row"), ("steps", "examples"), strict=True):
        for ax, (column, name) in zip(row, ACROSS.items(), strict=True):
            places = sweep.facts(column)
            ax.set_xscale("log")
            onsets_over(
                ax,
                sweep,
                sweep.labels,
                (METRIC,),
                unit=unit,
                x=_apart(places),
                colours=colours,
                ylabel=f"onset of z gap\n({UNITS[unit]})",
            )
            _log_ticks(ax, places)
            ax.set_xlabel(name)
    for ax, unit in zip(lower.subplots(1, 2), ("steps", "examples"), strict=True):
        _table(ax, sweep, unit)
    style.legend(
        fig,
        {f"batch size {b}": c for b, c in by_size.items()},
        extra=[style.dot("a seed"), style.arrow()],
    )
    style.note(
        fig,
        sweep.seeds,
        sweep.bars,
        "Conditions at the same x stand side by side. Censored: the z gap had not set in by the "
        "last step.",
    )
    return fig


def _apart(places: list[float]) -> list[float]:
    """Side by side, by a factor, where several conditions have the same x."""
    same = pd.Series([f"{p:.6g}" for p in places])  # equal ratios can differ in the last bit
    rank = same.groupby(same).cumcount().to_numpy()
    size = same.map(same.value_counts()).to_numpy()
    return (np.array(places) * 2.0 ** (0.28 * (rank - (size - 1) / 2))).tolist()


def _log_ticks(ax: Axes, places: list[float]) -> None:
    ticks = sorted({float(f"{p:.6g}") for p in places})
    ticks = ticks if len(ticks) <= 4 else ticks[:: -(-len(ticks) // 4)]
    ax.set_xlim(min(places) / 1.7, max(places) * 1.7)
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticklabels([f"{t:.2g}" if t < 1 else f"{t:.0f}" for t in ticks])


def _table(ax: Axes, sweep: SweepView, unit: str) -> None:
    """Medians by learning rate and batch size; "> last step" if half of the seeds are censored."""
    style.panel_title(ax, f"median onset ({UNITS[unit]})")
    rates, sizes = (sorted(set(sweep.facts(column))) for column in ("lr", "batch_size"))
    for label in sweep.labels:
        onsets = sweep.onset(label, METRIC, unit)
        if onsets.empty:
            continue
        middle, *_ = sweep.median(label, METRIC, unit)
        beyond = f"> {style.short_number(onsets['limit'].max())}"
        text = style.short_number(middle) if np.isfinite(middle) else beyond
        if onsets["time"].isna().any():
            text += f"\n({count_censored(onsets['time'])} censored)"
        x, y = rates.index(sweep.fact(label, "lr")), sizes.index(sweep.fact(label, "batch_size"))
        ax.text(x, y, text, ha="center", va="center")
    ax.set_xlim(-0.5, len(rates) - 0.5)
    ax.set_ylim(-0.5, len(sizes) - 0.5)
    ax.set_xticks(range(len(rates)), [f"{r:g}" for r in rates])
    ax.set_yticks(range(len(sizes)), [str(s) for s in sizes])
    ax.set_xlabel("peak learning rate")
    ax.set_ylabel("batch size")
