"""The declared cell for people: every problem with its patched outputs, as a table and a page."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pandas as pd

from zscope.core.errors import DataError
from zscope.figures.frames import select
from zscope.studies.crosslingual.declared import DeclaredCell


def patched_table(
    outputs: pd.DataFrame, problems: pd.DataFrame, cell: DeclaredCell
) -> pd.DataFrame:
    """The table that the protocol asks for: crosslingual_patched without the model.

    problems: table crosslingual_problems. Raises DataError if an output is missing.
    """
    where = asdict(cell)
    outputs = select(outputs, draw=0, **{c: where[c] for c in ("layer", "position_0", "direction")})
    patched = select(outputs, **{c: where[c] for c in ("design", "source", "where")})
    forced = "site_answer" if cell.design == "site_answer" else "none"
    wanted = {
        "original": select(outputs, space="none", design=forced),
        "z_patched": select(patched, space="z", k=cell.k, kind=cell.kind),
        "z_perp_patched": select(patched, space="z_perp", k=cell.k, kind=cell.kind),
        "full_patched": select(patched, space="full"),
    }
    texts = {name: rows.set_index("problem")["text"] for name, rows in wanted.items()}
    known = problems.set_index("problem")
    answers = known["answer"].astype(str)
    source = wanted["z_patched"].set_index("problem")["source_problem"]
    language = cell.direction.partition("->")[2]
    out = pd.DataFrame(
        {
            "prompt": known[language],
            "right_answer": answers,
            "source_answer": source.map(answers),
            **texts,
        }
    )
    out = out.loc[out.index.isin(texts["original"].index)]
    if out.empty or out[list(texts)].isna().any(axis=None):
        raise DataError(f"outputs of the declared cell are missing: {asdict(cell)}")
    return out.rename_axis("problem").reset_index()


def patched_html(table: pd.DataFrame, title: str) -> str:
    """The table as a page. Every cell is escaped: a model's output may hold any markup."""

    def line(tag: str, cells: Iterator[Any]) -> str:
        texts = ("" if pd.isna(cell) else html.escape(str(cell)) for cell in cells)
        return "<tr>" + "".join(f"<{tag}>{text}</{tag}>" for text in texts) + "</tr>"

    head = line("th", (name.replace("_", " ") for name in table.columns))
    body = "\n".join(line("td", iter(row)) for row in table.itertuples(index=False))
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style></head>\n"
        f"<body><h1>{html.escape(title)}</h1>\n<table>\n<thead>{head}</thead>\n"
        f"<tbody>\n{body}\n</tbody>\n</table></body>\n</html>\n"
    )


_STYLE = (
    "body{font:14px sans-serif;margin:2em}table{border-collapse:collapse}"
    "th,td{border:1px solid #ccc;padding:4px 8px;text-align:left;vertical-align:top;"
    "white-space:pre-wrap}"
)
