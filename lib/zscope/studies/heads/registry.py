"""The detectors: a module in `detectors/` is one, or a family. To add one, add a module.

Reading the names imports nothing heavy; loading a detector imports its module alone.
"""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from zscope.core.errors import ConfigError
from zscope.studies.heads.settings import DetectorSettings

if TYPE_CHECKING:
    from zscope.studies.heads.detector import Detector


def detector_names() -> tuple[str, ...]:
    """The modules in `detectors/`, sorted."""
    folder = Path(__file__).with_name("detectors")
    return tuple(sorted(p.stem for p in folder.glob("*.py") if not p.stem.startswith("_")))


def detector_module(name: str) -> str:
    """The module of a detector. Raises ConfigError for an unknown one."""
    if name not in detector_names():
        raise ConfigError(f"no detector {name!r}: there are {', '.join(detector_names())}")
    return f"zscope.studies.heads.detectors.{name}"


def detector_asks(name: str) -> str:
    """What a detector asks, in words: what its module begins with. Imports nothing."""
    text = (Path(__file__).with_name("detectors") / f"{name}.py").read_text("utf-8")
    first, *_ = (ast.get_docstring(ast.parse(text)) or name).split("\n\n")
    return " ".join(first.split())


def load_detectors(name: str, settings: DetectorSettings) -> tuple[Detector, ...]:
    """The detectors of a module. Raises ConfigError for an unknown one."""
    detector_module(name)  # refuses an unknown one
    module = import_module(f"zscope.studies.heads.detectors.{name}")
    return tuple(module.detectors(settings))
