"""The list of studies. To add one: a folder, a line here, and a line in config.py."""

from __future__ import annotations

from importlib import import_module

from zscope.models import tables as model_tables
from zscope.tables.schema import Table
from zscope.text import tables as text_tables

TITLES = {
    "lag": "Lag",
    "toylang": "Toy language",
    "crosslingual": "Cross-lingual Z",
    "heads": "Attention heads",
    "components": "Components and attribution",
}
"""The studies by the name of their folder, in the order of the documentation."""


def all_tables() -> dict[str, Table]:
    """Every table of every study, of the named models and of texts, by its name. For readers of
    results; no job needs all of them."""
    modules = [import_module(f"zscope.studies.{study}.tables") for study in TITLES]
    return {table.name: table for m in (model_tables, text_tables, *modules) for table in m.TABLES}
