"""Every component of a layer for people: what it reads and writes, where it is important, and its
partners, as a page and as Markdown. A query's component leads to keys', a key's to values'."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator

import pandas as pd

from zscope.figures.frames import select
from zscope.pages.asset_files import PLAIN
from zscope.pages.markup import escape, page, records

SERVED = 2  # primitives named for a component
LEAST_LIFT = 2.0


def layer_table(
    components: pd.DataFrame,
    tokens: pd.DataFrame,
    importance: pd.DataFrame,
    partners: pd.DataFrame,
    layer: int,
) -> pd.DataFrame:
    """One row per alive component of a layer, by matrix and mean importance.

    All tables are of one decomposition and phase. Partners are named as components are,
    "k1/12", with the offset at which a pair is largest.
    """
    of_layer = components[
        components["alive"] & components["matrix"].str.startswith(f"{layer}.")
    ].copy()
    order = {name: i for i, name in enumerate(dict.fromkeys(of_layer["matrix"]))}
    of_layer["order"] = of_layer["matrix"].map(order)
    rows = []
    for row in records(of_layer.sort_values(["order", "importance"], ascending=[True, False])):
        here = {"matrix": row.matrix, "component": row.component}
        rows.append(
            {
                "component": _name(row.matrix, row.component),
                "mean g": float(row.importance),
                "norm": float(row.norm),
                "head": f"H{row.head} ({row.share:.2f})",
                "reads": _tokens(select(tokens, **here, side="reads")),
                "writes": _tokens(select(tokens, **here, side="writes")),
                "serves": _served(select(importance, **here)),
                "partners": _partners(select(partners, **here)),
            }
        )
    columns = ("component", "mean g", "norm", "head", "reads", "writes", "serves", "partners")
    return pd.DataFrame(rows, columns=list(columns))


def _name(matrix: str, component: int) -> str:
    return f"{matrix.partition('.')[2]}/{component}"


def _tokens(rows: pd.DataFrame) -> str:
    return ", ".join(rows.sort_values("rank")["token"])


def _served(rows: pd.DataFrame) -> str:
    """The primitives on which a component is more important than elsewhere, with the lift."""
    lifted = rows[(rows["lift"].fillna(float("inf")) > LEAST_LIFT) & (rows["importance"] > 0)]
    first = lifted.sort_values("importance", ascending=False).head(SERVED)
    return ", ".join(
        f"{r.primitive} {r.importance:.2f}" + (" (chosen)" if r.chosen else "")
        for r in records(first)
    )


def _partners(rows: pd.DataFrame) -> str:
    return ", ".join(
        f"{_name(r.partner_matrix, r.partner)} {r.value:+.2f}"
        + (f" at {r.offset}" if r.matrix.partition(".")[2].startswith("q") else "")
        for r in records(rows.sort_values("rank"))
    )


def markdown_page(table: pd.DataFrame, title: str, how: str) -> str:
    """The table in Markdown; markup in its texts is escaped."""

    def line(cells: Iterable[object]) -> str:
        texts = (f"{c:.3g}" if isinstance(c, float) else str(c) for c in cells)
        return "| " + " | ".join(_escaped(text) for text in texts) + " |"

    lines = [line(table.columns), "|" + " --- |" * len(table.columns)]
    lines += [line(row) for row in table.itertuples(index=False)]
    return f"# {title}\n\n{how}\n\n" + "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """One line of text for a cell: neither markup nor the end of a cell."""
    return html.escape(" ".join(text.split()), quote=False).replace("|", "\\|")


def html_page(table: pd.DataFrame, title: str, how: str) -> str:
    """The table as a page that runs and loads nothing. Every text is escaped, and every partner
    leads to its own row."""
    names = set(table["component"])

    def cell(column: str, value: object) -> str:
        text = f"{value:.3g}" if isinstance(value, float) else str(value)
        if column == "component":
            return f'<td id="{escape(text)}"><b>{escape(text)}</b></td>'
        if column == "partners":
            return f"<td>{', '.join(_linked(text, names))}</td>"
        return f"<td>{escape(text)}</td>"

    head = "".join(f"<th>{escape(name)}</th>" for name in table.columns)
    body = "\n".join(
        "<tr>" + "".join(cell(c, v) for c, v in zip(table.columns, row, strict=True)) + "</tr>"
        for row in table.itertuples(index=False)
    )
    return page(
        title,
        f"<main><h1>{escape(title)}</h1>\n<p>{escape(how)}</p>\n"
        '<div class="wide" tabindex="0" role="region" aria-label="Components">'
        f"<table>\n<tr>{head}</tr>\n{body}\n</table></div></main>",
        styles=PLAIN,
    )


def _linked(text: str, names: set[str]) -> Iterator[str]:
    """The partners of a cell, each a link to its row if it is on the page."""
    for part in filter(None, text.split(", ")):
        name, _, rest = part.partition(" ")
        shown = escape(name)
        link = f'<a href="#{shown}">{shown}</a>' if name in names else shown
        yield f"{link} {escape(rest)}"
