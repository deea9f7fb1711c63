"""Which files of the dictionaries part a config implies. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping

from zscope.models.subjects import Subject
from zscope.studies.components.dictionaries.config import DictionariesConfig
from zscope.studies.components.dictionaries.tables import DICTIONARIES_QK, DICTIONARIES_TEXT
from zscope.tables.schema import Table


def files(
    config: DictionariesConfig,
    toy: Mapping[str, Subject],
    pretrained: Mapping[str, Subject],
    table: Table,
) -> list[str]:
    """The files of a table of this part. toy, pretrained: by their names in paths."""
    if "{subject}" not in table.path:
        return [table.path]
    if table is DICTIONARIES_QK:
        asked = config.qk.trainings > 0
        own = [path for path, s in toy.items() if asked and s.name == config.qk.subject]
        return table.paths(subject=own)
    return table.paths(subject=pretrained if table is DICTIONARIES_TEXT else toy)
