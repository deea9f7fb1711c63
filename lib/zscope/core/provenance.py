"""What a result depends on: digests of code and settings, package versions, named seeds.

Snakemake notices a change of a script, but not of the modules that it imports. A rule therefore has
a digest of its script's transitive import closure among its params (`Tracker`), and Snakemake
reruns exactly the rules whose digest changed. The digest ignores comments, docstrings and
formatting. It is the same on every Python version that can parse the code.

This module uses the standard library only and never imports the code that it digests, because the
Snakefile loads it.

A digest does not see modules imported under computed names (name them in `uses`), data files (make
them inputs), versions of installed packages (see `versions`), and submodules that are reached only
as attributes or through `from package import *`.
"""

from __future__ import annotations

import ast
import hashlib
import json
import operator
import os
import platform
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, SupportsIndex

StrPath = str | os.PathLike[str]

# --- one file ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Import:
    """`from <level dots><module> import <names>`; `import a.b` has level 0 and no names."""

    level: int
    module: tuple[str, ...]
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Source:
    digest: str
    imports: tuple[_Import, ...]


# `ctx` follows from the place in the tree; the others record how something was spelled.
_SPELLING = frozenset({"ctx", "kind", "type_comment", "simple", "type_ignores"})
_MEANINGFUL = {
    node: tuple(name for name in node._fields if name not in _SPELLING)
    for node in vars(ast).values()
    if isinstance(node, type) and issubclass(node, ast.AST)
}


