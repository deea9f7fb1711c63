"""The errors that a user can cause.

Their message is all that is shown: a few lines that name the file, key or path and the way out.
Anything else that is raised is a bug of ours and is shown with its traceback.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

OPTIONS = "ZSCOPE_SNAKEMAKE_OPTIONS"
"""Where the workflow leaves, for its jobs, how it was called."""


class ZscopeError(Exception):
    """Base of every error whose message is meant for the user."""


class ConfigError(ZscopeError):
    """A key of the configuration is unknown, of the wrong type, or impossible."""


class DataError(ZscopeError):
    """Data that were asked for cannot exist, or contradict each other."""


class TableError(ZscopeError):
    """A Parquet table is missing, damaged, or has other columns than its schema."""


class CheckpointError(ZscopeError):
    """A safetensors file is missing, damaged, or of another model."""


class TrainingError(ZscopeError):
    """Training cannot go on (a loss that is not finite, a gate that is not met)."""


def find(mapping: Mapping[str, T], key: str, what: str) -> T:
    """`mapping[key]`, or a ConfigError that says what there is."""
    if key not in mapping:
        raise ConfigError(f"no {what} {key}; there are {', '.join(mapping)}")
    return mapping[key]


def rebuild(path: str | Path) -> str:
    """The way out of a damaged output: the command that makes it anew, for the user to copy."""
    command = f"snakemake --cores all --force {shlex.quote(str(path))}"
    return f"rebuild it: {command} {os.environ.get(OPTIONS, '')}".rstrip()


def start_anew(folder: str | Path) -> str:
    """The way out of a damaged state of training: the command that removes it, wherever typed."""
    return f"start the run anew: rm -r {shlex.quote(str(Path(folder).absolute()))}"
