"""Printing tables."""

import json
from pathlib import Path

import pandas as pd
import pytest

from zscope.show import main
from zscope.studies.lag.tables import TIMING
from zscope.tables.write import write_table

ROWS = [{"run": "a-s0", "step": step, "seconds": 0.123456 * step} for step in (0, 10, 20)] + [
    {"run": "b-s0", "step": 0, "seconds": 0.0}
]


@pytest.fixture
def table(tmp_path: Path) -> str:
    path = tmp_path / "timing.parquet"
    write_table(ROWS, path, TIMING, {"code": "abc", "slice": {"lr": 0.001}})
    return str(path)


def test_prints_the_rows_that_were_asked_for(table: str, capsys: pytest.CaptureFixture) -> None:
    assert main([table, "run=a-s0", "step=20"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["run", "step", "seconds"]
    assert [line.split() for line in lines[1:]] == [["a-s0", "20", "2.46912"]]


def test_a_parquet_file_of_somebody_else_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    assert main([str(tmp_path / "other.parquet")]) == 1
    assert "not a table of zscope" in capsys.readouterr().err


def test_markdown_has_one_line_per_row(table: str, capsys: pytest.CaptureFixture) -> None:
    assert main([table, "run=a-s0", "--markdown", "--columns", "step,seconds"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "| step | seconds |",
        "| --- | --- |",
        "| 0 | 0 |",
        "| 10 | 1.235 |",
        "| 20 | 2.469 |",
    ]


def test_provenance_is_json(table: str, capsys: pytest.CaptureFixture) -> None:
    assert main([table, "--provenance"]) == 0
    assert json.loads(capsys.readouterr().out) == {"code": "abc", "slice": {"lr": 0.001}}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{table}", "speed=3"], "no column speed; there are run, step, seconds"),
        (["{table}", "--columns", "speed"], "speed"),
        (["missing.parquet"], "missing.parquet: no such file"),
        ([__file__], "damaged"),
    ],
)
def test_mistakes_are_named(
    table: str, arguments: list[str], words: str, capsys: pytest.CaptureFixture
) -> None:
    assert main([a.format(table=table) for a in arguments]) == 1
    shown = capsys.readouterr()
    assert words in shown.err
    assert shown.err.startswith("Error: ")
    assert not shown.out


def test_a_folder_is_called_one_with_the_tables_in_it(
    table: str, capsys: pytest.CaptureFixture
) -> None:
    folder = Path(table).parent
    for arguments in ([], ["--provenance"]):
        assert main([str(folder), *arguments]) == 1
        says = f"Error: {folder}: a folder, not a table; in it there are timing.parquet\n"
        assert capsys.readouterr().err == says
    Path(table).unlink()
    assert main([str(folder)]) == 1
    assert "a folder, not a table; no table is in it" in capsys.readouterr().err
