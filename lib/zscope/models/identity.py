"""Which files a model in a folder is read from, and the digest that names their content.

A folder's path and dates say nothing about the weights: a symbolic link can be pointed elsewhere,
and `cp -p` gives a copy the date of the original. So a model is named by what its files hold. The
workflow asks whenever it plans, so this module uses the standard library only, and the digest of a
large file is kept and looked up by the file's state.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path

from zscope.core.errors import CheckpointError, ConfigError, rebuild
from zscope.core.provenance import digest_of

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
GENERATION = "generation_config.json"
TOKENIZER = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "tekken.json",
    "*.model",
    "*.jinja",
)
"""Patterns of the files of a tokenizer."""
IDENTITY = "identity.json"
"""The file of a fetched folder that says which digest it had when it was fetched."""
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
NAME = re.compile(r"[\w.-]+")
KEPT_FROM = 2**24  # bytes; a smaller file is hashed in milliseconds
SETTLED = 2.0  # seconds; a file that changed less long ago may change again unseen


def shards(folder: Path) -> list[str]:
    """The safetensors files that the folder's index names; none without an index.

    Raises CheckpointError if the index cannot be read, or names something else.
    """
    index = folder / INDEX
    if not index.exists():
        return []
    try:
        named = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        wrong = [n for n in named if not re.fullmatch(r"[\w.-]+\.safetensors", n)]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise CheckpointError(f"{index}: cannot be read\nfetch the folder again") from None
    if wrong:
        raise CheckpointError(
            f"{index}: names {wrong[0]!r} as weights, which is no safetensors file of the "
            "folder\nfetch or write the folder again"
        )
    return named


def model_files(folder: str | os.PathLike[str]) -> list[Path]:
    """The files that a load of the model in a folder reads, in order of their names.

    config.json and the weights that an index names are among them even if they are missing. An
    index that cannot be read names none: the load will say so.
    """
    folder = Path(folder)
    names = {CONFIG, *_small_files(folder)}
    if (folder / WEIGHTS).exists():
        names.add(WEIGHTS)  # which is read rather than what an index names
    else:
        with suppress(CheckpointError):
            names.update(shards(folder))
    return [folder / name for name in sorted(names)]


def _small_files(folder: Path) -> Iterator[str]:
    with suppress(OSError):  # no folder, or a closed one: the load will say so
        for path in folder.iterdir():
            known = path.name in (GENERATION, INDEX)
            known = known or any(fnmatchcase(path.name, p) for p in TOKENIZER)
            if known and NAME.fullmatch(path.name) and path.is_file():
                yield path.name


def model_digest(folder: str | os.PathLike[str], known: Mapping[str, str] | None = None) -> str:
    """16 hex digits that name the content of `model_files`, those that are missing left out.

    known: the SHA-256 of files by their names, which are then not read. Raises ConfigError for a
    file that cannot be read.
    """
    known = known or {}
    try:
        found = {
            p.name: known.get(p.name) or file_digest(p) for p in model_files(folder) if p.exists()
        }
    except OSError as error:
        raise ConfigError(
            f"the model's folder {folder}: {error.filename} cannot be read ({error.strerror})"
        ) from None
    return digest_of(found)


def check_safetensors(folder: Path) -> None:
    """Raise CheckpointError if a folder has no safetensors weights, or a damaged index of them."""
    shards(folder)
    if any(folder.glob("*.safetensors")):
        return
    pickles = sorted(p.name for pattern in PICKLES for p in folder.glob(pattern))
    if pickles:
        raise CheckpointError(
            f"{folder}: its weights are pickles ({', '.join(pickles[:3])}), which can run any "
            "code when they are read\n"
            "take a revision with safetensors, or convert them where that is safe: "
            "model.save_pretrained(folder)"
        )
    raise CheckpointError(f"{folder}: no safetensors weights (*.safetensors)")


def write_identity(folder: Path, known: Mapping[str, str] | None = None) -> str:
    """Write the digest of a folder's model into one more file there, and return it.

    known: as of `model_digest`.
    """
    digest = model_digest(folder, known)
    (folder / IDENTITY).write_text(json.dumps({"digest": digest}) + "\n", encoding="utf-8")
    return digest


def read_identity(folder: str | os.PathLike[str]) -> str:
    """The digest of a fetched folder, which still has it.

    Raises CheckpointError if the folder is not as it was fetched.
    """
    folder = Path(folder)
    try:
        written = json.loads((folder / IDENTITY).read_text("utf-8"))["digest"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        written = None
    if written is None or written != model_digest(folder):
        raise CheckpointError(f"{folder}: damaged, it is not as it was fetched\n{rebuild(folder)}")
    return written


# --- one file ----------------------------------------------------------------------------------


def file_digest(path: Path) -> str:
    """SHA-256 of a file. That of a large one is hashed once and then looked up.

    It is kept under the file's true path with its inode, size and times. One of these is the time
    of the last change of the inode, which no copy that keeps a date can set. Raises OSError.
    """
    state = _state(path)
    if state["size"] < KEPT_FROM:
        return _hash(path)
    entry = _entry(path)
    if known := _look_up(entry, state):
        return known
    found = _hash(path)
    if _state(path) == state and time.time() - state["ctime_ns"] / 1e9 > SETTLED:
        _keep(entry, {**state, "sha256": found})
    return found


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _state(path: Path) -> dict[str, int]:
    s = path.stat()
    times = {"mtime_ns": s.st_mtime_ns, "ctime_ns": s.st_ctime_ns}
    return {"inode": s.st_ino, "size": s.st_size, **times}


def _entry(path: Path) -> Path | None:
    """Where the digest of a file is kept; None without a home."""
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]
    given = os.environ.get("XDG_CACHE_HOME", "")
    try:
        cache = Path(given) if os.path.isabs(given) else Path.home() / ".cache"
    except RuntimeError:
        return None
    return cache / "zscope/digests" / f"{name}.json"


def _look_up(entry: Path | None, state: dict[str, int]) -> str | None:
    """The digest that was kept for this state; None for another one, or a damaged entry."""
    try:
        kept = json.loads(entry.read_text("utf-8")) if entry else {}
        found = kept.pop("sha256")
        whole = re.fullmatch("[0-9a-f]{64}", found)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return found if whole and kept == state else None


def _keep(entry: Path | None, content: dict[str, object]) -> None:
    """Write an entry whole or not at all. Where that is not possible, the digest is made again."""
    if entry is None:
        return
    with suppress(OSError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        # Writers on several machines may have the same pid, so the name is drawn.
        descriptor, temporary = tempfile.mkstemp(dir=entry.parent, prefix=".", suffix=".tmp")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                json.dump(content, stream)
            os.replace(temporary, entry)
        finally:
            with suppress(OSError):
                os.unlink(temporary)
