"""Passages of plain text: those of the package, and those of a folder of the user's.

A passage is one file `*.txt` in UTF-8. The package has twelve in English and twelve in Chinese,
written for it (`passages/LICENSE.md`): files of the same name tell the same thing. Standard library
only.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from zscope.core.errors import DataError
from zscope.core.files import read_text

PassageLanguage = Literal["en", "zh"]
PASSAGE_LANGUAGES: tuple[PassageLanguage, ...] = get_args(PassageLanguage)
_PACKAGED = Path(__file__).with_name("passages")


@dataclass(frozen=True)
class Passage:
    """A text without blanks at its ends; name: of its file, without the ending."""

    name: str
    text: str


def passage_files(folder: str | os.PathLike[str]) -> list[Path]:
    """The files that `read_folder` reads, sorted by name. Raises DataError if there are none."""
    folder = Path(folder).expanduser()
    files = sorted(p for p in folder.glob("*.txt") if p.is_file())
    if not files:
        problem = "holds no file *.txt" if folder.is_dir() else "no such folder"
        raise DataError(f"texts {folder}: {problem}; give a folder with one passage per file *.txt")
    return files


def packaged_folder(language: PassageLanguage) -> Path:
    """Where the package's passages in a language are. Raises DataError for another language."""
    if language not in PASSAGE_LANGUAGES:
        raise DataError(
            f"no reference texts in {language!r}: there are {', '.join(PASSAGE_LANGUAGES)}; give a "
            "folder of your own for another language"
        )
    return _PACKAGED / language


def read_passages(language: PassageLanguage) -> list[Passage]:
    """The package's passages in a language, by name. Raises DataError for another language."""
    return read_folder(packaged_folder(language))


def read_folder(folder: str | os.PathLike[str]) -> list[Passage]:
    """The passages of a folder, by name; line breaks are read as one character each.

    Raises DataError, in one line with the file, if the folder has no `*.txt`, or a file cannot be
    read, is not UTF-8 or has nothing in it.
    """
    return [_read(file) for file in passage_files(folder)]


def _read(file: Path) -> Passage:
    text = read_text(file, str(file), DataError).replace("\r\n", "\n").replace("\r", "\n").strip()
    if not text:
        raise DataError(f"{file}: has no text in it; write some, or take the file away")
    return Passage(file.stem, text)
