"""No two tokens look alike, and none looks like nothing."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zscope.pages.visible import is_plain, token_title, visible


def back(shown: str) -> str:
    """What a shown text stands for."""
    out, at = [], 0
    while at < len(shown):
        if shown[at] == "\u27e8":
            end = shown.index("\u27e9", at)
            number = shown[at + 3 : end]
            out += [chr(int(number, 16))] if number else []
            at = end
        else:
            out.append({"\u2423": " ", "\u21b5": "\n", "\u21e5": "\t"}.get(shown[at], shown[at]))
        at += 1
    return "".join(out)


@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=8))
@example("\u27e8U+000A\u27e9")
@example("\u27e8\u27e9")
@example("")
def test_a_shown_text_stands_for_one_text_only(text: str) -> None:
    assert back(visible(text)) == text


@given(st.text(max_size=8))
def test_what_is_shown_is_seen(text: str) -> None:
    shown = visible(text)
    assert shown
    assert not any(c.isspace() or unicodedata.category(c)[0] in "CZ" for c in shown)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" the", "\u2423the"),
        ("\n\t", "\u21b5\u21e5"),
        ("\r", "\u27e8U+000D\u27e9"),
        ("", "\u27e8\u27e9"),
        ("a\u202eb", "a\u27e8U+202E\u27e9b"),  # would turn the text around
        ("\u0301x", "\u27e8U+0301\u27e9x"),  # an accent on nothing
        ("e\u0301", "e\u0301"),
        ("\u3164", "\u27e8U+3164\u27e9"),  # a letter that is drawn as nothing
        ("\u2423", "\u27e8U+2423\u27e9"),
        ("研究", "研究"),
        ("\U0001f468\u200d\U0001f469", "\U0001f468\u27e8U+200D\u27e9\U0001f469"),
    ],
)
def test_signs(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_titles_name_what_is_not_plain() -> None:
    assert token_title(" a", 7) == "token 7"
    assert token_title("é\n", 7) == "token 7: U+00E9 U+000A"
    assert token_title("", 7) == "token 7: no text"
    assert token_title("é" * 20, 7).endswith("U+00E9 \u2026")
    assert [is_plain(t) for t in ("a b", "é", "\n", "")] == [True, False, False, False]
