"""Styles and scripts of pages. No digest of code sees them, so they have one of their own.

Imports nothing heavy: the Snakefile reads it.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

_ASSETS = Path(__file__).with_name("assets")
STYLE = _ASSETS / "page.css"
PLAIN = (STYLE, _ASSETS / "tables.css")
"""The styles of a page with plain tables."""


def digest(files: Iterable[Path]) -> str:
    """Of what the files hold, whatever their dates and the folder of the code."""
    return sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]
