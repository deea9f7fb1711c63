"""The configuration of the dictionaries part."""

from __future__ import annotations

from zscope.config.base import Section


class DictionariesConfig(Section):
    """Dictionaries."""
