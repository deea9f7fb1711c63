"""The package's prompts are whole, and a mistake in a user's file is one line that names it."""

import re

import pytest

from zscope.core.errors import ConfigError
from zscope.text.prompts import OWN, PACKAGED, Prompt, read_prompts

FAMILIES = {"expression", "bigram", "name", "code", "list", "repetition", "sum", "format"}


def test_the_package_has_prompts_of_every_family():
    prompts = read_prompts()
    assert len(prompts) >= 40
    assert {p.family for p in prompts} == FAMILIES
    assert len({p.id for p in prompts}) == len({p.text for p in prompts}) == len(prompts)
    assert all(p.id.startswith(f"{p.family}-") for p in prompts)
    # The next word begins with its own blank in every tokenizer that we know.
    assert all(p.text == p.text.strip() for p in prompts)
    assert Prompt("code-imports", "code", "import os\nimport") in prompts


def test_they_lie_beside_their_licence():
    assert "CC0 1.0" in (PACKAGED.parent / "LICENSE.md").read_text("utf-8")


def test_a_file_of_ones_own_is_read_as_it_is(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        '- {id: a, text: " two  blanks "}\n- {id: b-2, family: zh, text: "研究\\n"}', "utf-8"
    )
    assert read_prompts(file) == (
        Prompt("a", OWN, " two  blanks "),
        Prompt("b-2", "zh", "研究\n"),
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("- {id: a, text: caf\xe9}".encode("latin-1"), "not UTF-8: byte 0xe9 in line 1"),
        (b"- {id: a", "no YAML: line 1"),
        (b"", "must be a list of prompts, each {id: ..., family: ..., text: "),
        (b"[]", "but it is empty"),
        (b"a: b", "but it is a dict"),
        (b"- just text", "text: \"...\"}, but it is 'just text'"),
        (b"- {id: a, text: x}\n- {id: a, text: y}", "prompt 2: id a is that of prompt 1 too"),
        (b"- {id: a, text: ' '}", "prompt 1 (a): its text is empty"),
        (b"- {id: a}", "prompt 1: it has no text"),
        (b"- {text: a}", "prompt 1: it has no id"),
        (b"- {id: a, text: 12}", "prompt 1: text must be text, not 12: put it into quotes"),
        (b"- {id: no, text: x}", "prompt 1: id must be text, not False: put it into quotes"),
        (b"- {id: a/b, text: x}", "prompt 1: id 'a/b' is no plain name"),
        (b"- {id: a, text: x, family: ''}", "prompt 1: family '' is no plain name"),
        (b"- {id: a, text: x, notes: y}", "prompt 1: unknown key notes; there are id, family"),
        (b"- {id: a, text: x, text: y}", "key [0].text is there twice"),
    ],
)  # fmt: skip
def test_a_mistake_in_it_is_one_line_with_its_name(tmp_path, content, says):
    file = tmp_path / "mine.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(says)) as caught:
        read_prompts(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read: no such file"):
        read_prompts(tmp_path / "nowhere.yaml")
