"""Short prompts whose next token is easy to guess: those of the package, and a user's own file.

A file of prompts is a YAML list; `prompts/crafted.yaml` is the package's (`prompts/LICENSE.md`). It
imports no torch.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zscope.config.yaml_files import read_yaml
from zscope.core.errors import ConfigError

PACKAGED = Path(__file__).with_name("prompts") / "crafted.yaml"
OWN = "own"
"""The family of a prompt that names none."""
_KEYS = ("id", "family", "text")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")


@dataclass(frozen=True)
class Prompt:
    """id: unique in its file. text: as it is given to a tokenizer; its blanks are part of it."""

    id: str
    family: str
    text: str


def read_prompts(path: str | os.PathLike[str] | None = None) -> tuple[Prompt, ...]:
    """The prompts of a file in its order; None: the package's.

    Raises ConfigError, in one line that names the file and the prompt, if the file cannot be read,
    is no UTF-8 or no YAML, holds no list of prompts, or if a prompt lacks an id or a text, has an
    id that another has too or that is no plain name, an empty text, or a key that is not known.
    """
    file = PACKAGED if path is None else Path(path).expanduser()
    rows = read_yaml(file)
    if not isinstance(rows, list) or not rows:
        found = "empty" if rows is None or rows == [] else f"a {type(rows).__name__}"
        raise ConfigError(f"{file}: must be a list of prompts, each {_shape()}, but it is {found}")
    return tuple(_prompts(str(file), rows))


def _prompts(file: str, rows: list[Any]) -> Iterator[Prompt]:
    places: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        where = f"{file}: prompt {number}"
        if not isinstance(row, dict):
            raise ConfigError(f"{where} must be {_shape()}, but it is {row!r}")
        for key in row:
            if key not in _KEYS:
                raise ConfigError(f"{where}: unknown key {key}; there are {', '.join(_KEYS)}")
        prompt = Prompt(*(_text(where, key, row) for key in _KEYS))
        for key in ("id", "family"):
            if not _PLAIN.fullmatch(getattr(prompt, key)):
                raise ConfigError(
                    f"{where}: {key} {getattr(prompt, key)!r} is no plain name: use 1 to 80 of the "
                    "letters A-Z and a-z, digits, - and _, a letter or digit first"
                )
        if prompt.id in places:
            raise ConfigError(
                f"{where}: id {prompt.id} is that of prompt {places[prompt.id]} too: change one"
            )
        if not prompt.text.strip():
            raise ConfigError(
                f"{where} ({prompt.id}): its text is empty: write one, or take the prompt away"
            )
        places[prompt.id] = number
        yield prompt


def _text(where: str, key: str, row: dict[Any, Any]) -> str:
    value = row.get(key, OWN if key == "family" else None)
    if value is None:
        raise ConfigError(f"{where}: it has no {key}: write {_shape()}")
    if not isinstance(value, str):
        raise ConfigError(f"{where}: {key} must be text, not {value!r}: put it into quotes")
    return value


def _shape() -> str:
    return '{id: ..., family: ..., text: "..."}'
