"""Tables of the components study as if it had been run: those of its parts, and their summary."""

from __future__ import annotations

from importlib import import_module

import pandas as pd

from fake_attribution import attribution_tables
from fake_decomposition import decomposition_tables
from fake_dictionaries import dictionaries_tables
from fake_letters import letters_tables
from fake_tables import frame
from zscope.figures.registry import figure_modules
from zscope.figures.tables import Tables
from zscope.studies.components.summary import summary_rows
from zscope.studies.components.tables import SUMMARY, SUMMED


def study(n: int, level: float = 0.95) -> dict[str, pd.DataFrame]:
    """n: trainings, dictionaries and decompositions."""
    seeds = tuple(range(n))
    found = {
        **attribution_tables(n, level),
        **dictionaries_tables(seeds),
        **decomposition_tables(seeds),
        **letters_tables(n, level),
    }
    rows = summary_rows(*(found[table.name] for table in SUMMED))
    return {**found, SUMMARY.name: frame(SUMMARY, rows)}


def figure_tables(level: float = 0.95) -> dict[str, dict[str, Tables]]:
    """Of every figure what it is drawn from: three seeds, one, and no rows."""
    cases = {"full": study(3, level), "one": study(1, level)}
    found: dict[str, dict[str, Tables]] = {}
    for name, module in figure_modules("components").items():
        needs = import_module(module.module).NEEDS
        given = level if any(table.has_interval for table in needs) else None
        found[name] = {
            case: Tables({t.name: of[t.name] for t in needs}, given, {})
            for case, of in cases.items()
        }
        found[name]["empty"] = Tables({t.name: frame(t, []) for t in needs}, given, {})
    return found
