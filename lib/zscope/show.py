"""Print a table of the results: `python -m zscope.show FILE [column=value ...]`.

It prints the rows that have the given values. With --provenance it prints the settings, code and
package versions that the file was made from. `python -m zscope.show --compare A B [TABLE]` says
where two results folders, or two files, agree; it exits with 1 if they do not.
"""

from __future__ import annotations

import argparse
import html
import json
import signal
import sys

import pandas as pd

from zscope.compare import report
from zscope.core.errors import TableError, ZscopeError
from zscope.results import read_file
from zscope.tables.read import read_provenance


def rows(path: str, where: list[str]) -> pd.DataFrame:
    """The rows of the table at `path` whose columns have the values of `where` ("column=value").

    Raises TableError if the file is not a table of zscope or lacks a column.
    """
    frame = read_file(path)
    for condition in where:
        column, _, value = condition.partition("=")
        if column not in frame.columns:
            raise TableError(f"{path}: no column {column}; there are {', '.join(frame.columns)}")
        frame = frame[frame[column].astype(str) == value]
    return frame


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m zscope.show", description=__doc__)
    parser.add_argument("path", nargs="?", help="a Parquet table below results/")
    parser.add_argument("where", nargs="*", help="column=value: show only these rows")
    parser.add_argument("--columns", help="show only these columns, separated by commas")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    parser.add_argument("--provenance", action="store_true", help="print where the file comes from")
    parser.add_argument("--compare", nargs=2, metavar=("A", "B"), help="two folders, or two files")
    parser.add_argument("-v", "--verbose", action="store_true", help="print the rows that differ")
    given = parser.parse_args(arguments)
    if not given.path and not given.compare:
        parser.error("name a table, or --compare two results")
    try:
        if given.compare:
            first, second = given.compare
            return report(first, second, given.path, given.verbose)
        if given.provenance:
            print(json.dumps(read_provenance(given.path), indent=2))
            return 0
        frame = rows(given.path, given.where)
        if given.columns:
            frame = frame[given.columns.split(",")]
    except ZscopeError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyError as error:
        print(f"Error: {given.path}: {error.args[0]}", file=sys.stderr)
        return 1
    if given.markdown:
        print(as_markdown(frame))
    else:
        print(frame.to_string(index=False))
    return 0


def as_markdown(frame: pd.DataFrame) -> str:
    """A Markdown table with four digits per number and empty cells for nulls.

    Markup in texts is escaped, because a model may have written them.
    """

    def cell(value: object) -> str:
        if value is None or value is pd.NA or (isinstance(value, float) and value != value):
            return ""
        return f"{value:.4g}" if isinstance(value, float) else text(str(value))

    def text(value: str) -> str:
        return html.escape(" ".join(value.split()), quote=False).replace("|", "\\|")

    names = [text(str(name)) for name in frame.columns]
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(frame.columns)]
    lines += ["| " + " | ".join(map(cell, row)) + " |" for row in frame.itertuples(index=False)]
    return "\n".join(lines)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # so that `| head` ends it quietly
    sys.exit(main())
