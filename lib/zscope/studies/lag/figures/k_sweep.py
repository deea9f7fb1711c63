"""Onset and lag against K, with the number of bases or the number of facts held constant."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from zscope.figures import style
from zscope.studies.lag.figures.lookups import METRIC_COLOURS, NAMES, UNITS, SweepView, drawn_from
from zscope.studies.lag.figures.onset_plots import count_censored_sweep, onsets_over
from zscope.studies.lag.tables import CURVES, ONSETS, RUNS, SUMMARY

NEEDS = (RUNS, CURVES, ONSETS, SUMMARY)
SWEEP = "k_sweep"
# Each at a level that means the same for every K; half of a uniform guess's loss does not.
METRICS = ("set_mass", "first_loss_over_log_k", "z_gap", "lag")
DESIGNS = {
    "fixed_bases": "same number of bases (facts grow with K)",
    "fixed_facts": "same number of facts (bases = facts / K)",
}


@drawn_from(SweepView)
def draw(sweep: SweepView) -> Figure:
    fig = style.figure(style.DOUBLE, 5.4)
    axes = fig.subplots(2, 2, sharey="row")
    seen: dict[str, list[float]] = {"steps": [], "epochs per fact": []}
    for column, (design, title) in zip(axes.T, DESIGNS.items(), strict=True):
        labels = [v for v in sweep.labels if sweep.fact(v, "design") == design]
        ks = [int(sweep.fact(v, "k")) for v in labels]
        for ax, unit in zip(column, seen, strict=True):
            if not labels:
                style.not_applicable(ax, f"the sweep has no run with design {design}")
                continue
            ax.set_xscale("log")
            seen[unit] += onsets_over(
                ax, sweep, labels, METRICS, unit=unit, x=ks, ylabel=f"onset or lag ({UNITS[unit]})"
            )
            ax.set_xlim(min(ks) / 2, max(ks) * 2)
            ax.xaxis.set_major_locator(FixedLocator(sorted(set(ks))))
            ax.xaxis.set_minor_locator(NullLocator())
            ax.set_xticklabels([str(k) for k in sorted(set(ks))])
            ax.set_xlabel("K, targets of a B")
        style.panel_title(column[0], title)
    for ax, (unit, times) in zip(axes[:, 0], seen.items(), strict=True):
        # The axis is shared by the row: one scale for both designs.
        style.time_axis_y(ax, times, f"onset or lag ({UNITS[unit]})")
    style.legend(
        fig,
        {"onset of " * (m != "lag") + NAMES[m]: METRIC_COLOURS[m] for m in METRICS},
        extra=[style.dot("a seed"), style.arrow()],
        columns=3,
    )
    style.note(
        fig,
        sweep.seeds,
        sweep.bars,
        "Lag: onset of z gap - onset of set mass. K = 1 has log K = 0 and no other z, so it has "
        "only an onset of the set mass.",
        count_censored_sweep(sweep, sweep.labels, METRICS[:-1]),
    )
    return fig
