"""The whole workflow on config/smoke.yaml, and what must hold of its results."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from browser import browser, find_browser

from clones import Clone, Finished, table_at
from zscope.figures.registry import figure_modules
from zscope.studies.registry import TITLES, all_tables
from zscope.tables.read import read_provenance, read_table

pytestmark = pytest.mark.slow
TABLES = all_tables()


def table_paths(folder: Path) -> dict[Path, str]:
    """Every Parquet table of a run and its name in TABLES."""
    paths = sorted((folder / "results").rglob("*.parquet"))
    tables = {path: table_at(str(path.relative_to(folder))) for path in paths}
    return {path: table.name for path, table in tables.items() if table}


OF_PRETRAINED = {
    *("models_fetched", "models_loss", "components_dictionaries_text"),
    *(f"components_attribution_pretrained_{what}" for what in ("pairs", "nodes", "scores")),
}
# No run of a small sweep may have the onset that others are relative to, and no head of a small
# model a name; none of these models knows names of people.
MAY_BE_EMPTY = {
    *("lag_alignment", "heads_under_ablation", "heads_onset_order", "heads_ioi", "heads_ov"),
    "heads_profiles",  # positional heads are not asked
}


def test_every_table_is_of_its_schema_and_says_where_it_comes_from(
    smoke: tuple[Clone, Finished],
) -> None:
    clone, done = smoke
    assert done.status == 0, done.output[-5000:]
    tables = table_paths(clone.folder)
    every = set((clone.folder / "results").rglob("*.parquet"))
    # Activations are as wide as their model; subspace/activations.py has their schema.
    activations = {p for p in every if "activations" in p.parts}
    assert activations
    assert set(tables) == every - activations
    # Its models are all trained here.
    assert set(tables.values()) == set(TABLES) - OF_PRETRAINED
    filled = {name for path, name in tables.items() if len(read_table(path, TABLES[name])) > 0}
    assert set(tables.values()) - filled <= MAY_BE_EMPTY
    for path in tables:
        provenance = read_provenance(path)
        assert re.fullmatch("[0-9a-f]{16}", provenance["code"])
        assert provenance["slice"]


def test_figures_are_drawn_in_both_formats(smoke: tuple[Clone, Finished]) -> None:
    clone, done = smoke
    assert done.status == 0, done.output[-5000:]
    figures = clone.folder / "results/figures"
    svg = {p.with_suffix("") for p in figures.rglob("*.svg")}
    assert svg == {p.with_suffix("") for p in figures.rglob("*.png")}
    for study in TITLES:
        drawn = {
            name
            for name, module in figure_modules(study).items()
            if module.constants.get("SOURCES") != ("named",)  # no model here is one of `models:`
        }
        assert {p.stem for p in svg if study in p.parts} == drawn


def test_every_rule_left_a_log_and_no_leftovers(smoke: tuple[Clone, Finished]) -> None:
    clone, done = smoke
    assert done.status == 0, done.output[-5000:]
    for rule in done.rules:
        logs = list((clone.folder / "logs" / rule).rglob("*.log"))
        assert logs, rule
        assert all("done after" in log.read_text() for log in logs)
    assert not list(clone.folder.rglob("*.tmp"))
    assert not list(clone.folder.rglob(".resume-*"))


def test_every_page_of_heads_sorts_and_picks_and_complains_of_nothing(
    smoke: tuple[Clone, Finished], tmp_path: Path
) -> None:
    clone, done = smoke
    assert done.status == 0, done.output[-5000:]
    program = find_browser()
    if program is None:
        pytest.skip("no chromium here (apt-get install chromium)")
    pages = sorted((clone.folder / "results/heads/pages").rglob("*.html"))
    assert [p.stem for p in pages] == ["heads", "sequences"] * 2
    with browser(program, tmp_path) as tab:
        for page in pages:
            tab.open(page)
            if page.stem == "heads":
                tab.click(".grid tbody tr:nth-child(2) td:nth-child(3) button")
                assert tab.texts("#attention-title") == ["Attention of L1H1"]
                assert tab.texts(".pattern td.cell")
            else:
                assert len(tab.texts("section.prompt")) == 4
                tab.click("section.prompt thead th:nth-child(4) button")
                sorted_by = tab.evaluate(
                    "[...document.querySelector('section.prompt tbody.rows').rows]"
                    ".map(row => Number(row.dataset.kl))"
                )
                assert sorted_by == sorted(sorted_by, reverse=True)
                assert max(sorted_by) > 0
            assert tab.problems == [], page
            assert [r for r in tab.requests if not r.startswith("data:")] == [page.as_uri()]


def test_report_is_one_page_with_every_figure(copied: Clone) -> None:
    report = copied.folder / "report.html"
    done = copied.snakemake("--report", str(report))
    assert done.status == 0, done.output[-5000:]
    # What docutils says of a caption that it cannot read.
    assert not re.findall(r"\((?:WARNING|ERROR|SEVERE)/\d\).*", done.output)
    text = report.read_text()
    for name in ("z_order_sweep", "k_sweep", "dashboard", "linear_contrast", "patching", "planted"):
        assert f"{name}.svg" in text
    assert "Lag" in text
    assert "log K" in text  # of the captions


def test_the_page_of_the_run_shows_every_figure_and_each_link_resolves(
    smoke: tuple[Clone, Finished], tmp_path: Path
) -> None:
    clone, done = smoke
    assert done.status == 0, done.output[-5000:]
    page = clone.folder / "results/index.html"
    text = page.read_text("utf-8")
    figures = list((clone.folder / "results/figures").rglob("*.svg"))
    links = set(re.findall(r'href="([^"#][^"]*)"', text)) - {"data:,"}
    assert {p.relative_to(page.parent).as_posix() for p in figures} <= links
    assert not [link for link in links if not (page.parent / link).is_file()]
    pages = (clone.folder / "results/heads/pages").rglob("*.html")
    assert {p.relative_to(page.parent).as_posix() for p in pages} <= links
    program = find_browser()
    if program is None:
        pytest.skip("no chromium here (apt-get install chromium)")
    with browser(program, tmp_path) as tab:
        tab.open(page)
        assert len(tab.texts("section.study h2")) == len(TITLES)
        tab.click("#wanted")
        tab.write("induction")
        tab.wait_for("document.getElementById('count').textContent.length > 0")
        assert tab.problems == []
