"""What a run left out, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from zscope.overview.contents import files_of
from zscope.studies.heads.tables import DETECTORS
from zscope.studies.registry import TITLES
from zscope.tables.read import read_table


def not_run(results: Path, config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What, and why: studies and sweeps that are null, empty lists of models, skipped detectors."""
    for study, title in TITLES.items():
        if config.get(study) is None:
            yield title, f"the config has {study}: null"
    for sweep, settings in ((config.get("lag") or {}).get("sweeps") or {}).items():
        if settings is None:
            yield f"lag: {sweep}", "the config has it as null"
    crosslingual = config.get("crosslingual")
    if crosslingual and not crosslingual.get("weights_only"):
        yield "the weights of a pretrained model", "crosslingual.weights_only is empty"
    heads = config.get("heads")
    if heads and not any("/" not in name for name in heads["subjects"]):
        yield "the heads of a pretrained model", "heads.subjects names none"
    for file in files_of(results, DETECTORS):
        rows = read_table(file, DETECTORS)
        skipped = rows[rows["skipped"].notna()].drop_duplicates(["subject", "detector"])
        for row in skipped.to_dict("records"):
            yield f"{row['subject']}: detector {row['detector']}", row["skipped"]
