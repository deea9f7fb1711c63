"""results/index.html: what it says is what the tables say, and it is safe, whole and usable."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from browser import browser, find_browser

import fake_components
import fake_crosslingual
import fake_heads
import fake_lag
import fake_toylang
from zscope.overview.building import caption_html, overview_page
from zscope.overview.contents import Contents, read_costs, read_study
from zscope.overview.not_run import not_run
from zscope.studies.heads.tables import DETECTORS
from zscope.studies.registry import TITLES
from zscope.tables.write import write_table

HOSTILE = "</script><img src=x onerror=alert(1)>'\"&"
FAKES = {
    "lag": fake_lag,
    "toylang": fake_toylang,
    "crosslingual": fake_crosslingual,
    "heads": fake_heads,
    "components": fake_components,
}
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360f8"
    "cfc00000030101006f0a6d8e0000000049454e44ae426082"
)
FIGURES = ("z_order_sweep", "dashboard", "verdicts", "other")


class Links(HTMLParser):
    """Where a page points, what it shows, and whether its elements close."""

    VOID = frozenset({"meta", "link", "input", "br", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.hrefs: list[str] = []
        self.ids: set[str] = set()
        self.images: list[dict[str, str | None]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if "href" in found and tag == "a":
            self.hrefs.append(found["href"])
        if "id" in found:
            assert found["id"] not in self.ids
            self.ids.add(found["id"])
        if tag == "img":
            self.images.append(found)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def tables_of(study):
    """Every made-up table of a study, by its name."""
    found = {}
    for cases in FAKES[study].figure_tables().values():
        found |= cases["full"].frames
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A results folder with what the overview reads: one file of every table, and figures."""
    from zscope.studies.registry import all_tables

    results = tmp_path_factory.mktemp("run") / "results"
    for study in FAKES:
        for name, frame in tables_of(study).items():
            table = all_tables()[name]
            path = results.parent / table.path.format(**dict.fromkeys(table.wildcards, "one"))
            path.parent.mkdir(parents=True, exist_ok=True)
            write_table(frame, path, table, {})
        for figure in FIGURES:
            for kind in ("png", "svg"):
                path = results / f"figures/{study}/{figure}.{kind}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(PIXEL)
    skipped = {"subject": "mine", "model": "m", "detector": "successor", "skipped": HOSTILE}
    path = results.parent / DETECTORS.path.format(subject="mine")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(
        [skipped, {**skipped, "detector": "induction", "skipped": None}], path, DETECTORS, {}
    )
    for job, cpu in (("a", 2.5), ("b", 4.0), ("c", "-")):
        path = results / f"benchmarks/train_run/{job}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\th:m:s\tmax_rss\tcpu_time\n3.0\t0:00:03\t120.5\t{cpu}\n")
    return results


def contents_of(results):
    studies = []
    for study in FAKES:
        figures = [
            {"name": f, "group": "Figures", "caption": f"What ``{f}`` is. {HOSTILE} A *word*."}
            for f in FIGURES
        ]
        studies.append(read_study(results, study, figures, []))
    config = {study: None for study in TITLES if study not in FAKES} | {
        "lag": {"sweeps": {"tasks": None}},
        "toylang": {},
        "crosslingual": {"weights_only": []},
        "heads": {"subjects": ["toylang/reference"]},
    }
    return Contents(
        studies,
        read_costs(results),
        f"title: {HOSTILE}",
        {"code": "abc"},
        list(not_run(results, config)),
    )


@pytest.fixture(scope="module")
def page(folder):
    path = folder / "index.html"
    path.write_text(overview_page(contents_of(folder), folder), "utf-8")
    return path


def test_every_link_resolves_and_every_figure_has_a_text(page):
    found = Links(page.read_text("utf-8"))
    assert not found.open
    assert len(found.hrefs) > 80
    for href in found.hrefs:
        if href.startswith("#"):
            assert href[1:] in found.ids
        else:
            assert (page.parent / href).is_file(), href
    assert len(found.images) == len(FAKES) * len(FIGURES)
    for image in found.images:
        assert image["alt"].startswith("What ")
        assert image["src"].startswith("data:image/png;base64,")


def test_no_text_becomes_markup(page):
    text = page.read_text("utf-8")
    assert "<img src=x" not in text
    assert "onerror=alert(1)&gt;" in text
    assert text.count("</script>") == text.count("<script")