class _Normaliser:
    """Turns a syntax tree into text that changes only with its meaning, and collects the imports.

    The text of `ast.dump` differs between Python versions. Here an absent or empty field is left
    out, so a field that a later Python adds to a node makes no difference.
    """

    def __init__(self) -> None:
        self.text: list[str] = []
        self.imports: list[_Import] = []

    def node(self, node: ast.AST) -> None:
        node_type = type(node)
        if node_type is ast.Constant:
            self.text.append(_constant(node.value))  # type: ignore[attr-defined]
            return
        if node_type in _IMPORTING:
            self._note_import(node)
        self.text.append(node_type.__name__ + "(")
        for name in _MEANINGFUL[node_type]:
            value = getattr(node, name, None)
            if value is None:
                continue
            if type(value) is list:
                if not value:
                    continue
                if name == "body" and node_type is ast.If and _is_type_checking(node.test):  # type: ignore[attr-defined]
                    continue
                self.text.append(name + "=")
                self._items(_unwrap(node_type, value))
            else:
                self.text.append(name + "=")
                if isinstance(value, ast.AST):
                    self.node(value)
                else:
                    self.text.append(_constant(value))
            self.text.append(",")
        self.text.append(")")

    def _items(self, items: Iterable[Any]) -> None:
        self.text.append("[")
        for item in items:
            if not isinstance(item, ast.AST):
                self.text.append(_constant(item))
            elif not _is_idle(item):
                self.node(item)
            else:
                continue
            self.text.append(",")
        self.text.append("]")

    def _note_import(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            self.imports += [_Import(0, tuple(alias.name.split("."))) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = tuple(node.module.split(".")) if node.module else ()
            names = tuple(alias.name for alias in node.names)
            self.imports.append(_Import(node.level or 0, module, names))
        elif isinstance(node, ast.Call) and node.args and _called(node) in _IMPORTERS:
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                stripped = name.value.lstrip(".")
                level = len(name.value) - len(stripped)
                self.imports.append(_Import(level, tuple(stripped.split("."))))


_IMPORTING = frozenset({ast.Import, ast.ImportFrom, ast.Call})
_IMPORTERS = frozenset({"import_module", "__import__"})


def _called(node: ast.Call) -> str | None:
    """The last part of the name of the called function."""
    return getattr(node.func, "attr", None) or getattr(node.func, "id", None)


def _constant(value: object) -> str:
    # `ascii`, because the characters that `repr` escapes depend on Python's Unicode tables; `hex`,
    # because `repr` refuses very long integers.
    return hex(value) if type(value) is int else ascii(value)


def _is_idle(node: ast.AST) -> bool:
    """Whether the node is a statement without effect: a docstring, a bare constant, `pass`."""
    return type(node) is ast.Pass or (type(node) is ast.Expr and type(node.value) is ast.Constant)


def _is_type_checking(test: ast.expr) -> bool:
    name = getattr(test, "attr", None) or getattr(test, "id", None)
    return name == "TYPE_CHECKING"


def _unwrap(node_type: type[ast.AST], items: list[Any]) -> list[Any]:
    """Undo the two differences in spelling that show in the syntax tree."""
    if node_type is ast.Delete and len(items) == 1 and isinstance(items[0], ast.Tuple):
        return items[0].elts or items  # del (a, b)
    if node_type is ast.JoinedStr:  # Python versions split the text around {fields} differently
        joined: list[Any] = []
        for item in items:
            text = isinstance(item, ast.Constant)
            if text and joined and isinstance(joined[-1], ast.Constant):
                joined[-1] = ast.Constant(str(joined[-1].value) + str(item.value))
            elif not text or item.value != "":
                joined.append(item)
        return joined
    return items


@cache
def _read(path: str, mtime_ns: int, size: int) -> _Source:
    """Digest and imports of one file. The last two arguments make the cache notice edits."""
    content = Path(path).read_bytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(content)
        normaliser = _Normaliser()
        normaliser.node(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # A half-edited module must not stop every command. The rules that use it will report it.
        return _Source(hashlib.sha256(b"unparsed:" + content).hexdigest(), ())
    text = "".join(normaliser.text)
    return _Source(hashlib.sha256(text.encode()).hexdigest(), tuple(normaliser.imports))


def _source(path: str) -> _Source:
    state = os.stat(path)
    return _read(path, state.st_mtime_ns, state.st_size)


# --- the closure ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Imported:
    """What importing one file makes Python import itself: files, and modules of others."""

    files: tuple[str, ...]
    external: frozenset[str]


class Closure:
    """The files that importing `roots` may execute: the roots, and modules below `search`.

    Follows absolute and relative imports, also inside functions, and `import_module("a.b")` with a
    literal name, but not imports under `if TYPE_CHECKING:`. sources: by absolute path. external:
    top-level names of the modules that are neither below `search` nor in the standard library.
    Raises FileNotFoundError if a root does not exist.
    """

    def __init__(
        self,
        roots: Sequence[StrPath],
        search: Sequence[StrPath],
        known: dict[tuple[str, str | None], _Imported] | None = None,
    ) -> None:
        """known: what other closures over the same `search` have found, which this one adds to."""
        self.search = tuple(os.path.abspath(folder) for folder in search)
        self.sources: dict[str, _Source] = {}
        self.external: set[str] = set()
        known = {} if known is None else known
        pending = [os.path.abspath(root) for root in roots]
        own_folders = {
            root: folder
            for root in pending
            if not os.path.isfile(os.path.join(folder := os.path.dirname(root), "__init__.py"))
        }
        while pending:
            path = pending.pop()
            if path not in self.sources:
                self.sources[path] = _source(path)
                key = path, own_folders.get(path)
                if key not in known:
                    known[key] = self._imported(*key)
                pending += known[key].files
                self.external |= known[key].external

    def label(self, path: str) -> str:
        """The path relative to its search folder; for a script elsewhere, its name."""
        for folder in self.search:
            if path.startswith(folder + os.sep):
                return path[len(folder) + 1 :].replace(os.sep, "/")
        return os.path.basename(path)

    def _packages_of(self, path: str) -> Iterator[str]:
        """The `__init__.py` of every package around `path`, which importing it executes."""
        for search in self.search:
            folder = os.path.dirname(path)
            while folder.startswith(search + os.sep):
                package = os.path.join(folder, "__init__.py")
                if os.path.isfile(package):
                    yield package
                folder = os.path.dirname(folder)

    def _imported(self, path: str, own_folder: str | None) -> _Imported:
        files = dict.fromkeys(self._packages_of(path))
        external = set()
        for imported in self.sources[path].imports:
            if imported.level:
                folder = os.path.dirname(path)
                for _ in range(imported.level - 1):
                    folder = os.path.dirname(folder)
                folders = [folder]
            else:
                top = imported.module[0]
                if top in sys.stdlib_module_names:
                    continue
                # Snakemake puts a script's own folder on its path, after everything else.
                folders = [*self.search, *filter(None, [own_folder])]
                folders = [folder for folder in folders if _exists(folder, top)][:1]
                if not folders:
                    external.add(top)
            for folder in folders:
                files |= dict.fromkeys(_find_module(folder, imported.module))
                for name in imported.names:  # each may be a module or a name defined in one
                    files |= dict.fromkeys(_find_module(folder, (*imported.module, name)))
        return _Imported(tuple(files), frozenset(external))


def _exists(folder: str, name: str) -> bool:
    path = os.path.join(folder, name)
    return os.path.isfile(path + ".py") or os.path.isdir(path)


def _find_module(folder: str, module: tuple[str, ...]) -> tuple[str, ...]:
    """The existing files that importing dotted `module` from `folder` executes."""
    files = []
    for part in module:
        package = os.path.join(folder, part)
        if os.path.isfile(init := os.path.join(package, "__init__.py")):
            files.append(init)
        elif os.path.isfile(file := package + ".py"):
            files.append(file)
            break
        elif not os.path.isdir(package):
            break
        folder = package
    return tuple(files)


def code_digest(
    *roots: StrPath,
    search: Sequence[StrPath],
    known: dict[tuple[str, str | None], _Imported] | None = None,
) -> str:
    """SHA-256 (16 hex digits) of the code in the import closure of `roots`.

    Covers each file's path relative to its search folder (for a script outside them: its name) and
    its content without comments, docstrings, `pass` and formatting. For a file that does not parse,
    its bytes count. The order of the roots does not matter. `known` and errors: as of `Closure`.
    """
    closure = Closure(roots, search, known)
    lines = sorted(
        f"{closure.label(path)} {source.digest}" for path, source in closure.sources.items()
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


# --- a rule's params -----------------------------------------------------------------------


@dataclass(frozen=True)
class Tracker:
    """Makes the params of a rule: `TRACKER = Tracker(scripts=..., lib=...)` in the Snakefile.

        params:
            tracked=TRACKER("lag/train_run.py", uses=["zscope.training"], steps=1000),

    Scripts are named relative to `scripts`; `lib` is searched for the modules that they import. A
    tracker computes each digest once, so one parse of the Snakefile sees one state of the code.
    """

    scripts: Path
    lib: Path
    _digests: dict[tuple[str, ...], str] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _known: dict[tuple[str, str | None], _Imported] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __call__(
        self, script: StrPath, /, *, uses: Sequence[str] = (), **slice: object
    ) -> dict[str, Any]:
        """`{"code": digest, "slice": sorted plain dict}`.

        uses: dotted names of the modules that the script imports under computed names. slice: the
        part of the config that the script reads, plain values alone (else `plain` raises
        TypeError). Raises FileNotFoundError or ModuleNotFoundError for code that does not exist.
        """
        return {"code": self.digest(script, uses=uses), "slice": plain(slice)}

    def digest(self, script: StrPath, /, *, uses: Sequence[str] = ()) -> str:
        """The `code_digest` of a script and of the modules that it `uses`."""
        key = (os.fspath(script), *sorted(uses))
        if key not in self._digests:
            modules = [self._module(name) for name in uses]
            self._digests[key] = code_digest(
                self.scripts / script, *modules, search=[self.lib], known=self._known
            )
        return self._digests[key]

    def _module(self, name: str) -> str:
        parts = tuple(name.split("."))
        stem = os.path.join(os.path.abspath(self.lib), *parts)
        files = _find_module(os.path.abspath(self.lib), parts)
        if not files or files[-1] not in (stem + ".py", os.path.join(stem, "__init__.py")):
            raise ModuleNotFoundError(f"uses: no module {name!r} below {self.lib}", name=name)
        return files[-1]


def plain(value: object, *, name: str = "") -> Any:
    """A copy of `value` with every dict sorted by key and every tuple made a list.

    Snakemake compares params by their text and silently drops what it cannot write down. So only
    str, int, float, bool, None, list, tuple and dict with str keys are allowed. Anything else (a
    Path, a numpy scalar) raises TypeError, which names the path of the key, below `name` if given.
    """
    if isinstance(value, dict):
        for key in value:
            if type(key) is not str:
                raise TypeError(f"{name or 'value'}: key {key!r} is no str but {_kind(key)}")
        path = f"{name}." if name else ""
        return {key: plain(value[key], name=path + key) for key in sorted(value)}
    if type(value) in (list, tuple):
        return [plain(item, name=f"{name}[{index}]") for index, item in enumerate(value)]  # type: ignore[arg-type, var-annotated]
    # The exact type, since numpy.float64 is a float, and enums and Snakemake's files are str.
    if value is None or type(value) in (str, int, float, bool):
        return value
    raise TypeError(
        f"{name or 'value'}: {_kind(value)} is not a plain value "
        "(str, int, float, bool, None, list, tuple, dict)"
    )


def _kind(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


# --- ids, seeds, versions ------------------------------------------------------------------


def digest_of(value: object, *, length: int = 16) -> str:
    """The first `length` hex digits of the SHA-256 of a plain value.

    Run ids and resume keys use it, so it must never change. It hashes the JSON text with sorted
    keys, no spaces, floats by `repr` (so 1 and 1.0 differ) and tuples as lists. Raises TypeError if
    `value` is not plain (see `plain`), ValueError if `length` is not in 1..64.
    """
    if not 1 <= length <= 64:
        raise ValueError(f"length must be in 1..64, not {length}")
    text = json.dumps(plain(value), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def derive_seed(seed: SupportsIndex, name: str) -> int:
    """The seed of one named source of randomness ("init", "order", ...) of a run.

    It is the first 63 bits of SHA-256 of the text "{seed}/{name}", which fit a signed 64-bit
    integer. It must never change: every result depends on it. Raises TypeError if `seed` is not an
    integer.
    """
    content = f"{operator.index(seed)}/{name}".encode()
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big") >> 1


def versions(*packages: str) -> dict[str, str]:
    """Installed versions by distribution name, without importing anything.

    "python" means the interpreter. An absent package has the version "not installed".
    """
    found = dict.fromkeys(packages, "not installed")
    for package in packages:
        with suppress(metadata.PackageNotFoundError):
            of_python = package == "python"
            found[package] = platform.python_version() if of_python else metadata.version(package)
    return found
