"""Files that are either complete or absent: zscope writes all its outputs this way.

And texts that people write, with what is wrong with their encoding in one line.
"""

from __future__ import annotations

import codecs
import errno
import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from zscope.core.errors import ZscopeError


def read_text(path: Path, name: str, error: type[ZscopeError]) -> str:
    """The text of a UTF-8 file, without a byte order mark. Messages call the file `name`.

    Raises `error`, in one line, if the file cannot be read or is not UTF-8.
    """
    try:
        content = path.read_bytes()
    except OSError as problem:
        why = (problem.strerror or str(problem)).lower()
        raise error(f"{name}: cannot be read: {why}") from None
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content:
        raise error(f"{name}: not UTF-8 but UTF-16, as it seems: save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        byte = content[problem.start]
        raise error(
            f"{name}: not UTF-8: byte {byte:#04x} in line {line}: save it as UTF-8"
        ) from None


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success flush it to disk and rename it to `path`.

    At every moment, even after a kill or a power cut, `path` is absent, the old file, or the
    complete new one. The temporary name is `.{name}.{pid}.tmp`, so tell the format to a writer that
    would guess it from the suffix (`savefig(temporary, format="svg")`). Parent folders are made.
    On any exception, KeyboardInterrupt included, the temporary file is removed and `path` stays as
    it was.

    Raises FileNotFoundError if the block ended without writing the temporary file. An OSError that
    names no file (a disk that fills up during a write) gets `path` as its filename.
    """
    with _temporary(Path(path)) as temporary:
        yield temporary
        _flush(temporary)


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """`atomic_path` for a folder: yield a new temporary one beside `path`, then rename it.

    The old folder is removed at the end, just before the rename: a kill in that moment leaves no
    folder, but never half of one. Temporary folders of killed writers are removed at the start, so
    only one writer may run at a time.
    """
    path = Path(path)
    with _temporary(path) as temporary:
        for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
            shutil.rmtree(leftover, ignore_errors=True)
        temporary.mkdir()
        yield temporary
        for folder, _, names in os.walk(temporary):
            for name in names:
                _flush(Path(folder, name))
            _flush_folder(Path(folder))
        if path.exists():
            shutil.rmtree(path)


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` and rename it to `path`; leave nothing on failure."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise
    finally:
        # The rename removes the temporary name, so it exists only if something went wrong.
        shutil.rmtree(temporary, ignore_errors=True)
        with suppress(OSError):
            temporary.unlink()
    _flush_folder(path.parent)


def remove_leftovers(path: str | os.PathLike[str]) -> list[Path]:
    """Remove the temporary files that killed writers of `path` left beside it; return them.

    Call it only where no other process can be writing `path`. Snakemake ensures this for the
    outputs of a running job.
    """
    path = Path(path)
    removed = []
    for leftover in sorted(path.parent.glob(f".{glob.escape(path.name)}.*.tmp")):
        # `.a.tsv.gz.7.tmp` belongs to `a.tsv.gz`, not to `a.tsv`: only a pid may stand between.
        if leftover.name[len(path.name) + 2 : -len(".tmp")].isdigit():
            with suppress(OSError):
                leftover.unlink()
                removed.append(leftover)
    return removed


def _flush(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        message = "nothing was written to the temporary file"
        raise FileNotFoundError(errno.ENOENT, message, str(path)) from None
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_folder(folder: Path) -> None:
    """Make the rename durable. Some network file systems refuse this, which is not an error."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
