"""Messages about a wrong configuration, in the words of its YAML file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError

from zscope.config.base import Section, WrongKeyError
from zscope.config.yaml_files import KeyPath, dotted

Sources = Sequence[tuple[str, Mapping[str, Any]]]
Path = KeyPath


def mistake(message: str, *paths: Path, sources: Sources = (), note: str = "") -> str:
    """One line: the key at the first of `paths`, what is wrong with it, and the file that set it.

    The file is the last one that contains the first path, or else one of the other paths.
    """
    key = "config key " + dotted(paths[0]) if paths[0] else "the configuration"
    holders = (name for path in paths for name, m in reversed(sources) if _holds(m, path))
    source = next(holders, None)
    return f"{key}: {message}{note}" + (f" ({source})" if source else "")


def near(wrong: object, known: Iterable[object], what: str) -> str:
    """`did you mean lr?`, or the list of known names."""
    names = [str(k) for k in known]
    close = get_close_matches(str(wrong), names, n=1)
    return f"did you mean {close[0]}?" if close else f"{what}: {', '.join(names) or 'none'}"


def explain(
    error: ValidationError,
    model: type[Section],
    files: Sources,
    locate: Callable[[Path], Path] = tuple,
    note: str = "",
) -> str:
    """One line per mistake."""
    lines: dict[Path, str] = {}
    for problem in error.errors(include_url=False):
        loc = tuple(problem["loc"])
        of_key = loc[-1:] == ("[key]",)
        path: Path = loc[:-1] if of_key else loc
        cause = problem.get("ctx", {}).get("error")
        also: list[Path] = []
        if any(path[:n] in lines for n in range(1, len(path) + 1)):
            continue  # part of a mistake that is reported already
        if isinstance(cause, WrongKeyError):
            also = [(*path, key) for key in cause.keys[1:]]
            path, message = (*path, cause.keys[0]), str(cause)
        elif problem["type"] in ("extra_forbidden", "invalid_key") or of_key:
            path = (*path[:-1], str(path[-1]))
            known = _known(model, path[:-1])
            message = "unknown key; " + near(path[-1], known, "the keys here are")
        else:
            message = _message(problem)
        places = [locate(p) for p in (path, *also, path[:-1])]
        lines[path] = mistake(message, *places, sources=files, note=note)
    return "\n".join(lines.values())


_WANTED = {
    "a_flag": "must be a number",
    "bool": "must be true or false",
    "date": "must be text in quotes",
    "dict": "must be a block of keys",
    "finite": "must be a finite number",
    "float": "must be a number",
    "int": "must be a whole number",
    "list": "must be a list, such as [0, 1]",
    "model": "must be a block of keys",
    "string": "must be text (in quotes, if it looks like a number)",
    "tuple": "must be a list, such as [a, b]",
}
_BOUNDS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
}


def _message(problem: Any) -> str:
    """Pydantic's problem in words for the author of a YAML file."""
    kind, context, value = problem["type"], problem.get("ctx", {}), problem["input"]
    if kind == "missing":
        return "is missing"
    if kind == "value_error":
        return str(context["error"])
    if kind == "too_short":
        return "must not be empty"
    if kind == "string_too_short":
        wanted = f"must have at least {context['min_length']} characters"
    elif kind == "literal_error":
        wanted = "must be one of " + context["expected"].replace(" or ", ", ").replace("'", "")
    elif kind in _BOUNDS:
        word, bound = _BOUNDS[kind]
        wanted = f"must be {word} {context[bound]}".removesuffix(".0")
    else:
        wanted = _WANTED.get(kind) or _WANTED.get(kind.partition("_")[0]) or problem["msg"]
    return f"{wanted}, not {_shown(value)}"


def _shown(value: Any) -> str:
    """A value as YAML writes it, cut if it is long."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _holds(mapping: Any, path: Path) -> bool:
    for key in path:
        if isinstance(mapping, Mapping):
            match = next((k for k in mapping if str(k) == str(key)), None)
            if match is None:
                return False
            mapping = mapping[match]
        elif isinstance(mapping, list) and isinstance(key, int) and key < len(mapping):
            mapping = mapping[key]
        else:
            return False
    return bool(path)


def _known(model: type[Section], path: Path) -> list[str]:
    """The keys that the block at `path` below `model` may have."""
    hint: Any = model
    for part in path:
        hint = _below(hint, part)
    section = _section(hint)
    if section:
        return list(section.model_fields)
    keys = next((get_args(h)[0] for h in (hint, *get_args(hint)) if get_origin(h) is dict), None)
    return list(get_args(keys)) if get_origin(keys) is Literal else []


def _below(hint: Any, part: str | int) -> Any:
    """The type hint of the key `part` inside `hint`."""
    section = _section(hint)
    if section:
        field = section.model_fields.get(str(part))
        return field.annotation if field else None
    for inner in (hint, *get_args(hint)):
        if get_origin(inner) is dict:
            return get_args(inner)[1]
    return None


def _section(hint: Any) -> type[Section] | None:
    """The block that a type hint names, also if it may be null."""
    for inner in (hint, *get_args(hint)):
        if isinstance(inner, type) and get_origin(inner) is None and issubclass(inner, Section):
            return inner if get_origin(hint) is not dict else None
    return None
