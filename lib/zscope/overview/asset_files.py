"""Styles and script of the overview. Imports nothing heavy: the Snakefile reads it."""

from __future__ import annotations

from pathlib import Path

from zscope.pages.asset_files import PLAIN

_ASSETS = Path(__file__).with_name("assets")
SCRIPT = _ASSETS / "overview.js"
STYLES = (*PLAIN, _ASSETS / "overview.css")
OVERVIEW = (*STYLES, SCRIPT)
