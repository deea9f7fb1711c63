"""YAML that people write: configuration files, problems, and values on the command line.

A mistake in one is a ConfigError of one line that names the file and the place.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from zscope.core.errors import ConfigError
from zscope.core.files import read_text

KeyPath = tuple[str | int, ...]

MERGE = "tag:yaml.org,2002:merge"  # `<<`, which may be there twice


def read_yaml(path: Path, name: str | None = None) -> Any:
    """What a YAML (or JSON) file says. Messages call it `name`, or else by its path.

    Raises ConfigError as `parse_yaml`, and if the file cannot be read or is no UTF-8.
    """
    name = str(path) if name is None else name
    text = read_text(path, name, ConfigError)
    with suppress(ValueError, RecursionError):
        json.loads(text)
        text = text.expandtabs(1)  # which may indent JSON, but not YAML
    return parse_yaml(text, name)


def check_config_file(path: Path, name: str | None = None) -> None:
    """Raise ConfigError as `read_yaml`, and if the file is no block of keys."""
    content = read_yaml(path, name)
    if not isinstance(content, dict):
        found = {type(None): "it is empty", list: "it is a list"}
        what = found.get(type(content), "it is a single value")
        raise ConfigError(f"{name or path}: must be a block of keys, but {what}")


def parse_yaml(text: str, name: str) -> Any:
    """What a YAML text says; `name` is what messages call it. None for an empty text.

    Raises ConfigError if it is no YAML, or if a block has a key twice, of which the first would be
    dropped without a word.
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if repeated := list(_repeated(loader, node, (), set())):
            raise ConfigError("\n".join(f"{name}: {words}" for words in repeated))
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ConfigError(f"{name}: no YAML: {where}{error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{name}: no YAML: {' '.join(str(error).split())}") from None


def dotted(path: KeyPath) -> str:
    """`lag.sweeps.k.seeds[0]`; a part that is not a plain name is quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += "." * bool(text) + (part if re.fullmatch(r"[\w.-]+", part) else repr(part))
    return text


def _repeated(
    loader: yaml.SafeLoader, node: yaml.Node, path: KeyPath, seen: set[int]
) -> Iterator[str]:
    """Words about every key that a block at or below `node` has twice."""
    if id(node) in seen:  # an alias
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _repeated(loader, item, (*path, index), seen)
    elif isinstance(node, yaml.MappingNode):
        lines: dict[Any, int] = {}
        for key_node, value in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue  # building the block refuses it
            place, line = (*path, key_node.value), key_node.start_mark.line + 1
            if key_node.tag != MERGE:
                key = loader.construct_object(key_node)  # 1 and 0x1 are the same
                if key in lines:
                    yield _twice(place, lines[key], line)
                lines.setdefault(key, line)
            yield from _repeated(loader, value, place, seen)


def _twice(place: KeyPath, first: int, second: int) -> str:
    lines = f"line {first}" if first == second else f"lines {first} and {second}"
    return f"key {dotted(place)} is there twice, in {lines}: keep one"


def main(files: list[str]) -> int:
    """`python -m zscope.config.yaml_files FILE ...` says what is wrong in configuration files.

    Snakemake reads those after `--configfile` before zscope does, and names none that it cannot.
    """
    status = 0
    for file in files:
        try:
            check_config_file(Path(file))
        except ConfigError as error:
            print(f"Error: {error}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
