"""The markup of the overview. Every text reaches it through `escape`."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from zscope.overview.asset_files import SCRIPT, STYLES
from zscope.overview.contents import Contents, FigureEntry, StudyEntry, TableEntry
from zscope.pages.answers import Answer
from zscope.pages.markup import escape, page

WORDS = {"yes": "yes", "no": "no", "partial": "partly", "partly": "partly"}
"""Verdicts that have a mark of their own; all others share one."""


def overview_page(contents: Contents, results: Path) -> str:
    """The whole page, with its figures inside. Links are relative to `results`."""
    body = "\n".join(
        (
            "<main>",
            _header(contents),
            *(_study(study, results) for study in contents.studies),
            _not_run(contents),
            _provenance(contents),
            "</main>",
        )
    )
    return page("zscope: results", body, SCRIPT, styles=STYLES)


def _header(contents: Contents) -> str:
    links = "".join(
        f'<li><a href="#{escape(s.name)}">{escape(s.title)}</a></li>' for s in contents.studies
    )
    return (
        "<header><h1>Results</h1>"
        f'<nav aria-label="Studies"><ul class="links">{links}'
        '<li><a href="#not-run">Not run</a></li><li><a href="#provenance">Provenance</a></li>'
        '</ul></nav><form class="controls" id="search" role="search" hidden>'
        "<label>Search answers, figures and tables "
        '<input type="search" id="wanted" autocomplete="off"></label>'
        '<output id="count" aria-live="polite"></output></form></header>'
    )


def _study(study: StudyEntry, results: Path) -> str:
    parts = [
        f'<section class="study" id="{escape(study.name)}"><h2>{escape(study.title)}</h2>',
        f"<p>{escape(study.question)}</p>",
        _answers(study.answers),
    ]
    if study.headline is not None:
        parts.append(_figure(study.headline, results, opened=True))
    if study.pages:
        links = "".join(f"<li>{_link(file, results)}</li>" for file in study.pages)
        parts.append(f'<h3>Pages</h3><ul class="links">{links}</ul>')
    others = [f for f in study.figures if f is not study.headline]
    parts += ["<h3>Figures</h3>", *(_figure(f, results) for f in others)]
    parts += ["<h3>Tables</h3>", *(_table(t, results) for t in study.tables), "</section>"]
    return "\n".join(parts)


def _answers(answers: Sequence[Answer]) -> str:
    if not answers:
        return '<p class="note">No answers yet.</p>'
    told = any(a.verdict for a in answers)
    rows = "".join(
        f'<tr data-find><th scope="row">{escape(a.question)}</th>'
        + (f"<td>{_word(a.verdict)}</td>" if told else "")
        + f"<td>{escape(a.numbers)}</td><td>{escape(a.test)}</td></tr>"
        for a in answers
    )
    word = "<th>answer</th>" if told else ""
    head = f"<tr><th>question</th>{word}<th>numbers</th><th>test</th></tr>"
    return (
        '<div class="wide" tabindex="0" role="region" aria-label="Answers"><table class="answers">'
        f"<thead>{head}</thead><tbody>{rows}</tbody></table></div>"
    )


def _word(verdict: str) -> str:
    return f'<span class="word {WORDS.get(verdict, "open")}">{escape(verdict)}</span>'


def _figure(figure: FigureEntry, results: Path, *, opened: bool = False) -> str:
    title = escape(figure.name)
    caption = caption_html(figure.caption)
    image = (
        f'<img alt="{escape(_first_sentence(figure.caption))}" loading="lazy" '
        f'src="data:image/png;base64,{b64encode(figure.path.read_bytes()).decode()}">'
    )
    links = " ".join(
        _link(figure.path.with_suffix(kind), results, kind[1:].upper()) for kind in (".svg", ".png")
    )
    return (
        f'<details class="figure" data-find{" open" if opened else ""}><summary>{title} '
        f"<small>{escape(figure.group)}</small></summary><figure>{image}"
        f"<figcaption>{caption}<p>{links}</p></figcaption></figure></details>"
    )


def caption_html(text: str) -> str:
    """Paragraphs of a caption, with literals and emphasis of reStructuredText."""
    paragraphs = re.split(r"\n\s*\n", text.strip())
    return "".join(f"<p>{_inline(' '.join(p.split()))}</p>" for p in paragraphs if p.strip())


def _inline(text: str) -> str:
    safe = escape(text)
    safe = re.sub(r"``(.+?)``", r"<code>\1</code>", safe)
    return re.sub(r"(?<![\w*])\*(\S(?:.*?\S)?)\*(?!\w)", r"<em>\1</em>", safe)


def _first_sentence(text: str) -> str:
    plain = " ".join(text.replace("``", "").split())
    return plain.partition(". ")[0]


def _link(file: Path, results: Path, text: str | None = None) -> str:
    target = file.relative_to(results) if file.is_relative_to(results) else file
    href = target.as_posix()
    return f'<a href="{escape(href)}">{escape(href if text is None else text)}</a>'


def _table(entry: TableEntry, results: Path) -> str:
    table = entry.table
    what = f"{entry.rows} rows" + (f" in {len(entry.files)} files" if len(entry.files) > 1 else "")
    head = "".join(
        f'<th scope="col"><button type="button" title="{escape(_meaning(c.meaning, c.unit))}">'
        f"{escape(c.name)}</button></th>"
        for c in table.columns
    )
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in _cells(entry.first, [c.name for c in table.columns])
    )
    columns = "".join(
        f"<dt>{escape(c.name)}</dt><dd>{escape(_meaning(c.meaning, c.unit))}</dd>"
        for c in table.columns
    )
    files = "".join(f"<li>{_link(file, results)}</li>" for file in entry.files)
    return (
        f'<details class="table" data-find><summary>{escape(table.short)} '
        f"<small>{escape(table.row)}: {escape(what)}</small></summary>"
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(table.short)}">'
        '<table class="sortable"><caption>The first rows of the first file</caption><thead>'
        f"<tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        f"<details><summary>Columns</summary><dl>{columns}</dl></details>"
        f"<details><summary>Files</summary><ul>{files}</ul></details></details>"
    )


def _meaning(meaning: str, unit: str) -> str:
    return f"{meaning} ({unit})" if unit else meaning


def _cells(frame: pd.DataFrame, columns: Sequence[str]) -> Iterator[list[str]]:
    for row in frame[list(columns)].itertuples(index=False):
        yield [_cell(value) for value in row]


def _cell(value: Any) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _not_run(contents: Contents) -> str:
    rows = "".join(
        f"<li data-find><b>{escape(what)}</b>: {escape(why)}</li>" for what, why in contents.not_run
    )
    listed = f"<ul>{rows}</ul>" if rows else "<p>Nothing was left out.</p>"
    return f'<section id="not-run"><h2>Not run, and why</h2>{listed}</section>'


def _provenance(contents: Contents) -> str:
    facts = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in contents.facts.items()
    )
    total = contents.costs["cpu_seconds"].sum() / 60
    rows = "".join(
        f"<tr><td>{escape(c.rule)}</td><td>{c.jobs}</td><td>{c.cpu_seconds:.1f}</td>"
        f"<td>{c.seconds:.1f}</td><td>{c.peak_mib:.0f}</td></tr>"
        for c in contents.costs.itertuples()
    )
    head = "".join(
        f'<th scope="col"><button type="button">{name}</button></th>'
        for name in ("rule", "jobs", "CPU-seconds", "seconds", "peak MiB")
    )
    return (
        f'<section id="provenance"><h2>Provenance</h2><dl>{facts}</dl>'
        f"<h3>Cost by rule: {total:.1f} CPU-minutes in jobs</h3>"
        '<div class="wide" tabindex="0" role="region" aria-label="Cost by rule">'
        f'<table class="sortable"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        f"<details><summary>The config of this run</summary><pre>{escape(contents.config)}</pre>"
        "</details></section>"
    )
