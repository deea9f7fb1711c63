"""Style and scripts of the pages: inputs of the rules that make them, which no digest of code sees.

Imports nothing heavy: the Snakefile reads it.
"""

from __future__ import annotations

from pathlib import Path

_ASSETS = Path(__file__).with_name("assets")
STYLE = _ASSETS / "page.css"
ABLATIONS_SCRIPT = _ASSETS / "ablations.js"
HEAD_MAP_SCRIPT = _ASSETS / "head_map.js"
PROMPT_PAGE = (STYLE, ABLATIONS_SCRIPT)
HEAD_MAP = (STYLE, HEAD_MAP_SCRIPT)
