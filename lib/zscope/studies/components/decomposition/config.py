"""The configuration of the decomposition part."""

from __future__ import annotations

from zscope.config.base import Section


class DecompositionConfig(Section):
    """Decomposition."""
