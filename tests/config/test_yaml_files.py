"""YAML that people write: no key is dropped, and what cannot be read is a line with its name."""

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from zscope.config.yaml_files import check_config_file, main, parse_yaml, read_yaml
from zscope.core.errors import ConfigError

PRINTABLE = st.characters(codec="utf-8", exclude_categories=("C", "Zl", "Zp"))
SCALARS = st.none() | st.booleans() | st.integers() | st.text(PRINTABLE, max_size=8)
KEYS = st.text(PRINTABLE, max_size=5)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)
NAMES = st.text("abcxyz", min_size=1, max_size=4)


def message(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "mine.yaml")
    return str(caught.value)


@settings(max_examples=40)
@given(VALUES)
def test_it_reads_what_yaml_says(value: object) -> None:
    for flow in (True, False):
        text = yaml.safe_dump(value, default_flow_style=flow, allow_unicode=True)
        assert parse_yaml(text, "x") == yaml.safe_load(text) == value


@settings(max_examples=40)
@given(st.lists(NAMES, min_size=1, max_size=4), st.integers(0, 5), st.integers(0, 5))
def test_a_key_that_is_there_twice_is_named_with_its_block_and_both_lines(
    blocks: list[str], before: int, between: int
) -> None:
    """The key `again` at any depth, after and around any number of other keys."""
    lines = [" " * i + f"{name}:" for i, name in enumerate(blocks)]
    indent = " " * len(blocks)
    lines += [f"{indent}K{i}: 0" for i in range(before)] + [f"{indent}again: 1"]
    first = len(lines)
    lines += [f"{indent}L{i}: [0]" for i in range(between)] + [f"{indent}'again': {{a: 1}}"]
    assert message("\n".join(lines)) == (
        f"mine.yaml: key {'.'.join(blocks)}.again is there twice, "
        f"in lines {first} and {len(lines)}: keep one"
    )
    once = parse_yaml("\n".join(lines[:-1]), "mine.yaml")
    assert once == yaml.safe_load("\n".join(lines[:-1]))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lag: {}\ntoylang: null\nlag: {onset: {}}", "key lag is there twice, in lines 1 and 3"),
        ("lag: {sweeps: {a: {seeds: [0], seeds: [1]}}}", "key lag.sweeps.a.seeds is there twice, in"
         " line 1"),
        ('{"device": "cpu",\n"device": "cuda"}', "key device is there twice, in lines 1 and 2"),
        ("- {id: a}\n- {id: b,\n   id: c}", "key [1].id is there twice, in lines 2 and 3"),
        ("1: a\n0x1: b", "key 0x1 is there twice, in lines 1 and 2"),
        ("a: &x {k: 1,\n k: 2}\nb: *x", "key a.k is there twice, in lines 1 and 2"),
    ],
)  # fmt: skip
def test_where_a_key_may_be_there_twice(text: str, says: str) -> None:
    assert message(text) == f"mine.yaml: {says}: keep one"


def test_every_key_that_is_there_twice_has_a_line() -> None:
    assert len(message("a: {b: 1, b: 2}\nc: 1\na: 0\na: 1").splitlines()) == 3


def test_what_only_looks_like_a_key_that_is_there_twice() -> None:
    text = "a: &a {x: 1}\nb: &b {y: 1}\nc: {<<: *a, <<: *b, x: 2}\nd: [*a, *a]\ne: {1: a, '1': b}"
    assert parse_yaml(text, "x") == yaml.safe_load(text)


@pytest.mark.parametrize(
    "text",
    [
        *("a: {", "a:\n\tb: 1", "a: 1\n---\nb: 1", "a: !!python/name:os.x"),
        *("{[a]: 1}", "a: *b", "a: 2026-99-99", "a: '\x07'", "[" * 500),
    ],
)
def test_what_is_no_yaml_is_one_line_with_the_name(text: str) -> None:
    assert message(text).startswith("mine.yaml: no YAML: ")
    assert "\n" not in message(text)


OVERLAY = "lag: null  # café 研究\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a: 1\n# café".encode("latin-1"), "not UTF-8: byte 0xe9 in line 2: save it as UTF-8"),
        (OVERLAY.encode("gb18030"), "not UTF-8: byte 0xa8 in line 1: save it as UTF-8"),
        (OVERLAY.encode("utf-16"), "not UTF-8 but UTF-16, as it seems: save it as UTF-8"),
        (OVERLAY.encode("utf-16-le"), "not UTF-8 but UTF-16, as it seems: save it as UTF-8"),
        (OVERLAY.encode("utf-16-be"), "not UTF-8 but UTF-16, as it seems: save it as UTF-8"),
        (b"", "must be a block of keys, but it is empty"),
        (b"# nothing\n", "must be a block of keys, but it is empty"),
        (b"- a\n", "must be a block of keys, but it is a list"),
        (b"lag\n", "must be a block of keys, but it is a single value"),
    ],
)
def test_an_overlay_that_cannot_be_read_is_one_line_with_its_name(
    tmp_path, capsys, content: bytes, says: str
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        check_config_file(file, "config/mine.yaml")
    assert str(caught.value) == f"config/mine.yaml: {says}"
    assert main([str(file)]) == 1
    assert capsys.readouterr().err == f"Error: {file}: {says}\n"


def test_a_file_that_is_not_there_or_a_folder(tmp_path) -> None:
    for path in (tmp_path, tmp_path / "nowhere.yaml"):
        with pytest.raises(ConfigError, match="cannot be read: "):
            read_yaml(path)


@pytest.mark.parametrize(
    "content",
    [
        OVERLAY.encode(),
        OVERLAY.encode("utf-8-sig"),
        json.dumps({"lag": None}, indent="\t").encode(),
    ],
)
def test_an_overlay_that_can_be_read(tmp_path, content: bytes) -> None:
    (tmp_path / "mine.yaml").write_bytes(content)
    check_config_file(tmp_path / "mine.yaml")
    assert read_yaml(tmp_path / "mine.yaml") == {"lag": None}
    assert main([str(tmp_path / "mine.yaml")]) == 0
