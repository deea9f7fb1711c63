"""Two results side by side: what agrees, what differs within intervals, and what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zscope.compare import (
    BEYOND,
    ONLY_A,
    ONLY_B,
    SAME,
    UNJUDGED,
    VERDICT,
    WITHIN,
    compare_files,
    compare_rows,
    estimate,
)
from zscope.show import main
from zscope.studies.crosslingual.tables import RATES
from zscope.studies.lag.tables import ONSETS, SUMMARY, TIMING
from zscope.studies.registry import all_tables
from zscope.studies.toylang.tables import COMPARISONS
from zscope.tables.read import read_table
from zscope.tables.schema import Table
from zscope.tables.write import write_table

PLAIN = {"int": 1, "float": 0.5, "text": "a", "bool": False}


def row(table: Table, **given: object) -> dict[str, Any]:
    """A row with these values, and something of the right type in every other column."""
    return {c.name: given.get(c.name, PLAIN[c.type]) for c in table.columns}


def written(path: Path, table: Table, *rows: dict[str, Any], **slice: Any) -> Path:
    write_table([row(table, **r) for r in rows], path, table, {"slice": slice})
    return path


def outcomes(tmp_path: Path, table: Table, first: list[dict], second: list[dict]) -> list[str]:
    frames = [
        read_table(written(tmp_path / f"{i}.parquet", table, *rows), table)
        for i, rows in enumerate((first, second))
    ]
    return list(compare_rows(*frames, table).outcome)


def point(value: float | None, low: float | None = None, high: float | None = None) -> dict:
    return {"value": value, "ci_low": low, "ci_high": high}


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        (point(0.3, 0.2, 0.4), point(0.3 + 1e-8, 0.2, 0.4), SAME),
        (point(None), point(None), SAME),
        (point(0.3), point(0.3), SAME),
        (point(0.3, 0.2, 0.4), point(0.5, 0.35, 0.6), WITHIN),
        (point(0.3, 0.2, 0.4), point(0.5, 0.4, 0.6), WITHIN),  # they touch
        (point(0.3, 0.2, 0.4), point(0.3, 0.1, 0.5), WITHIN),  # the interval alone moved
        (point(0.3, 0.2, 0.4), point(0.5, 0.41, 0.6), BEYOND),
        (point(0.5, 0.41, 0.6), point(0.3, 0.2, 0.4), BEYOND),
        # One interval: it can hold the other's value, but the other's own is not known.
        (point(0.3, 0.2, 0.4), point(0.25), WITHIN),
        (point(0.45), point(0.3, 0.2, 0.4), UNJUDGED),
        (point(0.3), point(0.4), UNJUDGED),
        # Null ends are open, and a null value is nowhere within closed ones.
        (point(300, 200, None), point(None, 900, None), WITHIN),
        (point(300, 200, 400), point(None, 900, None), BEYOND),
        (point(300, 200, 400), point(None), BEYOND),
        (point(300, 200, None), point(None), WITHIN),
        (point(300), point(None), UNJUDGED),
    ],
)
def test_two_estimates_are_judged_by_their_intervals(
    tmp_path: Path, first: dict, second: dict, outcome: str
) -> None:
    assert outcomes(tmp_path, RATES, [first], [second]) == [outcome]
    assert outcomes(tmp_path, RATES, [second], [first]) == [outcome]


@settings(max_examples=30)
@given(st.lists(st.floats(-5, 5), min_size=3, max_size=3).map(sorted), st.floats(-9, 9))
def test_an_interval_moved_by_more_than_its_width_is_beyond(
    ends: list[float], shift: float
) -> None:
    low, value, high = ends
    moved = {"value": value + shift, "ci_low": low + shift, "ci_high": high + shift}
    frames = [
        pd.DataFrame([row(RATES, **r)])
        for r in ({"value": value, "ci_low": low, "ci_high": high}, moved)
    ]
    (outcome,) = compare_rows(*frames, RATES).outcome
    if abs(shift) < 1e-10:
        assert outcome == SAME
    elif abs(abs(shift) - (high - low)) > 1e-4 and abs(shift) > 1e-4:
        assert outcome == (WITHIN if abs(shift) < high - low else BEYOND)


def test_rows_are_matched_by_their_key_whatever_the_order(tmp_path: Path) -> None:
    """A null in the key is a value like any other."""
    first = [{"layer": layer, "k": None, **point(0.1 * layer, 0, 1)} for layer in (1, 2, 3)]
    second = [{"layer": layer, "k": None, **point(0.1 * layer, 0, 1)} for layer in (4, 3, 1)]
    found = outcomes(tmp_path, RATES, first, second)
    assert found == [SAME, ONLY_A, SAME, ONLY_B]


def test_another_verdict_outranks_everything(tmp_path: Path) -> None:
    first = {"verdict": "later", "shift": 1.0, "ci_low": 0.5, "ci_high": 1.5}
    near = {**first, "verdict": "unclear"}
    far = {"verdict": "unclear", "shift": 5.0, "ci_low": 4.0, "ci_high": 6.0}
    for second in (near, far):
        assert outcomes(tmp_path, COMPARISONS, [first], [second]) == [VERDICT]
    assert outcomes(tmp_path, COMPARISONS, [first], [{**far, "verdict": "later"}]) == [BEYOND]


def test_what_has_no_interval_is_not_judged(tmp_path: Path) -> None:
    onset = {"onset_step": 100}
    assert outcomes(tmp_path, ONSETS, [onset], [onset]) == [SAME]
    for other in ({"onset_step": 150}, {"onset_step": None}, {"onset_step": 100, "censored": True}):
        assert outcomes(tmp_path, ONSETS, [onset], [other]) == [UNJUDGED]
    assert outcomes(tmp_path, ONSETS, [], [onset]) == [ONLY_B]


def test_the_estimate_of_every_table_is_the_column_that_its_interval_is_of() -> None:
    found = {t.name: estimate(t) for t in all_tables().values()}
    values = {"value", "score", "median", "shift", "importance", "delta"}
    assert set(found.values()) == {None, *values}
    assert found["toylang_floors"] == "value"
    assert found["crosslingual_weights"] is None  # its interval is the null's
    for table in all_tables().values():
        assert (found[table.name] is None) == ("ci_low" not in {c.name for c in table.columns})
        assert table.key


# --- folders -----------------------------------------------------------------------------------

LAG = {"metric": "lag", "unit": "steps"}


@pytest.fixture
def results(tmp_path: Path) -> tuple[Path, Path]:
    """Two results folders: the first above, the second as such."""
    folders = tmp_path / "a/results", tmp_path / "b"
    for folder, median in zip(folders, (100.0, 120.0), strict=True):
        sweep = folder / "lag/sweeps/k_sweep"
        near = {**LAG, "median": median, "ci_low": 90.0, "ci_high": 150.0}
        same = {**near, "metric": "z_gap", "median": 100.0}
        written(sweep / "summary.parquet", SUMMARY, near, same)
        written(sweep / "onsets.parquet", ONSETS, {"onset_step": int(median)})
        written(folder / "lag/runs/r/timing.parquet", TIMING, {"seconds": median})
    return tmp_path / "a", folders[1]


def compared(capsys: pytest.CaptureFixture, *arguments: str | Path) -> tuple[int, list[str]]:
    status = main(["--compare", *map(str, arguments)])
    return status, capsys.readouterr().out.splitlines()


def test_folders_that_agree_within_their_intervals(
    results: tuple[Path, Path], capsys: pytest.CaptureFixture
) -> None:
    """Times differ between any two runs and are left out."""
    status, lines = compared(capsys, *results)
    assert status == 0
    assert lines == [
        "lag/sweeps/k_sweep/onsets: 1 differ without an interval",
        "lag/sweeps/k_sweep/summary: 1 the same, 1 within their intervals",
        "compared: 2; beyond the intervals or with another verdict: none",
    ]


def test_a_table_beyond_its_intervals_gives_status_1_and_its_rows(
    results: tuple[Path, Path], capsys: pytest.CaptureFixture
) -> None:
    path = results[1] / "lag/sweeps/k_sweep/summary.parquet"
    far = {**LAG, "median": 400.0, "ci_low": 300.0, "ci_high": None}
    new = {**far, "metric": "new"}
    written(path, SUMMARY, far, new, level=0.9)
    written(results[1] / "lag/sweeps/l_sweep/summary.parquet", SUMMARY, far)
    status, lines = compared(capsys, *results)
    assert status == 1
    assert lines[1:] == [
        "lag/sweeps/k_sweep/summary: 1 beyond their intervals, 1 only in A, 1 only in B (made from "
        "other settings)",
        "lag/sweeps/l_sweep/summary: only in B",
        "compared: 2; beyond the intervals or with another verdict: 1",
    ]
    key = "sweep=a, condition=a, label=a, source=a, metric={}, unit=steps"
    details = [
        f"  beyond their intervals: {key.format('lag')}: median 100 [90, 150] | 400 [300, null]",
        f"  only in A: {key.format('z_gap')}",
        f"  only in B: {key.format('new')}",
    ]
    for name in (
        "lag_summary",
        "lag/sweeps/k_sweep/summary",
        "results/lag/sweeps/k_sweep/summary.parquet",
    ):
        status, lines = compared(capsys, *results, name)
        assert status == 1
        assert lines[1:-1] == details
    assert compared(capsys, *results, "-v")[1][3:6] == details
    files = [results[0] / "results/lag/sweeps/k_sweep/summary.parquet", path]
    status, lines = compared(capsys, *files)
    assert (status, lines[1:-1]) == (1, details)
    assert compared(capsys, *reversed(files))[0] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{a}", "{b}/nowhere"], "nowhere: no such folder"),
        (["{a}", "{b}", "lag_metrics"], "no table lag_metrics is in both"),
        (["{a}", "{b}/lag/runs"], "no table is in both"),
        (["{b}/lag/sweeps/k_sweep/summary.parquet", "{b}/lag/sweeps/k_sweep/onsets.parquet"],
         "hold two tables, lag_summary and lag_onsets"),
    ],
)  # fmt: skip
def test_mistakes_are_named(
    results: tuple[Path, Path], arguments: list[str], words: str, capsys: pytest.CaptureFixture
) -> None:
    given = [a.format(a=results[0], b=results[1]) for a in arguments]
    assert main(["--compare", *given]) == 1
    shown = capsys.readouterr()
    assert words in shown.err
    assert not shown.out


def test_a_table_or_two_results_have_to_be_named(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main([])
    assert "name a table, or --compare two results" in capsys.readouterr().err


def test_a_file_agrees_with_itself(results: tuple[Path, Path]) -> None:
    path = results[1] / "lag/sweeps/k_sweep/summary.parquet"
    found = compare_files(path, path)
    assert found.agrees
    assert found.counts == {SAME: 2}
    assert not list(found.details())
