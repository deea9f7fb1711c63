"""What a configuration asks for, a module a study; imported by the Snakefile at every call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zscope.errors import ConfigError


def find(mapping: Mapping[str, Any], key: str, what: str) -> Any:
    """`mapping[key]`, or a ConfigError that says what there is."""
    if key not in mapping:
        raise ConfigError(f"no {what} {key}; there are {', '.join(mapping)}")
    return mapping[key]
