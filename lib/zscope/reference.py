"""The reference pages and the editors' schema, generated from the code.

python -m zscope.reference            write docs/config.md, docs/tables.md and the schema
python -m zscope.reference --check    exit 1 if one of them is not what the code says
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

from annotated_types import Ge, Gt, Le, Len, Lt, MinLen
from pydantic.fields import FieldInfo

from zscope.config.base import Section, Unit
from zscope.studies.config import Config
from zscope.studies.lag.config import RunConfig
from zscope.studies.registry import all_tables
from zscope.tables.files import ARROW
from zscope.tables.schema import Column, Table

SCHEMA = "workflow/schemas/config.schema.json"
COMMAND = "python -m zscope.reference"
GRID_SECTIONS = ("data", "model", "training")


class Key(NamedTuple):
    """A row of the reference page."""

    name: str
    type: str
    default: str
    allowed: str
    unit: str
    meaning: str


@dataclass(frozen=True)
class Block:
    """A section of the configuration: its dotted path, what it is, its keys."""

    path: str
    meaning: str
    keys: tuple[Key, ...]


def blocks() -> Iterator[Block]:
    """Every section, outermost first; `<name>` stands for a key of the user's."""
    places = dict(_places(Config))
    for model, path in places.items():
        keys = []
        for name, field in model.model_fields.items():
            inner = _section(field.annotation)
            keys.append(_key(name, field, _meaning(model, name), places[inner] if inner else ""))
        yield Block(path, _one_line(model.__doc__ or ""), tuple(keys))


def _places(
    model: type[Section], path: str = "", seen: set[type[Section]] | None = None
) -> Iterator[tuple[type[Section], str]]:
    """Every section from `model` on with its path; that of two keys stands below the first."""
    seen = set() if seen is None else seen
    if model in seen:
        return
    seen.add(model)
    yield model, path
    for name, field in model.model_fields.items():
        inner, where = _section(field.annotation), f"{path}.{name}".lstrip(".")
        if inner:
            yield from _places(inner, where + ".<name>" * _is_dict(field.annotation), seen)


def config_page() -> str:
    """docs/config.md."""
    lines = [
        "# Configuration",
        "",
        f"<!-- Generated from the config.py of each study: edit that, then run `{COMMAND}`. -->",
        "",
        "Every key of `config/*.yaml`. `config/config.yaml` is always read. A file given with",
        "`--configfile` is merged over it key by key (a list replaces a list), so it holds only",
        "what it changes. A key that is not here is an error; the message names the nearest one.",
        "A key that a block has twice is an error too. Files are UTF-8.",
        "",
        "`--config` sets keys on the command line, in the YAML of a file: `--config toylang=null",
        "'lag={run: {training: {steps: 500}}}'`. Give each of the two options once: of a second",
        "`--configfile`, Snakemake would read only that one, so it is an error here.",
        "",
        "Editors complete and check these keys if the file's first line is",
        "",
        "```yaml",
        f"# yaml-language-server: $schema=../{SCHEMA}",
        "```",
        "",
        "In the paths below, `<name>` is a name that you choose. `null` switches an option off.",
        "",
    ]
    found = list(blocks())
    lines += [f"- {_link(b.path)}" for b in found] + [""]
    for block in found:
        lines += [f"## {_title(block.path)}", "", block.meaning, ""]
        rows = [(f"`{key.name}`", *key[1:]) for key in block.keys]
        lines += _markdown(("key", *Key._fields[1:]), rows)
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def tables_page() -> str:
    """docs/tables.md."""
    lines = [
        "# Tables",
        "",
        f"<!-- Generated from the tables.py of each study: edit that, then run `{COMMAND}`. -->",
        "",
        "Every Parquet table of the workflow: what a row is, and its columns. Tables are in long",
        "format, one row per measurement. `null` appears only in columns marked so. The metadata",
        "of a file holds its provenance (config slice, code digest, versions, device):",
        "",
        "```python",
        "import zscope",
        "",
        'frame = zscope.results.read("lag/sweeps/z_order_sweep/summary")',
        'frame.attrs["units"], frame.attrs["provenance"]',
        "```",
        "",
    ]
    tables = all_tables().values()
    lines += [f"- [{t.name}](#{t.name}): {t.row}" for t in tables] + [""]
    for table in tables:
        lines += _table(table)
    return "\n".join(lines).rstrip() + "\n"


