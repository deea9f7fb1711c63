"""The scripts of the pages of heads. Imports nothing heavy: the Snakefile reads it."""

from __future__ import annotations

from pathlib import Path

from zscope.pages.asset_files import STYLE

_ASSETS = Path(__file__).with_name("assets")
ABLATIONS_SCRIPT = _ASSETS / "ablations.js"
HEAD_MAP_SCRIPT = _ASSETS / "head_map.js"
PROMPT_PAGE = (STYLE, ABLATIONS_SCRIPT)
HEAD_MAP = (STYLE, HEAD_MAP_SCRIPT)
