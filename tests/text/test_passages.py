"""The package's passages are whole, and a wrong folder is named in one line."""

import re

import pytest

from zscope.core.errors import DataError
from zscope.text.passages import (
    PASSAGE_LANGUAGES,
    packaged_folder,
    passage_files,
    read_folder,
    read_passages,
)

HAN = re.compile("[\u4e00-\u9fff]")
LATIN = re.compile("[A-Za-z]")


def test_both_languages_tell_the_same_things():
    en, zh = (read_passages(language) for language in PASSAGE_LANGUAGES)
    assert [p.name for p in en] == [p.name for p in zh]
    assert len({p.text for p in en + zh}) == 24
    assert sum(len(p.text.split()) for p in en) >= 2500
    assert sum(len(HAN.findall(p.text)) for p in zh) >= 4000


@pytest.mark.parametrize("language", PASSAGE_LANGUAGES)
def test_passages_are_of_their_language_and_repeat_nothing(language):
    for p in read_passages(language):
        han, latin = len(HAN.findall(p.text)), len(LATIN.findall(p.text))
        assert (
            (han, latin > 500) == (0, True) if language == "en" else (latin, han > 200) == (0, True)
        )
        sentences = [s.strip() for s in re.split(r"(?<=[.?!。？！])", p.text) if len(s.strip()) > 8]
        assert len(set(sentences)) == len(sentences)
        assert p.text == p.text.strip()
        assert not re.search(r"[\t\ufffd]| {2}|\n{3}", p.text)


def test_they_lie_beside_their_licence():
    licence = (packaged_folder("en").parent / "LICENSE.md").read_text("utf-8")
    assert "CC0 1.0" in licence


def test_a_folder_of_ones_own_is_read_by_name(tmp_path):
    (tmp_path / "b.txt").write_bytes("\ufeff二\r\n三\r\n".encode())
    (tmp_path / "a.txt").write_text("  one \n", "utf-8")
    (tmp_path / "c.md").write_text("not a text", "utf-8")
    (tmp_path / "d.txt").mkdir()
    assert [(p.name, p.text) for p in read_folder(tmp_path)] == [("a", "one"), ("b", "二\n三")]
    assert [f.name for f in passage_files(tmp_path)] == ["a.txt", "b.txt"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.txt", b"caf\xe9", "x.txt: not UTF-8: byte 0xe9 in line 1"),
        ("x.txt", b" \n\n", "x.txt: has no text in it"),
        ("x.md", b"text", "holds no file *.txt"),
    ],
)
def test_a_wrong_file_is_named_in_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=re.escape(message)) as error:
        read_folder(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_or_language_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        read_folder(tmp_path / "nowhere")
    with pytest.raises(DataError, match="'fr': there are en, zh"):
        read_passages("fr")
