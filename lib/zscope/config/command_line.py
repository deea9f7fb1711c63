"""What a user types after `snakemake`: values of the configuration, options, targets."""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from zscope.config.yaml_files import parse_yaml
from zscope.core.errors import ConfigError

# Of each of these Snakemake keeps the last alone. The first spelling is the one that docs use.
ONCE = (("--configfile", "--configfiles"), ("--config", "-C"))


def config_values(words: Iterable[str]) -> list[dict[str, Any]]:
    """The values after `--config`, as the same text means them in a configuration file.

    `toylang=null` is {"toylang": None}. Snakemake itself reads null, and all that is in braces, as
    text. Raises ConfigError if a value is no YAML.
    """
    pairs = (word.partition("=") for word in words)
    return [{key: parse_yaml(value, f"--config {key}")} for key, _, value in pairs]


def check_once(arguments: Sequence[str]) -> None:
    """Raise ConfigError if an option of ONCE is given twice, with what to write instead."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    for names in ONCE:
        given: list[list[str]] = []  # the values of each time that the option is there
        values: list[str] = []  # of the option that is being read
        for word in options:
            name, equals, value = word.partition("=")
            if word.startswith("-"):
                values = [value] if equals else []
                if name in names:
                    given.append(values)
            else:
                values.append(word)
        if len(given) > 1:
            all_values = shlex.join(itertools.chain.from_iterable(given))
            raise ConfigError(
                f"{names[0]} is there {len(given)} times, and Snakemake reads only the last\n"
                f"  Write it once: {names[0]} {all_values}"
            )


def target_in(folder: str, target: str, typed_in: str) -> str | None:
    """What to ask for instead of `target`, which was meant from the folder `typed_in`.

    The rules of a workflow name its results from the folder it runs in, `folder`. None if that is
    what the target does, or if it is in no `results` of that folder.
    """
    path = os.path.join(typed_in, target)
    for absolute in (os.path.abspath, os.path.realpath):  # results may be a link to another disk
        name = os.path.relpath(absolute(path), absolute(folder))
        if name.partition(os.sep)[0] == "results" and name != os.path.normpath(target):
            return name
    return None
