"""Which code importing a file executes, for the tests of what may import what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zscope.core.provenance import Closure, StrPath


def import_closure(*roots: StrPath, search: Sequence[StrPath]) -> tuple[Path, ...]:
    """The roots and every file below the `search` folders that importing them may execute."""
    return tuple(Path(path) for path in sorted(Closure(roots, search).sources))


def external_imports(*roots: StrPath, search: Sequence[StrPath]) -> frozenset[str]:
    """Top-level names of the third-party modules that the import closure of `roots` imports."""
    return frozenset(Closure(roots, search).external)
