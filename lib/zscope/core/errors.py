"""The errors that a user can cause.

The user sees only their message: a few lines that name the file, key or path, and the way out. Any
other exception is a bug in zscope and is shown with its traceback.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

OPTIONS = "ZSCOPE_SNAKEMAKE_OPTIONS"
"""The environment variable in which the workflow tells its jobs how it was called."""
RECORD = Path(".snakemake/zscope_call.json")
"""The file in a run's folder in which its last call keeps how it was called."""
SNAKEFILE = Path(__file__).parents[3] / "workflow/Snakefile"
"""Of this clone, for runs that have no such file."""


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


def record_call(snakefile: str, config: Sequence[str]) -> None:
    """Keep in the run's folder, which is this one, what `rebuild` needs outside its jobs.

    config: the words of the call that say which configuration it uses.
    """
    RECORD.parent.mkdir(exist_ok=True)
    RECORD.write_text(json.dumps({"snakefile": snakefile, "config": list(config)}), "utf-8")


def rebuild(path: str | Path) -> str:
    """The way out of a damaged output: the command that makes it again, for the user to copy.

    In a job it has the options of the call. Elsewhere it has those that make it right in the
    present folder: what the run's last call recorded, and where the run is.
    """
    options = os.environ.get(OPTIONS)
    if options is None:
        path, options = _from_here(Path(os.path.abspath(path))) or (path, "")
    command = f"snakemake --cores all --force {shlex.quote(str(path))}"
    return f"rebuild it: {command} {options}".rstrip()


def _from_here(path: Path) -> tuple[Path, str] | None:
    """The target that an absolute path is, and its options. None if it is in no run's results."""
    runs = [folder.parent for folder in path.parents if folder.name == "results"]
    if not runs:
        return None
    run = next((folder for folder in runs if (folder / RECORD.parent).is_dir()), runs[0])
    snakefile, config = SNAKEFILE, []
    with suppress(OSError, ValueError, KeyError, TypeError):
        recorded = json.loads((run / RECORD).read_text("utf-8"))
        snakefile, config = Path(recorded["snakefile"]), recorded["config"]
    words = []
    if snakefile.is_file() and Path("workflow/Snakefile").resolve() != snakefile.resolve():
        words += ["--snakefile", str(snakefile)]
    if run.resolve() != Path.cwd().resolve():
        words += ["--directory", str(run)]
    return path.relative_to(run), shlex.join([*words, *config])


def start_anew(folder: str | Path) -> str:
    """The way out of a damaged training state: a command that removes it from any folder."""
    return f"start the run anew: rm -r {shlex.quote(str(Path(folder).absolute()))}"