def test_answers_are_those_of_the_tables(folder):
    contents = contents_of(folder)
    by_study = {study.name: study for study in contents.studies}
    summary = tables_of("toylang")["toylang_summary"]
    told = {(a.question, a.verdict) for a in by_study["toylang"].answers}
    rows = summary.to_dict("records")
    assert told == {(f"{r['condition']}: {r['text']}", r["verdict"]) for r in rows}
    verdicts = tables_of("crosslingual")["crosslingual_verdicts"]
    told = [a.verdict for a in by_study["crosslingual"].answers]
    assert told == verdicts["controlled_verdict"].tolist()
    heads = tables_of("heads")["heads_summary"]
    over_all = heads[(heads["model"] == "all") & (heads["verdict"] != "skipped")]
    assert [a.verdict for a in by_study["heads"].answers] == over_all["verdict"].tolist()
    lag = by_study["lag"].answers
    assert lag
    assert not any(a.verdict for a in lag)
    assert all("z is used" in a.numbers for a in lag)


def test_a_median_beyond_the_last_step_says_so():
    from zscope.studies.lag.answers import read

    row = {
        "sweep": "s",
        "condition": "c",
        "label": "l",
        "source": "training",
        "metric": "z_gap",
        "unit": "steps",
        "n": 5,
        "n_censored": 3,
        "median": None,
        "ci_low": 850.0,
        "ci_high": None,
    }
    (answer,) = read(pd.DataFrame([row]))
    assert answer.numbers == "z is used: beyond the last step [850, -], 3 of 5 never"


def test_costs_are_summed_by_rule(folder):
    (row,) = read_costs(folder).to_dict("records")
    assert (row["rule"], row["jobs"], row["cpu_seconds"]) == ("train_run", 3, 6.5)
    assert read_costs(folder.parent).empty


def test_what_was_not_run_is_said_with_its_reason(folder):
    told = dict(contents_of(folder).not_run)
    assert told["mine: detector successor"] == HOSTILE
    assert "mine: detector induction" not in told
    assert told["lag: tasks"] == "the config has it as null"
    assert "crosslingual.weights_only is empty" in told.values()
    assert "heads.subjects names none" in told.values()
    for study in TITLES.keys() - FAKES.keys():
        assert told[TITLES[study]] == f"the config has {study}: null"


def test_captions_keep_literals_and_emphasis():
    html = caption_html("One ``a*b`` and *two*.\n\nSecond < paragraph, 2*3*4.")
    assert html == (
        "<p>One <code>a*b</code> and <em>two</em>.</p><p>Second &lt; paragraph, 2*3*4.</p>"
    )


@pytest.mark.skipif(find_browser() is None, reason="no Chromium")
def test_the_page_in_a_browser(page, tmp_path):
    with browser(find_browser(), tmp_path) as tab:
        for width in (1280, 390):
            tab.screen(width)
            tab.open(page)
            assert tab.problems == []
            asked = [url for url in tab.requests if not url.startswith("data:")]
            assert asked == [page.as_uri()]
            wide = tab.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, "the page itself never scrolls sideways"
        every = tab.evaluate("document.querySelectorAll('[data-find]').length")
        tab.click("#wanted")
        tab.write("successor")
        tab.wait_for("document.getElementById('count').textContent.length > 0")
        left = tab.evaluate("document.querySelectorAll('[data-find]:not([hidden])').length")
        assert 0 < left < every
        assert tab.evaluate("document.getElementById('count').textContent") == f"{left} of {every}"
        tab.evaluate("document.getElementById('wanted').value = ''")
        tab.evaluate("document.getElementById('search').dispatchEvent(new Event('input'))")
        assert tab.evaluate("document.querySelectorAll('[data-find][hidden]').length") == 0
        sort_by_cpu = "#provenance table.sortable th:nth-child(3) button"
        tab.click(sort_by_cpu)
        assert (
            tab.evaluate(
                "document.querySelector('#provenance th:nth-child(3)').getAttribute('aria-sort')"
            )
            == "ascending"
        )
        assert tab.problems == []


def test_a_page_names_no_address(page):
    text = page.read_text("utf-8")
    assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", text)


def test_paths_below_other_folders_are_kept():
    from zscope.overview.building import _link

    assert _link(Path("results/a/b.html"), Path("results")) == '<a href="a/b.html">a/b.html</a>'
