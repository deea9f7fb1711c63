"""The sources of models: a module in `asked/` that has a `SOURCE` is one.

Loading a source imports its module alone, so that editing the models of one study leaves the heads
of the others as they are.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zscope.studies.heads.asked.model import Source


def source_module(name: str) -> str:
    """The module of a source, which is named as in `study.Subject`."""
    return f"zscope.studies.heads.asked.{name}"


def load_source(name: str) -> Source:
    """A source of models."""
    source: Source = import_module(f"zscope.studies.heads.asked.{name}").SOURCE
    return source
