"""The page of a layer: what stands in it, where its links lead, and that no text is markup."""

import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from zscope.studies.components.decomposition.layer_page import (
    html_page,
    layer_table,
    markdown_page,
)

MARKUP = "<script>alert(1)</script><img src=x onerror=alert(1)> | a\n| b"


@pytest.fixture
def table():
    def component(matrix, c, g, alive=True):
        return {
            **{"matrix": matrix, "component": c, "importance": g, "alive": alive},
            **{"norm": 1.5, "head": 2, "share": 0.4},
        }

    components = pd.DataFrame(
        [
            component("0.q1", 3, 0.1),
            component("0.q1", 4, 0.2),
            component("0.q1", 5, 0.001, alive=False),
            component("0.k1", 7, 0.1),
            component("1.k1", 8, 0.1),
        ]
    )
    tokens = pd.DataFrame(
        [
            {"matrix": "0.q1", "component": 3, "side": "reads", "rank": 1, "token": "b"},
            {"matrix": "0.q1", "component": 3, "side": "reads", "rank": 0, "token": MARKUP},
        ]
    )
    importance = pd.DataFrame(
        [
            {"primitive": p, "importance": g, "lift": lift, "chosen": g > 0.5}
            for p, g, lift in (("skip", 0.6, 9.0), ("bigram", 0.3, 1.5), ("novel", 0.2, None))
        ]
    ).assign(matrix="0.q1", component=3)
    partners = pd.DataFrame(
        [
            {"matrix": "0.q1", "component": 3, "partner_matrix": "0.k1", "partner": 7},
            {"matrix": "0.k1", "component": 7, "partner_matrix": "0.v", "partner": 1},
        ]
    ).assign(rank=0, value=0.25, offset=2)
    return layer_table(components, tokens, importance, partners, 0)


def test_a_row_is_an_alive_component_of_the_layer_by_importance(table):
    assert table["component"].tolist() == ["q1/4", "q1/3", "k1/7"]
    row = table[table["component"] == "q1/3"].iloc[0]
    assert row["partners"] == "k1/7 +0.25 at 2"
    assert row["serves"] == "skip 0.60 (chosen), novel 0.20"
    assert row["reads"].endswith(", b")
    assert table.iloc[2]["partners"] == "v/1 +0.25"


def test_a_partner_that_is_on_the_page_is_a_link_to_its_row(table):
    text = html_page(table, "t", "h")
    assert '<a href="#k1/7">k1/7</a>' in text
    assert '<td id="k1/7">' in text
    assert 'href="#v/1"' not in text


def test_no_text_is_markup_and_the_page_loads_nothing(table):
    page, tags = HTMLParser(), []
    page.handle_starttag = lambda tag, attrs: tags.append((tag, dict(attrs)))
    page.feed(html_page(table, MARKUP, MARKUP))
    assert not {"script", "img", "iframe"} & {tag for tag, _ in tags}
    assert all(a["href"] == "data:," for tag, a in tags if tag == "link")
    assert all(a["href"].startswith("#") for tag, a in tags if tag == "a")
    assert any("default-src 'none'; script-src 'none'" in (a.get("content") or "") for _, a in tags)


def test_the_twin_holds_the_same_rows_without_markup(table):
    text = markdown_page(table, "t", "h")
    assert "<" not in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(table)
    for line in lines:
        assert len(re.findall(r"(?<!\\)\|", line)) == len(table.columns) + 1
