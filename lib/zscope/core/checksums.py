"""Checksums for a folder that another program writes, such as a saved model."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path

CHECKSUMS = "checksums.json"


def write_checksums(folder: str | os.PathLike[str]) -> None:
    """Write the SHA-256 of every file in a folder into one more file there."""
    folder = Path(folder)
    text = json.dumps(_checksums(folder), indent=2, sort_keys=True)
    (folder / CHECKSUMS).write_text(text + "\n", encoding="utf-8")


def changed_file(folder: str | os.PathLike[str]) -> Path | None:
    """A file that is missing or differs from what `write_checksums` recorded, or None."""
    folder = Path(folder)
    try:
        written = json.loads((folder / CHECKSUMS).read_text("utf-8"))
        found = _checksums(folder)
        wrong = {n for n in {*written, *found} if written.get(n) != found.get(n)}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return folder / CHECKSUMS
    return folder / min(wrong) if wrong else None


def _checksums(folder: Path) -> dict[str, str]:
    files = [p for p in sorted(folder.iterdir()) if p.is_file() and p.name != CHECKSUMS]
    # Hidden files are left out: Snakemake keeps the date of a folder in one.
    return {p.name: sha256(p.read_bytes()).hexdigest() for p in files if p.name[0] != "."}
