"""Which files of the experiment on letters a config implies. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping

from zscope.models.subjects import Subject
from zscope.studies.components.letters.config import LettersConfig
from zscope.tables.schema import Table


def files(
    config: LettersConfig,
    toy: Mapping[str, Subject],
    pretrained: Mapping[str, Subject],
    table: Table,
) -> list[str]:
    """The file of the table; it asks no other model than those that it trains."""
    return [table.path]
