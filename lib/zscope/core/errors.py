"""The errors that a user can cause.

The user sees only their message: a few lines that name the file, key or path, and the way out. Any
other exception is a bug in zscope and is shown with its traceback.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

OPTIONS = "ZSCOPE_SNAKEMAKE_OPTIONS"
"""The environment variable in which the workflow tells its jobs how it was called."""


class ZscopeError(Exception):
    """Base class of all errors whose message is meant for the user."""


class ConfigError(ZscopeError):
    """A key of the configuration is unknown, of the wrong type, or impossible."""


class DataError(ZscopeError):
    """The requested data cannot exist, or contradict each other."""


class TableError(ZscopeError):
    """A Parquet table is missing, damaged, or has other columns than its schema."""


class CheckpointError(ZscopeError):
    """A safetensors file is missing, damaged, or belongs to another model."""


class TrainingError(ZscopeError):
    """Training cannot continue: a loss is not finite, or a gate is not met."""


def find(mapping: Mapping[str, T], key: str, what: str) -> T:
    """`mapping[key]`, or a ConfigError that lists the keys there are."""
    if key not in mapping:
        raise ConfigError(f"no {what} {key}; there are {', '.join(mapping)}")
    return mapping[key]


def rebuild(path: str | Path) -> str:
    """The way out of a damaged output: the command that makes it again, for the user to copy."""
    command = f"snakemake --cores all --force {shlex.quote(str(path))}"
    return f"rebuild it: {command} {os.environ.get(OPTIONS, '')}".rstrip()


def start_anew(folder: str | Path) -> str:
    """The way out of a damaged training state: a command that removes it from any folder."""
    return f"start the run anew: rm -r {shlex.quote(str(Path(folder).absolute()))}"
