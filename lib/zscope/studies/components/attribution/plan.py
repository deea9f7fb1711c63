"""Which files of the attribution part a config implies. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping

from zscope.models.subjects import Subject
from zscope.studies.components.attribution.config import AttributionConfig
from zscope.studies.components.attribution.tables import OF_PRETRAINED, SUMMARY
from zscope.tables.schema import Table


def files(
    config: AttributionConfig,
    toy: Mapping[str, Subject],
    pretrained: Mapping[str, Subject],
    table: Table,
) -> list[str]:
    """The files of a table of this part. toy, pretrained: by their names in paths."""
    if table == SUMMARY:
        return [table.path] if toy else []
    return table.paths(subject=pretrained if table in OF_PRETRAINED else toy)
