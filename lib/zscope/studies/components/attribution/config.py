"""The configuration of the attribution part."""

from __future__ import annotations

from zscope.config.base import Section


class AttributionConfig(Section):
    """Attribution."""
