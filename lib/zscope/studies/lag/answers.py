"""The answers of the lag study: onsets over seeds. It declares no verdict; medians are shown."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from zscope.figures.frames import select
from zscope.pages.answers import Answer, Answers, interval, number
from zscope.studies.lag.tables import SUMMARY

SHOWN = {"set_mass": "B is known", "z_gap": "z is used", "lag": "lag between the two"}


def read(rows: pd.DataFrame) -> Iterator[Answer]:
    """One answer per condition of a sweep: the onsets in training, in steps."""
    shown = select(rows, unit="steps", source="training")
    shown = shown[shown["metric"].isin(SHOWN)]
    for (sweep, label), of in shown.groupby(["sweep", "label"], sort=False):
        by_metric = of.drop_duplicates("metric").set_index("metric")
        parts = []
        for metric in (m for m in SHOWN if m in by_metric.index):
            row = by_metric.loc[metric]
            never = f", {row['n_censored']} of {row['n']} never" if row["n_censored"] else ""
            found = number(row["median"]) if pd.notna(row["median"]) else "beyond the last step"
            ends = interval(row["ci_low"], row["ci_high"])
            parts.append(f"{SHOWN[metric]}: {found}{ends}{never}")
        n = int(of["n"].max())
        test = f"Kaplan-Meier median over {n} seed{'s' if n > 1 else ''}, in steps"
        yield Answer(f"{sweep}: {label}", "", "; ".join(parts), test)


ANSWERS = Answers(
    "When does a transformer start to use a selector z that was in its input from the first step, "
    "and why so late?",
    "z_order_sweep",
    SUMMARY,
    read,
)