def schema() -> str:
    """workflow/schemas/config.schema.json, JSON Schema draft 2020-12, for editors.

    Nothing in it is required, since a file may go over another one; `config.load` checks the whole.
    """
    out: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": f"Generated from the config.py of each study by {COMMAND}.",
        **Config.model_json_schema(),
    }
    for model, _ in _places(Config):
        for name, key in out["$defs"].get(model.__name__, out)["properties"].items():
            key.setdefault("description", _meaning(model, name))
    _strip(out)
    sweep = out["$defs"]["Sweep"]["properties"]
    names = []
    for section in GRID_SECTIONS:
        block = _section(RunConfig.model_fields[section].annotation)
        assert block is not None
        sweep[section] = {
            "$ref": f"#/$defs/{block.__name__}",
            "description": sweep[section]["description"],
        }
        names += [f"{section}.{key}" for key in block.model_fields]
    sweep["grid"]["propertyNames"] = {"enum": names}
    return json.dumps(out, indent=2, ensure_ascii=False) + "\n"


def pages() -> dict[str, str]:
    """The generated files, by their path below the repository's root."""
    return {"docs/config.md": config_page(), "docs/tables.md": tables_page(), SCHEMA: schema()}


def stale(root: Path) -> list[str]:
    """The generated files that are missing or not what the code says."""
    return [
        name
        for name, text in pages().items()
        if not (root / name).is_file() or (root / name).read_text(encoding="utf-8") != text
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog=COMMAND, description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if stale")
    parser.add_argument("--root", type=Path, default=Path(), help="the repository (default: here)")
    options = parser.parse_args(arguments)
    if not (options.root / "pyproject.toml").is_file():
        print(
            f"{options.root.resolve()} is not the repository's root: give --root", file=sys.stderr
        )
        return 1
    old = stale(options.root)
    if options.check:
        if old:
            print(f"out of date: {', '.join(old)}\nto fix: {COMMAND}", file=sys.stderr)
        return 1 if old else 0
    for name in old:
        path = options.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(pages()[name], encoding="utf-8")
        print(f"wrote {path}")
    return 0


# --- a key ---------------------------------------------------------------------------------


def _meaning(model: type[Section], name: str) -> str:
    """The text of a key; a section that only changes the default has that of the one above it."""
    sections = (c for c in model.__mro__ if issubclass(c, Section) and name in c.model_fields)
    texts = (section.model_fields[name].description for section in sections)
    return next((_one_line(text) for text in texts if text), "")


def _key(name: str, field: FieldInfo, meaning: str, see: str) -> Key:
    metadata = [*field.metadata, *_metadata(field.annotation)]
    units = [m.name for m in metadata if isinstance(m, Unit)]
    return Key(
        name,
        _type(field.annotation),
        _default(field, see),
        _allowed(field.annotation, metadata),
        units[0] if units else "",
        " ".join(filter(None, [meaning, f"See {_link(see)}." if see else ""])),
    )


def _metadata(hint: Any) -> Iterator[Any]:
    """Bounds and units of the values in a hint, but not those of a dict's or a list's items."""
    if get_origin(hint) in (dict, list, tuple, Literal):
        return
    for m in getattr(hint, "__metadata__", ()):
        yield from m.metadata if isinstance(m, FieldInfo) else [m]
    for argument in get_args(hint):
        yield from _metadata(argument)


_TYPES = {
    int: "integer",
    float: "number",
    str: "text",
    bool: "true or false",
    type(None): "null",
    Any: "any",
}


def _type(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if hasattr(hint, "__metadata__"):
        return _type(arguments[0])
    if hint in _TYPES:
        return _TYPES[hint]
    if origin is Literal:
        return "text"
    if origin in (list, tuple):
        return "list" if arguments[0] is Any else f"list of {_plural(arguments[0])}"
    if origin is dict:
        return "block" if arguments[1] is Any else f"block of {_plural(arguments[1])}"
    if arguments:
        return " or ".join(_type(a) for a in arguments)
    return "block"


def _plural(hint: Any) -> str:
    word, null, _ = _type(hint).partition(" or null")
    head, of, items = word.partition(" of ")
    return f"{head}s{of}{items}{null}"


def _default(field: FieldInfo, see: str) -> str:
    if field.is_required():
        return "required"
    if see:
        return "named there" if _is_dict(field.annotation) else ""
    return f"`{_yaml(field.default)}`"


def _yaml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_yaml(v) for v in value) + "]"
    if isinstance(value, str):
        return value or '""'
    return json.dumps(value)


_BOUNDS: dict[type, str] = {Ge: "≥", Gt: ">", Le: "≤", Lt: "<"}


def _allowed(hint: Any, metadata: list[Any]) -> str:
    choices = _choices(hint)
    if choices:
        return ", ".join(f"`{c}`" for c in choices)
    parts = []
    for m in metadata:
        if type(m) in _BOUNDS:
            bound = getattr(m, type(m).__name__.lower())
            parts.append(f"{_BOUNDS[type(m)]} {bound:.10g}")
        elif isinstance(m, MinLen | Len):
            parts.append("not empty" if m.min_length == 1 else f"{m.min_length} or more")
    return ", ".join(dict.fromkeys(parts))


def _choices(hint: Any) -> list[str]:
    """The values of a Literal, or of a dict's keys or a list's items that are one."""
    if get_origin(hint) is Literal:
        return [str(a) for a in get_args(hint)]
    return next(filter(None, (_choices(a) for a in get_args(hint))), [])


def _section(hint: Any) -> type[Section] | None:
    if isinstance(hint, type) and get_origin(hint) is None and issubclass(hint, Section):
        return hint
    return next(filter(None, (_section(a) for a in get_args(hint))), None)


def _is_dict(hint: Any) -> bool:
    return get_origin(hint) is dict or any(_is_dict(a) for a in get_args(hint))


# --- markdown ------------------------------------------------------------------------------


def _title(path: str) -> str:
    return f"`{path}`" if path else "Top level"


def _link(path: str) -> str:
    """To GitHub's anchor of the block's heading."""
    anchor = "".join(c for c in _title(path).lower() if c.isalnum() or c in "_- ")
    return f"[{_title(path)}](#{anchor.replace(' ', '-')})"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _markdown(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """A table without the columns that would be empty."""
    used = [i for i in range(len(head)) if any(row[i] for row in rows)]
    out = [[head[i] for i in used], ["---"] * len(used), *([row[i] for i in used] for row in rows)]
    return ["| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in out]


def _table(table: Table) -> list[str]:
    key = ", ".join(f"`{k}`" for k in table.key)
    rows = [
        (f"`{c.name}`", _arrow(c) + (", null" if c.nullable else ""), c.unit, c.meaning)
        for c in table.columns
    ]
    return [
        f"## {table.name}",
        "",
        f"`{table.path}`",
        "",
        f"A row is {table.row}" + (f", identified by {key}." if key else "."),
        "",
        *_markdown(("column", "type", "unit", "meaning"), rows),
        "",
    ]


def _arrow(column: Column) -> str:
    kind = str(ARROW[column.type])
    return {"double": "float64"}.get(kind, kind)


def _strip(node: Any) -> None:
    """Leave out what editors need not see: titles that repeat the key, and what is required."""
    if isinstance(node, dict):
        if isinstance(node.get("title"), str):
            del node["title"]
        if isinstance(node.get("required"), list):
            del node["required"]
        if isinstance(node.get("description"), str):
            node["description"] = _one_line(node["description"])
        for value in node.values():
            _strip(value)
    elif isinstance(node, list):
        for value in node:
            _strip(value)


if __name__ == "__main__":
    sys.exit(main())
