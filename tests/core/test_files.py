"""A file written through `atomic_path` is whole or absent, whatever ends its writer."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from zscope.core.errors import ConfigError, DataError
from zscope.core.files import atomic_path, read_text, remove_leftovers


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_success_leaves_the_content_and_no_other_file(tmp_path):
    path = tmp_path / "new" / "folder" / "a.tsv"
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.name == f".a.tsv.{os.getpid()}.tmp"
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert names(path.parent) == ["a.tsv"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_failure_keeps_the_old_file_and_removes_the_half_written_one(tmp_path, error):
    path = tmp_path / "a.tsv"
    path.write_text("old")

    def fail():
        with atomic_path(path) as temporary:
            temporary.write_text("ha")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.tsv"]


def test_writing_nothing_is_an_error_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("old")
    with pytest.raises(FileNotFoundError, match="nothing was written"), atomic_path(path):
        pass
    assert path.read_text() == "old"


def test_a_file_error_without_a_name_gets_the_final_name(tmp_path):
    path = tmp_path / "a.tsv"
    with pytest.raises(OSError, match="No space left") as caught, atomic_path(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.filename == str(path)


def test_a_rename_that_fails_leaves_no_temporary_file(tmp_path):
    path = tmp_path / "a"
    (path / "full").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"), atomic_path(path) as temporary:
        temporary.write_text("whole")
    assert names(tmp_path) == ["a"]


WRITER = """
    import sys
    from pathlib import Path
    from zscope.core.files import atomic_path

    path = Path(sys.argv[1])
    for version in range(10**9):
        with atomic_path(path) as temporary, temporary.open("w") as file:
            for _ in range(200):
                file.write(f"{version}\\n" * 50)
                file.flush()
"""


@pytest.mark.parametrize("seconds", [0.0, 0.013, 0.031, 0.057])
def test_after_sigkill_the_file_is_whole(tmp_path, seconds):
    path = tmp_path / "a.tsv"
    writer = subprocess.Popen([sys.executable, "-c", textwrap.dedent(WRITER), str(path)])
    try:
        deadline = time.monotonic() + 15
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(seconds)
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    lines = path.read_text().splitlines()
    assert len(lines) == 200 * 50
    assert len(set(lines)) == 1

    remove_leftovers(path)
    assert names(tmp_path) == ["a.tsv"]


def test_only_leftovers_of_the_same_file_are_removed(tmp_path):
    kept = ["a.tsv", "a.tsv.7.tmp", ".a.tsv.gz.7.tmp", ".b.tsv.7.tmp", ".a.tsv.x.tmp", ".a.tsv.7"]
    for name in [*kept, ".a.tsv.7.tmp", ".a.tsv.123.tmp"]:
        (tmp_path / name).touch()
    removed = remove_leftovers(tmp_path / "a.tsv")
    assert [path.name for path in removed] == [".a.tsv.123.tmp", ".a.tsv.7.tmp"]
    assert names(tmp_path) == sorted(kept)


def test_a_name_with_pattern_characters_matches_only_itself(tmp_path):
    for name in (".a[12].7.tmp", ".a1.7.tmp"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path / "a[12]")
    assert names(tmp_path) == [".a1.7.tmp"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a\ncaf\xe9", "mine: not UTF-8: byte 0xe9 in line 2: save it as UTF-8"),
        ("é".encode("utf-16"), "mine: not UTF-8 but UTF-16, as it seems: save it as UTF-8"),
        (None, "mine: cannot be read: no such file or directory"),
    ],
)
@pytest.mark.parametrize("error", [ConfigError, DataError])
def test_a_text_that_cannot_be_read_is_one_line_with_its_name(tmp_path, content, says, error):
    path = tmp_path / "a.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error) as caught:
        read_text(path, "mine", error)
    assert str(caught.value) == says


def test_a_text_is_read_without_its_mark_and_with_its_line_ends(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffé\r\n研".encode())
    assert read_text(path, "mine", DataError) == "é\r\n研"
