"""Which files of the attribution part a config implies. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping

from zscope.models.subjects import Subject
from zscope.studies.components.attribution.config import AttributionConfig
from zscope.tables.schema import Table


def files(
    config: AttributionConfig,
    toy: Mapping[str, Subject],
    pretrained: Mapping[str, Subject],
    table: Table,
) -> list[str]:
    """The files of a table of this part. toy, pretrained: by their names in paths."""
    return table.paths(subject=toy) if "{subject}" in table.path else [table.path]
