"""Style and scripts of the pages. No digest of code sees them, so they have one of their own.

Imports nothing heavy: the Snakefile reads it.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

_ASSETS = Path(__file__).with_name("assets")
STYLE = _ASSETS / "page.css"
ABLATIONS_SCRIPT = _ASSETS / "ablations.js"
HEAD_MAP_SCRIPT = _ASSETS / "head_map.js"
PROMPT_PAGE = (STYLE, ABLATIONS_SCRIPT)
HEAD_MAP = (STYLE, HEAD_MAP_SCRIPT)


def digest(files: Iterable[Path]) -> str:
    """Of what the files hold, whatever their dates and the folder of the code."""
    return sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]
