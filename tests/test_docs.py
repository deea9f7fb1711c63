"""The pages agree with the code: links lead somewhere, names exist, configs are valid."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from zscope.studies.config import load

ROOT = Path(__file__).parents[1]
GENERATED = {ROOT / "docs/config.md", ROOT / "docs/tables.md"}
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "benchmarks/README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
WRITTEN = [page for page in PAGES if page not in GENERATED]
EXAMPLES = {"lib/zscope/studies/lag/probes/direct_logit.py"}  # a page tells how to write it


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", without_code(page.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def without_code(text: str) -> str:
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.M | re.S)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text())):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def exists(dotted: str) -> bool:
    """Whether a name below zscope is a module, or is defined in one."""
    parts = dotted.split(".")
    for n in range(len(parts), 0, -1):
        folder = ROOT / "lib" / Path(*parts[:n])
        module = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
        if module.exists():
            defined = re.compile(rf"^(?:def|class) {'.'.join(parts[n:])}\b", re.M)
            return n == len(parts) or bool(defined.search(module.read_text()))
    return False


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_the_code_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    names = set(re.findall(r"`(zscope(?:\.\w+)+)`", text))
    if page.name == "methods.md":
        names |= {
            f"zscope.{found}" for found in re.findall(r"`((?:models|studies)\.[\w.]+)`", text)
        }
        assert len(names) > 15
    assert not [found for found in names if not exists(found)]
    paths = set(re.findall(r"`((?:lib|workflow|tests|docs|config|benchmarks)/[\w./-]+)`", text))
    assert not [path for path in paths - EXAMPLES if not (ROOT / path).exists()]


def merged(base: Any, overlay: Any) -> Any:
    """`overlay` over `base` key by key, as Snakemake merges config files."""
    if not isinstance(base, dict) or not isinstance(overlay, dict):
        return overlay
    return base | {key: merged(base.get(key), value) for key, value in overlay.items()}


BLOCKS = [
    (page, block)
    for page in WRITTEN
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.S)
]


@pytest.mark.parametrize(("page", "block"), BLOCKS, ids=[name(page) for page, _ in BLOCKS])
def test_the_configs_that_a_page_shows_are_valid(page: Path, block: str) -> None:
    base = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    load(merged(base, yaml.safe_load(block)))


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_words(page: Path) -> None:
    """A source document is a protocol, a number has its zero."""
    text = page.read_text()
    assert not re.findall(r"(?i)seed 00\d|seed's (?:rule|protocol|model|objective|criterion)", text)
    assert not re.findall(r"(?<![\w.*/)`])\.\d+", without_code(text))
    assert "—" not in text


@pytest.mark.parametrize("study", ["lag", "crosslingual", "toylang", "heads", "components"])
def test_a_page_of_a_study_begins_with_question_picture_commands_verdict(study: str) -> None:
    text = (ROOT / f"docs/{study}.md").read_text()
    first = ["**Question.**", "![", "**Commands.**", "**How to read the ", "\n## "]
    places = [text.find(mark) for mark in first]
    assert -1 not in places
    assert places == sorted(places)


def test_the_five_protocols_can_be_followed() -> None:
    """CITATION.cff and the README's table name the same five documents."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    cited = {re.match(r"Protocol (\d{3})", r["notes"])[1]: r for r in citation["references"]}
    readme = (ROOT / "README.md").read_text()
    rows = dict(re.findall(r"^\| (\d{3}) \|(.*)$", readme, re.M))
    assert set(cited) == set(rows) == {"000", "001", "002", "003", "004"}
    for number, reference in cited.items():
        link = reference.get("url") or reference.get("repository-code")
        assert link is None or f"({link})" in rows[number], number
